//! What strangers reach cannot write.

use std::fs::{self, File};
use std::io;
use std::thread;

use zeroshare_chassis::Lifetime;
use zeroshare_chassis::restrict::{Restriction, restrict_thread};
use zeroshare_content::Algorithm;
use zeroshare_store::run;
use zeroshare_testkit::{Scratch, TestTree, eventually};
use zeroshare_wire::pb::store::v1::{DescribeStoreRequest, ListContentRequest};

use crate::fixture::{LIMIT, config, listeners, put};

#[test]
fn a_restricted_store_verifies_and_indexes_and_cannot_write_anywhere_else() {
    let scratch = Scratch::new();
    let path = put(
        &scratch,
        &TestTree::with_slices(1),
        "shared",
        Algorithm::Sha256New,
    );
    let mut config = config(&scratch);
    // Bound before: to make a socket is to write.
    let (listeners, _) = listeners(&config);
    let index = scratch.directory("cache");
    let socket = scratch.endpoint("store");
    let store = scratch.directory("shared");

    let tried = thread::spawn(move || {
        let restriction = restrict_thread(&[index]).unwrap();
        config.restriction = Some(restriction);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let lifetime = Lifetime::new();
            lifetime.spawn("store", run(config, listeners, lifetime.clone()));
            let channel = zeroshare_api::connect::local_channel(&socket);
            let client = zeroshare_api::clients::local_store(channel);
            eventually("the tree is verified", LIMIT, async || {
                let listed = client
                    .clone()
                    .list_content(ListContentRequest::default())
                    .await
                    .unwrap();
                listed
                    .into_inner()
                    .contents
                    .iter()
                    .all(|held| held.verify_time.is_some())
            })
            .await;
            let described = client
                .clone()
                .describe_store(DescribeStoreRequest {})
                .await
                .unwrap();
            assert_eq!(described.into_inner().restriction, restriction.to_string());

            // Asks threads of the store's own kind to write.
            let attempts = lifetime.spawn_blocking("attempts", move || attempts(&store, &path));
            let attempts = attempts.await.unwrap();
            assert!(lifetime.end(LIMIT).await);
            (restriction, attempts)
        })
    });
    let (restriction, attempts) = tried.join().unwrap();
    check_attempts(restriction, attempts);
    assert!(scratch.join("cache/index.sqlite").exists());
}

type Attempts = Vec<(&'static str, io::Result<()>)>;

fn check_attempts(restriction: Restriction, attempts: Attempts) {
    match restriction {
        Restriction::Full { .. } => {
            for (what, attempt) in attempts {
                let error = attempt.expect_err(what);
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{what}");
            }
        }
        Restriction::Partial { .. } | Restriction::None => {
            assert!(attempts.iter().any(|(_, attempt)| attempt.is_ok()));
        }
    }
}

fn attempts(store: &std::path::Path, tree: &std::path::Path) -> Attempts {
    vec![
        (
            "make a file in the store",
            File::create(store.join("new")).map(drop),
        ),
        ("make a tree", fs::create_dir(store.join("tmp-1"))),
        (
            "change a file",
            File::options()
                .append(true)
                .open(tree.join("lib/even"))
                .map(drop),
        ),
        ("remove a file", fs::remove_file(tree.join("lib/grain"))),
        ("rename a tree", fs::rename(tree, store.join("gone"))),
        (
            "write elsewhere",
            File::create(std::env::temp_dir().join("zs-must-not-be")).map(drop),
        ),
    ]
}
