//! Removing trees.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::Status;
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_content::Algorithm;
use zeroshare_testkit::{TestTree, eventually, put_in_store};
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::fetcher::v1::{
    CollectGarbageRequest, CollectGarbageResponse, GarbageOutcome,
};

use super::machine::{LIMIT, Machine};

#[tokio::test(flavor = "multi_thread")]
async fn what_may_go_goes_and_what_is_used_or_not_named_stays() {
    let machine = Machine::new();
    // So that it does not matter which programs of others can be looked into.
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(machine.scratch.path(), private).unwrap();
    fs::create_dir_all(machine.store()).unwrap();
    let trees = [TestTree::small(), TestTree::with_slices(7)];
    let [small, large] =
        trees.map(|tree| put_in_store(&tree, &machine.store(), Algorithm::Sha256New));
    fs::create_dir(machine.store().join("tmp-1")).unwrap();
    let all = CollectGarbageRequest {
        older_than: Some(to_duration(Duration::ZERO)),
        ..CollectGarbageRequest::default()
    };
    let dry_run = CollectGarbageRequest {
        dry_run: true,
        ..all.clone()
    };
    let planned = collect(&machine, dry_run).await.unwrap();
    assert_eq!(planned.len(), 2);
    assert!(
        planned
            .iter()
            .all(|tree| tree.outcome() == GarbageOutcome::WouldRemove)
    );
    assert!(small.is_dir() && large.is_dir());

    let old = CollectGarbageRequest {
        older_than: Some(to_duration(Duration::from_hours(1))),
        ..all.clone()
    };
    assert_eq!(collect(&machine, old).await.unwrap(), []);

    let name = small.file_name().unwrap().to_str().unwrap().to_owned();
    let named = CollectGarbageRequest {
        names: vec![name],
        ..all.clone()
    };
    let gone = collect(&machine, named).await.unwrap();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].outcome(), GarbageOutcome::Removed);
    assert!(!small.exists() && large.is_dir());

    let open = File::open(large.join(".manifest")).unwrap();
    assert_eq!(collect(&machine, all.clone()).await.unwrap(), []);
    drop(open);
    // What another test starts has our files open too, until it runs its program.
    eventually("nobody uses it", LIMIT, async || {
        collect(&machine, all.clone()).await.unwrap();
        machine.shown().is_empty()
    })
    .await;
    assert!(machine.store().join("tmp-1").is_dir(), "that is no tree");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rule_or_with_odd_names_nothing_is_looked_at() {
    let machine = Machine::new();
    let odd = CollectGarbageRequest {
        keep_bytes: Some(0),
        names: vec!["../x".to_owned()],
        ..CollectGarbageRequest::default()
    };
    for refused in [CollectGarbageRequest::default(), odd] {
        let status = collect(&machine, refused).await.unwrap_err();
        let reason = errors::reason(&status);
        assert_eq!(reason, Some(ErrorReason::MalformedRequest));
    }
}

async fn collect(
    machine: &Machine,
    request: CollectGarbageRequest,
) -> Result<Vec<CollectGarbageResponse>, Status> {
    let answer = machine.client.clone().collect_garbage(request).await?;
    answer.into_inner().collect().await
}
