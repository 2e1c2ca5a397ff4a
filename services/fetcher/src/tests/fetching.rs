//! Fetches that go as they should, and those that callers change their mind about.

use std::path::Path;
use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::Code;
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_content::{Algorithm, ContentId};
use zeroshare_testkit::{Fault, Method, Offered, Peer, TestTree, Which, eventually, put_in_store};
use zeroshare_wire::pb::fetcher::v1::{
    CancelFetchRequest, FetchState, ListFetchesRequest, ReadManifestRequest, ReadManifestResponse,
    StartFetchRequest, WatchFetchRequest,
};

use super::machine::{LIMIT, Machine, assert_failed, assert_succeeded, wish};

const ALGORITHM: Algorithm = Algorithm::Sha256New;

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_comes_from_one_peer() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(1);
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    let id = tree.tree_id(ALGORITHM);
    let fetch = machine.fetch_from(&id, &[&peer]).await;
    assert_succeeded(&machine, &id, &fetch);
    let progress = fetch.progress.unwrap();
    assert_eq!(progress.done_bytes, progress.total_bytes);
    assert_eq!(progress.done_files, progress.total_files);
    assert_eq!(progress.peers.len(), 1);
    assert_eq!(progress.peers[0].address, peer.address().to_string());
    assert_eq!(
        progress.peers[0].received_bytes,
        peer.record().piece_bytes()
    );
    let times = peer.record().times_sent(&ContentId::Tree(id));
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_tree_of_any_new_family_takes_one_call() {
    for algorithm in [Algorithm::Sha256New, Algorithm::Sha1New] {
        let machine = Machine::new();
        let tree = TestTree::small();
        let peer = Peer::honest([Offered::tree(&tree, algorithm)]);
        let id = tree.tree_id(algorithm);
        let start = tokio::time::Instant::now();
        let fetch = machine.fetch_from(&id, &[&peer]).await;
        assert_succeeded(&machine, &id, &fetch);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "something was waited for"
        );
        assert_eq!(peer.record().calls.len(), 1);
        let written = TestTree::read_from(Path::new(&fetch.path));
        assert_eq!(written.total_bytes(), tree.total_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_tree_and_many_files_are_fetched_too() {
    for tree in [
        TestTree::new(),
        TestTree::deep(60),
        TestTree::many_files(2, 3000, 3000),
    ] {
        let machine = Machine::new();
        let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
        let id = tree.tree_id(ALGORITHM);
        let fetch = machine.fetch_from(&id, &[&peer]).await;
        assert_succeeded(&machine, &id, &fetch);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_hosts_named_nobody_is_asked_by_datagram() {
    let machine = Machine::new();
    let tree = TestTree::small();
    let id = tree.tree_id(ALGORITHM);
    let peer = Peer::honest([]);
    let fetch = machine.fetch_from(&id, &[&peer]).await;
    assert_failed(&machine, &fetch, &[ErrorReason::NoProviders]);
    assert!(machine.discovery.finds().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_said_within_the_time_to_look() {
    let machine = Machine::new();
    let id = TestTree::small().tree_id(ALGORITHM);
    let start = tokio::time::Instant::now();
    let fetch = machine.fetch_found(&id).await;
    assert_failed(&machine, &fetch, &[ErrorReason::NoProviders]);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(machine.discovery.finds()[0].content_ids, [id.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_for_providers_waits_for_no_other_fetch() {
    let machine = Machine::with(|config| config.concurrent_fetches = 0);
    let id = TestTree::small().tree_id(ALGORITHM);
    let fetch = machine.fetch_found(&id).await;
    assert_failed(&machine, &fetch, &[ErrorReason::NoProviders]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_discovery_the_reason_is_told() {
    let machine = Machine::with(|config| {
        config.discovery = "unix:/nowhere/at-all.sock".parse().unwrap();
    });
    let id = TestTree::small().tree_id(ALGORITHM);
    let fetch = machine.fetch_found(&id).await;
    assert_failed(&machine, &fetch, &[ErrorReason::ProvidersExhausted]);
    assert!(
        fetch.failure_message.contains("discovery"),
        "{}",
        fetch.failure_message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_here_has_succeeded_already_under_either_spelling() {
    let machine = Machine::new();
    let tree = TestTree::small();
    std::fs::create_dir_all(machine.store()).unwrap();
    let path = put_in_store(&tree, &machine.store(), Algorithm::Sha256);
    let fetch = machine.start(wish(&tree.tree_id(ALGORITHM))).await;
    assert_eq!(fetch.state(), FetchState::Succeeded);
    assert_eq!(Path::new(&fetch.path), path);
    assert!(machine.discovery.finds().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_here_and_corrupt_is_fetched_anew() {
    let machine = Machine::new();
    let tree = TestTree::small();
    let id = tree.tree_id(ALGORITHM);
    std::fs::create_dir_all(machine.store()).unwrap();
    let path = put_in_store(&tree, &machine.store(), ALGORITHM);
    zeroshare_testkit::flip_byte(&path.join("share/doc/README"), 3);
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    let fetch = machine.fetch_from(&id, &[&peer]).await;
    assert_succeeded(&machine, &id, &fetch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_does_not_hide_the_right_one_and_is_repaired_where_it_lies() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let roots = [&first, &second].map(|root| zeroshare_shelf::StoreRoot {
        path: root.path().to_owned(),
        kind: zeroshare_shelf::RootKind::Named,
    });
    let machine = Machine::with(|config| config.roots.extend(roots));
    let tree = TestTree::small();
    let id = tree.tree_id(ALGORITHM);
    let damaged = put_in_store(&tree, first.path(), ALGORITHM);
    zeroshare_testkit::flip_byte(&damaged.join("share/doc/README"), 3);
    let right = put_in_store(&tree, second.path(), ALGORITHM);
    let fetch = machine.fetch_found(&id).await;
    assert_eq!(Path::new(&fetch.path), right, "{}", fetch.failure_message);
    let repair = StartFetchRequest {
        replace: true,
        ..wish(&id)
    };
    let fetch = machine.fetch(repair).await;
    assert_eq!(Path::new(&fetch.path), damaged, "{}", fetch.failure_message);
    zeroshare_shelf::verify_tree(first.path(), &id, &mut |_| ()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_format_is_refused_with_its_reason() {
    let machine = Machine::new();
    let fetch = machine
        .fetch_found(&TestTree::small().tree_id(Algorithm::Sha1))
        .await;
    assert_failed(&machine, &fetch, &[ErrorReason::ManifestRefused]);
    assert!(
        fetch.failure_message.contains("oldest format"),
        "{}",
        fetch.failure_message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_tree_is_refused_before_its_first_byte() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(3);
    let id = tree.tree_id(ALGORITHM);
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    let from = vec![peer.address().to_string()];
    let fetch = machine
        .fetch(StartFetchRequest {
            from,
            max_bytes: 1000,
            ..wish(&id)
        })
        .await;
    assert_failed(&machine, &fetch, &[ErrorReason::TooLarge]);
    assert_eq!(peer.record().piece_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_kept() {
    let machine = Machine::with(|config| config.quota = Some(4096));
    let tree = TestTree::with_slices(3);
    let id = tree.tree_id(ALGORITHM);
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    let fetch = machine.fetch_from(&id, &[&peer]).await;
    assert_failed(&machine, &fetch, &[ErrorReason::NoSpace]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_where_it_was_asked_for_and_replaces_nothing() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(4);
    let id = tree.tree_id(ALGORITHM);
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    let request = StartFetchRequest {
        from: vec![peer.address().to_string()],
        into_path: machine.scratch.join("copy").display().to_string(),
        ..wish(&id)
    };
    let fetch = machine.fetch(request.clone()).await;
    assert_eq!(
        fetch.state(),
        FetchState::Succeeded,
        "{}",
        fetch.failure_message
    );
    assert_eq!(fetch.path, request.into_path);
    assert_eq!(
        TestTree::read_from(&machine.scratch.join("copy")).total_bytes(),
        tree.total_bytes()
    );
    assert!(!machine.holds(&id));
    let again = machine.fetch(request).await;
    assert_failed(&machine, &again, &[ErrorReason::InUse]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_what_is_here_needs_nobody() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(5);
    let id = tree.tree_id(ALGORITHM);
    std::fs::create_dir_all(machine.store()).unwrap();
    put_in_store(&tree, &machine.store(), ALGORITHM);
    let into_path = machine.scratch.join("copy").display().to_string();
    let fetch = machine
        .fetch(StartFetchRequest {
            into_path,
            ..wish(&id)
        })
        .await;
    assert_eq!(
        fetch.state(),
        FetchState::Succeeded,
        "{}",
        fetch.failure_message
    );
    assert_eq!(
        TestTree::read_from(&machine.scratch.join("copy")).total_bytes(),
        tree.total_bytes()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_callers_share_one_fetch_and_the_last_to_leave_ends_it() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(6);
    let id = tree.tree_id(ALGORITHM);
    let offered = Offered::tree(&tree, ALGORITHM);
    let peer = Peer::faulty(
        [offered],
        [Fault::Slow(Which::All, Duration::from_millis(200))],
    );
    machine.announce(&id, &[&peer]);
    let by = |client: &str| StartFetchRequest {
        client: client.to_owned(),
        ..wish(&id)
    };
    machine.start(by("one")).await;
    let joined = machine.start(by("two")).await;
    assert_eq!(joined.clients, 2);
    let mut client = machine.client.clone();
    let listed = client
        .list_fetches(ListFetchesRequest {})
        .await
        .unwrap()
        .into_inner()
        .fetches;
    assert_eq!(listed.len(), 1);

    let leave = |client: &str| CancelFetchRequest {
        content_id: id.to_string(),
        client: client.to_owned(),
        ..CancelFetchRequest::default()
    };
    client.cancel_fetch(leave("one")).await.unwrap();
    let left = client
        .list_fetches(ListFetchesRequest {})
        .await
        .unwrap()
        .into_inner()
        .fetches;
    assert_eq!(left[0].clients, 1);
    assert!(matches!(
        left[0].state(),
        FetchState::Locating | FetchState::Transferring
    ));
    client.cancel_fetch(leave("two")).await.unwrap();
    let end = machine.end_of(&joined).await;
    assert_eq!(end.state(), FetchState::Cancelled);
    assert!(!machine.holds(&id));
    let unknown = client.cancel_fetch(CancelFetchRequest {
        content_id: TestTree::new().tree_id(ALGORITHM).to_string(),
        ..CancelFetchRequest::default()
    });
    let status = unknown.await.unwrap_err();
    assert_eq!(errors::reason(&status), Some(ErrorReason::FetchNotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_outlives_whoever_started_it() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(7);
    let id = tree.tree_id(ALGORITHM);
    let offered = Offered::tree(&tree, ALGORITHM);
    let peer = Peer::faulty(
        [offered],
        [Fault::Slow(Which::All, Duration::from_millis(20))],
    );
    machine.announce(&id, &[&peer]);
    let mut other = zeroshare_api::clients::fetcher(zeroshare_api::connect::local_channel(
        &machine.scratch.endpoint("fetcher"),
    ));
    other.start_fetch(wish(&id)).await.unwrap();
    drop(other);
    eventually("the tree is there", LIMIT, async || machine.holds(&id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_shows_progress_that_never_goes_back() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(8);
    let id = tree.tree_id(ALGORITHM);
    let offered = Offered::tree(&tree, ALGORITHM);
    let peer = Peer::faulty(
        [offered],
        [Fault::Slow(Which::All, Duration::from_millis(15))],
    );
    machine.announce(&id, &[&peer]);
    machine.start(wish(&id)).await;
    let request = WatchFetchRequest {
        content_id: id.to_string(),
        into_path: String::new(),
    };
    let watched = machine
        .client
        .clone()
        .watch_fetch(request)
        .await
        .unwrap()
        .into_inner();
    let steps: Vec<_> = watched
        .map(|step| step.unwrap().fetch.unwrap())
        .collect()
        .await;
    let done = steps
        .iter()
        .map(|step| step.progress.as_ref().unwrap().done_bytes);
    let done: Vec<u64> = done.collect();
    assert!(done.is_sorted(), "{done:?}");
    assert!(
        done.iter()
            .any(|bytes| *bytes > 0 && *bytes < *done.last().unwrap())
    );
    assert_eq!(steps.last().unwrap().state(), FetchState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_read_from_a_peer_with_the_targets_of_its_symlinks() {
    let machine = Machine::new();
    let tree = TestTree::small();
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    let request = ReadManifestRequest {
        content_ids: vec![tree.tree_id(ALGORITHM).to_string()],
        from: vec![peer.address().to_string()],
        ..ReadManifestRequest::default()
    };
    let messages = read_manifest(&machine, request).await;
    assert_eq!(text(&messages), tree.manifest_text(ALGORITHM));
    assert_eq!(messages[0].link_targets, ["share/doc".as_bytes(), b"hello"]);
    assert_eq!(messages[0].path, "");
    assert_eq!(machine.shown(), Vec::<String>::new());
    assert_eq!(peer.record().count(Method::ReadPieces), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_read_from_here() {
    let machine = Machine::new();
    let tree = TestTree::small();
    std::fs::create_dir_all(machine.store()).unwrap();
    let path = put_in_store(&tree, &machine.store(), ALGORITHM);
    let request = ReadManifestRequest {
        content_ids: vec![tree.tree_id(ALGORITHM).to_string()],
        ..ReadManifestRequest::default()
    };
    let messages = read_manifest(&machine, request).await;
    assert_eq!(text(&messages), tree.manifest_text(ALGORITHM));
    assert_eq!(Path::new(&messages[0].path), path);
    assert_eq!(messages[0].link_targets.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_refused() {
    let machine = Machine::new();
    let id = TestTree::small().tree_id(ALGORITHM);
    let wishes = [
        StartFetchRequest::default(),
        StartFetchRequest {
            content_ids: vec!["sha256new_x".to_owned()],
            ..wish(&id)
        },
        StartFetchRequest {
            content_ids: vec![format!("blob:sha256:{}", "0".repeat(64))],
            ..wish(&id)
        },
        StartFetchRequest {
            from: vec!["no host".to_owned()],
            ..wish(&id)
        },
        StartFetchRequest {
            into_path: "relative".to_owned(),
            ..wish(&id)
        },
        StartFetchRequest {
            content_ids: vec![id.to_string(); 9],
            ..wish(&id)
        },
    ];
    for request in wishes {
        let status = machine
            .client
            .clone()
            .start_fetch(request)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(errors::reason(&status), Some(ErrorReason::MalformedRequest));
    }
}

async fn read_manifest(
    machine: &Machine,
    request: ReadManifestRequest,
) -> Vec<ReadManifestResponse> {
    let stream = machine
        .client
        .clone()
        .read_manifest(request)
        .await
        .unwrap()
        .into_inner();
    stream.map(Result::unwrap).collect().await
}

fn text(messages: &[ReadManifestResponse]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|message| message.data.to_vec())
        .collect()
}
