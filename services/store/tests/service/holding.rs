//! What this machine's own services are told, and tell.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tokio_stream::iter;
use zeroshare_api::connect::{PeerChannelOptions, local_channel, peer_channel};
use zeroshare_api::errors::ErrorReason;
use zeroshare_api::health::{Health, check_health};
use zeroshare_api::rpc::store::v1::local_store_service_client::LocalStoreServiceClient;
use zeroshare_content::{Algorithm, BlobId, Entry, HashKind, TreeId};
use zeroshare_testkit::{Offered, Scratch, TestTree, eventually, flip_byte};
use zeroshare_wire::convert::to_stamp;
use zeroshare_wire::pb::store::v1::watch_content_response::Event;
use zeroshare_wire::pb::store::v1::{
    CommitContentRequest, DescribeStoreRequest, FileMidstates, FileStamp, FindFilesRequest,
    ListContentRequest, VerifyContentRequest, VerifyContentResponse, WatchContentRequest,
};

use crate::fixture::{LIMIT, Running, all, config, listeners, next, put, read, reason, request};

#[tokio::test]
async fn what_lies_in_the_stores_is_listed_from_the_first_moment() {
    let scratch = Scratch::new();
    for depth in 0..3 {
        put(
            &scratch,
            &TestTree::deep(depth),
            "shared",
            Algorithm::Sha256New,
        );
    }
    put(&scratch, &TestTree::small(), "own", Algorithm::Sha1);
    let running = Running::start_in(scratch, |_| ());
    let listed = running.list().await;
    assert_eq!(listed.len(), 4);
    assert!(listed.is_sorted_by_key(|held| held.content_id.parse::<TreeId>().unwrap()));
    for held in &listed {
        let id: TreeId = held.content_id.parse().unwrap();
        assert!(Path::new(&held.path).is_dir());
        running.until_verified(&id).await;
    }
    let offered = running
        .list()
        .await
        .iter()
        .filter(|held| held.offered)
        .count();
    assert_eq!(offered, 3);
    running.stop().await;
}

#[tokio::test]
async fn pages_follow_each_other() {
    let scratch = Scratch::new();
    for number in 0..1001_u32 {
        let id = TreeId::of_manifest(zeroshare_content::Family::Sha256, &number.to_le_bytes());
        fs::create_dir(scratch.directory("shared").join(id.to_string())).unwrap();
    }
    let running = Running::start_in(scratch, |_| ());
    let mut client = running.local();
    let first = client
        .list_content(ListContentRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.contents.len(), 1000);
    let next = ListContentRequest {
        page_token: first.next_page_token,
    };
    let second = client.list_content(next).await.unwrap().into_inner();
    assert_eq!(
        (second.contents.len(), second.next_page_token),
        (1, String::new())
    );
    assert!(
        first
            .contents
            .iter()
            .all(|held| held.content_id != second.contents[0].content_id)
    );
    let bad = ListContentRequest {
        page_token: "nonsense".to_owned(),
    };
    assert_eq!(
        reason(client.list_content(bad).await),
        ErrorReason::MalformedRequest
    );
    running.stop().await;
}

