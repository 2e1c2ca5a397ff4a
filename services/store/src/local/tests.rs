use tonic::Code;
use zeroshare_testkit::TestTree;
use zeroshare_wire::pb::store::v1::watch_content_response::Event;

use super::*;
use crate::fixture::{Fixture, from_user};

/// Neither root nor whoever runs this.
fn stranger() -> u32 {
    rustix::process::geteuid().as_raw() + 1
}

#[tokio::test]
async fn other_users_are_told_of_shared_stores_only() {
    let fixture = Fixture::new();
    let shared = fixture.put(&TestTree::small(), "shared");
    let own = fixture.put(&TestTree::one_file(1, 99), "own");
    let local = Local::new(Arc::clone(&fixture.store));
    for (user, expected) in [(0, vec![shared, own]), (stranger(), vec![shared])] {
        let expected = sorted(expected.iter().map(ToString::to_string));
        let request = from_user(user, ListContentRequest::default());
        let listed = local.list_content(request).await.unwrap().into_inner();
        assert_eq!(
            sorted(listed.contents.into_iter().map(|held| held.content_id)),
            expected
        );

        let request = from_user(user, WatchContentRequest::default());
        let watched = local.watch_content(request).await.unwrap().into_inner();
        let ids = watched
            .map(|message| message.unwrap().event.unwrap())
            .take_while(|event| !matches!(event, Event::SnapshotDone(_)))
            .map(|event| match event {
                Event::Held(held) => held.content_id,
                Event::GoneContentId(_) | Event::SnapshotDone(_) => panic!("not in a snapshot"),
            });
        assert_eq!(sorted(ids.collect::<Vec<_>>().await), expected);

        let request = from_user(user, DescribeStoreRequest::default());
        let described = local.describe_store(request).await.unwrap().into_inner();
        assert_eq!(described.roots.len(), expected.len());

        let request = from_user(user, VerifyContentRequest::default());
        let verified = local.verify_content(request).await.unwrap().into_inner();
        let finished = verified
            .map(Result::unwrap)
            .filter(|message| message.finished);
        let ids = finished.map(|message| message.content_id);
        assert_eq!(sorted(ids.collect::<Vec<_>>().await), expected);
    }
}

#[tokio::test]
async fn files_of_stores_that_are_not_shared_are_found_by_their_owner_only() {
    let fixture = Fixture::new();
    let tree = TestTree::one_file(1, 99);
    fixture.put(&tree, "own");
    let manifest = tree.manifest(zeroshare_content::Algorithm::Sha256New);
    let blob = manifest.lines().iter().find_map(|line| match line.entry {
        zeroshare_content::Entry::File { blob, .. } => Some(blob),
        zeroshare_content::Entry::Directory | zeroshare_content::Entry::Symlink { .. } => None,
    });
    for (audience, expected) in [(Audience::Local, 1), (Audience::Peers, 0)] {
        let request = FindFilesRequest {
            blob_ids: vec![blob.unwrap().to_string()],
        };
        let found = find(Arc::clone(&fixture.store), Ok(request), audience).await;
        assert_eq!(found.unwrap().len(), expected, "{audience:?}");
    }
}

#[tokio::test]
async fn only_our_own_user_and_root_share_files_and_others_do_not_learn_where_they_lie() {
    let fixture = Fixture::new();
    let local = Local::new(Arc::clone(&fixture.store));
    let path = fixture.scratch.join("file");
    std::fs::write(&path, "shared").unwrap();
    let paths = vec![path.display().to_string()];
    let request = |user| {
        from_user(
            user,
            ShareFilesRequest {
                paths: paths.clone(),
            },
        )
    };
    let refused = local.share_files(request(stranger())).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let answers = local.share_files(request(0)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    let blob_id = &answers.last().unwrap().blob_id;
    assert!(blob_id.starts_with("blob:sha256:"), "{answers:?}");
    for (user, shown) in [(0, paths[0].as_str()), (stranger(), "")] {
        let request = from_user(user, ListContentRequest::default());
        let listed = local.list_content(request).await.unwrap().into_inner();
        assert_eq!(listed.contents[0].content_id, *blob_id);
        assert_eq!(listed.contents[0].path, shown);
    }
    let unshare = |user| {
        let blob_ids = vec![blob_id.clone()];
        from_user(
            user,
            UnshareFilesRequest {
                blob_ids,
                ..UnshareFilesRequest::default()
            },
        )
    };
    let refused = local.unshare_files(unshare(stranger())).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let removed = local.unshare_files(unshare(0)).await.unwrap().into_inner();
    assert_eq!(removed.files[0].path, paths[0]);
    assert_eq!(fixture.store.shelf.shared_files(), 0);
}

#[tokio::test]
async fn one_user_hashes_once_at_a_time_and_does_not_keep_others_from_it() {
    let fixture = Fixture::new();
    let local = Local::new(Arc::clone(&fixture.store));
    let verifies = &fixture.store.verifies;
    let _running = verifies.take(crate::slots::Taker::User(0)).unwrap();
    let refused = local
        .verify_content(from_user(0, VerifyContentRequest::default()))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    let other = local
        .verify_content(from_user(stranger(), VerifyContentRequest::default()))
        .await;
    assert!(other.is_ok());
}

fn sorted(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<String> = ids.into_iter().collect();
    ids.sort();
    ids
}