#[tokio::test]
async fn a_watcher_hears_of_trees_that_come_and_go() {
    let running = Running::start();
    let (old, _) = running
        .put(&TestTree::deep(1), "shared", Algorithm::Sha256New)
        .await;
    let mut stream = running
        .local()
        .watch_content(WatchContentRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut event = async || next(&mut stream).await.unwrap().unwrap().event.unwrap();
    assert!(
        matches!(event().await, Event::Held(held) if held.content_id == old.to_string() && held.offered)
    );
    assert!(matches!(event().await, Event::SnapshotDone(true)));

    let tree = TestTree::small();
    let new = tree.tree_id(Algorithm::Sha256New).to_string();
    let path = put(&running.scratch, &tree, "shared", Algorithm::Sha256New);
    loop {
        match event().await {
            Event::Held(held) if held.content_id == new && held.offered => break,
            Event::Held(held) => assert_eq!(held.content_id, new),
            other @ (Event::GoneContentId(_) | Event::SnapshotDone(_)) => panic!("{other:?}"),
        }
    }
    fs::remove_dir_all(path).unwrap();
    loop {
        match event().await {
            Event::GoneContentId(id) => break assert_eq!(id, new),
            Event::Held(held) => assert_eq!(held.content_id, new),
            other @ Event::SnapshotDone(_) => panic!("{other:?}"),
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn verification_names_what_is_corrupt_and_a_repaired_tree_is_offered_again() {
    let running = Running::start();
    let (id, path) = running
        .put(&TestTree::with_slices(1), "shared", Algorithm::Sha256New)
        .await;
    assert_eq!(verify(&running, &[id]).await, [Vec::<String>::new()]);
    flip_byte(&path.join("lib/even"), 9);
    flip_byte(&path.join("share/doc/README"), 0);
    let expected = ["lib/even", "share/doc/README"].map(str::to_owned);
    assert_eq!(verify(&running, &[]).await, [expected.to_vec()]);
    assert!(!running.held(&id).await.unwrap().offered);
    let described = running
        .local()
        .describe_store(DescribeStoreRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            described.roots[0].held_trees,
            described.roots[0].quarantined_trees
        ),
        (0, 1)
    );

    flip_byte(&path.join("lib/even"), 9);
    flip_byte(&path.join("share/doc/README"), 0);
    assert_eq!(verify(&running, &[id]).await, [Vec::<String>::new()]);
    assert!(running.held(&id).await.unwrap().offered);

    let absent = VerifyContentRequest {
        content_ids: vec![TestTree::deep(9).tree_id(Algorithm::Sha1).to_string()],
    };
    assert_eq!(
        reason(running.local().verify_content(absent).await),
        ErrorReason::ContentNotFound
    );
    running.stop().await;
}

#[tokio::test]
async fn files_are_found_by_contents_and_the_rest_is_left_out() {
    let running = Running::start();
    let (_, path) = running
        .put(&TestTree::small(), "own", Algorithm::Sha256New)
        .await;
    let blob = |bytes: &[u8]| BlobId::of(HashKind::Sha256, bytes).to_string();
    let questions = vec![
        FindFilesRequest {
            blob_ids: vec![blob(b"nowhere"), blob(b"#!/bin/sh\necho hello\n")],
        },
        FindFilesRequest { blob_ids: vec![] },
        FindFilesRequest {
            blob_ids: vec![blob(b"hej d\xc3\xa5\n")],
        },
    ];
    let mut stream = running
        .local()
        .find_files(iter(questions))
        .await
        .unwrap()
        .into_inner();
    let first = next(&mut stream).await.unwrap().unwrap();
    assert_eq!(Path::new(&first.path), path.join("bin/hello"));
    assert!(first.executable);
    let second = next(&mut stream).await.unwrap().unwrap();
    assert_eq!(Path::new(&second.path), path.join("share/grüße.txt"));
    assert!(!second.executable);
    assert_eq!(next(&mut stream).await.unwrap(), None);

    let too_many = FindFilesRequest {
        blob_ids: vec![blob(b"x"); 10_001],
    };
    let mut stream = running
        .local()
        .find_files(iter([too_many]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        reason(next(&mut stream).await),
        ErrorReason::MalformedRequest
    );
    running.stop().await;
}

#[tokio::test]
async fn a_committed_tree_is_offered_at_once_and_recheck_finds_what_decayed_since() {
    let running = Running::start();
    let tree = TestTree::with_slices(6);
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let (id, path) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    // A byte that turned over, and an index that takes the file for the one that was hashed: as decay looks.
    flip_byte(&path.join("lib/large.so"), 3);
    commit(&running, describe(&tree, &id, &path)).await.unwrap();
    assert!(running.held(&id).await.unwrap().offered);

    let mut client = running.peers().await;
    let mut wanted = request(id, all(offered.piece_count()));
    let received = read(&mut client, &wanted).await.unwrap();
    let wrong = received
        .pieces
        .iter()
        .filter(|(header, data)| *data != offered.piece(header.piece).unwrap());
    assert_eq!(wrong.count(), 1);

    wanted.recheck = true;
    assert_eq!(
        reason(read(&mut client, &wanted).await),
        ErrorReason::StoreCorrupt
    );
    let held = running.held(&id).await.unwrap();
    assert_eq!((held.offered, held.verify_time), (false, None));
    assert_eq!(
        reason(read(&mut client, &wanted).await),
        ErrorReason::ContentNotFound
    );
    running.stop().await;
}

#[tokio::test]
async fn a_tree_that_is_not_as_described_is_refused() {
    let running = Running::start();
    let tree = TestTree::with_slices(6);
    let (id, path) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let good = describe(&tree, &id, &path);
    let refused = async |change: &dyn Fn(&mut Vec<CommitContentRequest>)| {
        let mut messages = good.clone();
        change(&mut messages);
        reason(commit(&running, messages).await)
    };
    let mismatch = ErrorReason::StampMismatch;
    let malformed = ErrorReason::MalformedRequest;
    assert_eq!(refused(&|messages| messages[1].inode += 1).await, mismatch);
    assert_eq!(
        refused(&|messages| messages[2].change_time = Some(to_stamp(0, 0))).await,
        mismatch
    );
    assert_eq!(refused(&|messages| messages.truncate(3)).await, mismatch);
    assert_eq!(
        refused(&|messages| messages[0].path = "/etc".into()).await,
        malformed
    );
    assert_eq!(
        refused(&|messages| messages[0].path.push_str("/../x")).await,
        malformed
    );
    assert_eq!(
        refused(&|messages| messages[0].content_id = "x".into()).await,
        malformed
    );
    assert_eq!(
        refused(&|messages| messages[0].durable = false).await,
        malformed
    );
    assert_eq!(
        refused(&|messages| messages[1].modify_time = None).await,
        malformed
    );
    assert_eq!(refused(&|messages| messages.clear()).await, malformed);
    let late = FileMidstates {
        file: good[1].file,
        first_grain: 4,
        midstates: vec![0; 32].into(),
    };
    assert_eq!(
        refused(&|messages| messages[1].midstates = Some(late.clone())).await,
        malformed
    );
    commit(&running, good).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn files_of_a_committed_tree_may_come_many_in_one_message() {
    let running = Running::start();
    let tree = TestTree::with_slices(6);
    let (id, path) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let single = describe(&tree, &id, &path);
    let stamp = |message: &CommitContentRequest| {
        let (modify, change) = (message.modify_time.unwrap(), message.change_time.unwrap());
        FileStamp {
            file: message.file,
            device: message.device,
            inode: message.inode,
            size_bytes: message.size_bytes,
            modify_seconds: modify.seconds,
            modify_nanoseconds: u32::try_from(modify.nanos).unwrap(),
            change_seconds: change.seconds,
            change_nanoseconds: u32::try_from(change.nanos).unwrap(),
        }
    };
    let many = CommitContentRequest {
        files: single[1..].iter().map(stamp).collect(),
        ..CommitContentRequest::default()
    };
    let refused = async |change: &dyn Fn(&mut CommitContentRequest)| {
        let mut many = many.clone();
        change(&mut many);
        reason(commit(&running, vec![single[0].clone(), many]).await)
    };
    let mismatch = ErrorReason::StampMismatch;
    let malformed = ErrorReason::MalformedRequest;
    assert_eq!(refused(&|many| many.files[0].inode += 1).await, mismatch);
    assert_eq!(refused(&|many| many.files.truncate(1)).await, mismatch);
    assert_eq!(
        refused(&|many| many.files[0].change_nanoseconds = 1_000_000_000).await,
        malformed
    );
    assert_eq!(
        refused(&|many| many.files = vec![many.files[0]; 1001]).await,
        malformed
    );
    commit(&running, vec![single[0].clone(), many])
        .await
        .unwrap();
    assert!(running.held(&id).await.unwrap().offered);
    running.stop().await;
}

#[tokio::test]
async fn the_store_describes_itself_and_is_healthy_on_both_sides() {
    let running = Running::start();
    let (id, _) = running
        .put(&TestTree::small(), "shared", Algorithm::Sha256New)
        .await;
    let mut client = running.peers().await;
    read(&mut client, &request(id, all(2))).await.unwrap();
    let described = running
        .local()
        .describe_store(DescribeStoreRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(described.lan_addresses, [running.address.to_string()]);
    assert_eq!(described.readers, ["directly connected"]);
    assert_eq!(
        described.sent_bytes,
        Offered::tree(&TestTree::small(), Algorithm::Sha256New).content_size()
    );
    let roots: Vec<(bool, u32)> = described
        .roots
        .iter()
        .map(|root| (root.shared, root.held_trees))
        .collect();
    assert_eq!(roots, [(true, 1), (false, 0)]);

    for endpoint in [
        running.scratch.endpoint("store"),
        running.address.to_string().parse().unwrap(),
    ] {
        for service in ["", "zeroshare.store.v1.StoreService"] {
            assert_eq!(
                check_health(&endpoint, service).await.unwrap(),
                Health::Serving
            );
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn strangers_reach_no_local_service_and_no_reflection() {
    let running = Running::start();
    let channel = peer_channel(running.address, &PeerChannelOptions::default())
        .await
        .unwrap();
    let status = LocalStoreServiceClient::new(channel)
        .describe_store(DescribeStoreRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    running.stop().await;
}

#[tokio::test]
async fn a_second_process_shares_the_index() {
    let running = Running::start();
    let (id, _) = running
        .put(&TestTree::small(), "shared", Algorithm::Sha256New)
        .await;
    let mut second = config(&running.scratch);
    second.local = vec![zeroshare_chassis::listen::LocalAddress::Unix {
        path: running.scratch.join("second.sock"),
        mode: 0o600,
    }];
    let (listeners, _) = listeners(&second);
    let lifetime = zeroshare_chassis::Lifetime::new();
    let ended = lifetime.spawn(
        "second store",
        zeroshare_store::run(second, listeners, lifetime.clone()),
    );
    let channel = local_channel(&running.scratch.endpoint("second"));
    let mut client = zeroshare_api::clients::local_store(channel);
    let listed = client
        .list_content(ListContentRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(
        listed.contents[0].verify_time.is_some() && listed.contents[0].content_id == id.to_string()
    );
    assert!(lifetime.end(LIMIT).await);
    ended.await.unwrap().unwrap();
    eventually("the first goes on", LIMIT, async || {
        running.held(&id).await.is_some()
    })
    .await;
    running.stop().await;
}

/// What each tree's verification found, in the order of the answers.
async fn verify(running: &Running, ids: &[TreeId]) -> Vec<Vec<String>> {
    let content_ids = ids.iter().map(ToString::to_string).collect();
    let request = VerifyContentRequest { content_ids };
    let mut stream = running
        .local()
        .verify_content(request)
        .await
        .unwrap()
        .into_inner();
    let mut results = Vec::new();
    while let Some(message) = next(&mut stream).await.unwrap() {
        let VerifyContentResponse {
            done_bytes,
            total_bytes,
            finished,
            corrupt_files,
            ..
        } = message;
        assert!(done_bytes <= total_bytes);
        if finished {
            results.push(corrupt_files);
        }
    }
    results
}

pub(crate) async fn commit(
    running: &Running,
    messages: Vec<CommitContentRequest>,
) -> Result<(), tonic::Status> {
    running
        .local()
        .commit_content(iter(messages))
        .await
        .map(drop)
}

/// What a fetcher that wrote these bytes would say of the files that lie there now.
pub(crate) fn describe(tree: &TestTree, id: &TreeId, path: &Path) -> Vec<CommitContentRequest> {
    let first = CommitContentRequest {
        content_id: id.to_string(),
        path: path.to_str().unwrap().to_owned(),
        durable: true,
        ..CommitContentRequest::default()
    };
    let mut messages = vec![first];
    for (line, number) in tree
        .manifest(Algorithm::Sha256New)
        .lines()
        .iter()
        .zip(0_u32..)
    {
        if !matches!(line.entry, Entry::File { .. }) {
            continue;
        }
        let found = fs::metadata(path.join(line.path.as_path())).unwrap();
        let Some(zeroshare_testkit::TestEntry::File { bytes, .. }) = tree.at(line.path.as_bytes())
        else {
            panic!("{} is a file", line.path);
        };
        let mut hasher = zeroshare_proof::GrainHasher::new();
        hasher.update(bytes);
        let midstates = hasher.finish().1.as_bytes().to_vec();
        let stamp = |seconds, nanos: i64| Some(to_stamp(seconds, u32::try_from(nanos).unwrap()));
        messages.push(CommitContentRequest {
            file: number,
            device: found.dev(),
            inode: found.ino(),
            size_bytes: found.size(),
            modify_time: stamp(found.mtime(), found.mtime_nsec()),
            change_time: stamp(found.ctime(), found.ctime_nsec()),
            midstates: Some(FileMidstates {
                file: number,
                first_grain: 0,
                midstates: midstates.into(),
            }),
            ..CommitContentRequest::default()
        });
    }
    messages
}
