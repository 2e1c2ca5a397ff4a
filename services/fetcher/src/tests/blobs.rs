//! Single files, from a real store to where the caller wants them.

use std::fs;
use std::path::{Path, PathBuf};

use tokio_stream::StreamExt as _;
use zeroshare_api::clients;
use zeroshare_api::connect::local_channel;
use zeroshare_content::{BlobId, HashKind};
use zeroshare_testkit::{Fault, Offered, Peer, Which, eventually};
use zeroshare_wire::pb::errors::v1::ErrorReason;
use zeroshare_wire::pb::fetcher::v1::{Fetch, FetchState, StartFetchRequest};
use zeroshare_wire::pb::store::v1::{ListContentRequest, ShareFilesRequest};

use super::end_to_end::{Source, Store};
use super::machine::{LIMIT, Machine};

/// More than comes along with the first answer, in several pieces.
const LARGE: usize = 3 * 1024 * 1024 + 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_to_where_it_is_wanted_and_is_offered_from_there() {
    for size in [0, 1, 130_000, 1024 * 1024, LARGE] {
        let (source, blob) = sharing(size).await;
        let machine = Machine::new();
        let own = Store::start(&machine.scratch, &machine.store(), true);
        let target = machine.scratch.join("here");
        let fetch = machine.fetch(wish(blob, &target, &source)).await;
        assert_succeeded(&fetch, &target);
        assert_eq!(fs::read(&target).unwrap(), bytes(size));
        eventually("it is offered", LIMIT, async || {
            held(&own).await == [blob.to_string()]
        })
        .await;
        // A third machine reads it from the second.
        drop(source);
        let third = Machine::new();
        let target = third.scratch.join("there");
        let from = vec![own.lan.unwrap().to_string()];
        let request = StartFetchRequest {
            from,
            ..request(blob, &target)
        };
        assert_succeeded(&third.fetch(request).await, &target);
        assert_eq!(fs::read(&target).unwrap(), bytes(size));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_directory_a_file_is_called_as_its_sharer_calls_it() {
    let (source, blob) = sharing(1000).await;
    let machine = Machine::new();
    let directory = machine.scratch.directory("downloads");
    let request = StartFetchRequest {
        into_directory: true,
        ..wish(blob, &directory, &source)
    };
    let target = directory.join("a file.iso");
    assert_succeeded(&machine.fetch(request.clone()).await, &target);
    assert_eq!(fs::read(&target).unwrap(), bytes(1000));
    let again = machine.fetch(request.clone()).await;
    assert_succeeded(&again, &target);
    fs::write(&target, "mine").unwrap();
    let refused = machine.fetch(request).await;
    assert_eq!(refused.failure_reason(), ErrorReason::InUse, "{refused:?}");
    assert_eq!(fs::read(&target).unwrap(), b"mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_file_is_a_success_without_asking_anybody_and_another_one_stays() {
    let blob = BlobId::of(HashKind::Sha256, b"equal");
    let machine = Machine::new();
    let target = machine.scratch.join("file");
    fs::write(&target, "equal").unwrap();
    assert_succeeded(&machine.fetch(request(blob, &target)).await, &target);
    fs::write(&target, "other").unwrap();
    let refused = machine.fetch(request(blob, &target)).await;
    assert_eq!(refused.failure_reason(), ErrorReason::InUse);
    assert_eq!(fs::read(&target).unwrap(), b"other");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lies_about_the_size_is_not_believed_and_the_truth_is_taken_from_others() {
    let (source, blob) = sharing(LARGE).await;
    let offered = || Offered::blob(HashKind::Sha256, bytes(LARGE));
    let liar = Peer::faulty([offered()], [Fault::WrongHead]);
    let machine = Machine::new();
    let target = machine.scratch.join("file");
    let from_liar = StartFetchRequest {
        from: vec![liar.address().to_string()],
        ..request(blob, &target)
    };
    let fetch = machine.fetch(from_liar.clone()).await;
    assert_eq!(fetch.state(), FetchState::Failed);
    assert!(!target.exists());
    let both = StartFetchRequest {
        from: vec![liar.address().to_string(), source.address.to_string()],
        max_bytes: LARGE as u64,
        ..request(blob, &target)
    };
    assert_succeeded(&machine.fetch(both).await, &target);
    assert_eq!(fs::read(&target).unwrap(), bytes(LARGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_blob_of_wrong_bytes_is_not_believed() {
    let blob = BlobId::of(HashKind::Sha256, &bytes(1000));
    let offered = || Offered::blob(HashKind::Sha256, bytes(1000));
    let liar = Peer::faulty([offered()], [Fault::WrongBytes(Which::All)]);
    let honest = Peer::honest([offered()]);
    let machine = Machine::new();
    let target = machine.scratch.join("file");
    let from = |peers: &[&Peer]| StartFetchRequest {
        from: peers
            .iter()
            .map(|peer| peer.address().to_string())
            .collect(),
        ..request(blob, &target)
    };
    let fetch = machine.fetch(from(&[&liar])).await;
    assert_eq!(fetch.state(), FetchState::Failed);
    assert!(!target.exists());
    assert_succeeded(&machine.fetch(from(&[&liar, &honest])).await, &target);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_allowed_is_refused_with_its_proven_size() {
    let (source, blob) = sharing(LARGE).await;
    let machine = Machine::new();
    let target = machine.scratch.join("file");
    let request = StartFetchRequest {
        max_bytes: LARGE as u64 - 1,
        ..wish(blob, &target, &source)
    };
    let fetch = machine.fetch(request).await;
    assert_eq!(fetch.failure_reason(), ErrorReason::TooLarge, "{fetch:?}");
    assert!(!target.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_here_is_copied_from_here() {
    let machine = Machine::new();
    let own = Store::start(&machine.scratch, &machine.store(), true);
    let path = machine.scratch.join("original");
    fs::write(&path, bytes(LARGE)).unwrap();
    let blob = share(&own, &path).await;
    let target = machine.scratch.join("copy");
    let fetch = machine.fetch(request(blob, &target)).await;
    assert_succeeded(&fetch, &target);
    assert_eq!(fs::read(&target).unwrap(), bytes(LARGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_is_not_given_any_more() {
    let (source, blob) = sharing(LARGE).await;
    fs::write(source.scratch.join("a file.iso"), bytes(LARGE - 1)).unwrap();
    let machine = Machine::new();
    let target = machine.scratch.join("file");
    let fetch = machine.fetch(wish(blob, &target, &source)).await;
    assert_eq!(fetch.state(), FetchState::Failed, "{fetch:?}");
    assert!(!target.exists());
    eventually("it is forgotten", LIMIT, async || {
        held(&source.store).await.is_empty()
    })
    .await;
}

/// A machine that shares one file of so many bytes.
async fn sharing(size: usize) -> (Source, BlobId) {
    let source = Source::new(&[]);
    let path = source.scratch.join("a file.iso");
    fs::write(&path, bytes(size)).unwrap();
    let blob = share(&source.store, &path).await;
    assert_eq!(blob, BlobId::of(HashKind::Sha256, &bytes(size)));
    (source, blob)
}

async fn share(store: &Store, path: &Path) -> BlobId {
    let request = ShareFilesRequest {
        paths: vec![path.display().to_string()],
    };
    let mut client = clients::local_store(local_channel(&store.endpoint));
    let answers = client.share_files(request).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    let last = answers.last().unwrap();
    assert_eq!(last.problem, "");
    last.blob_id.parse().unwrap()
}

/// Ids of all that a store holds whole.
async fn held(store: &Store) -> Vec<String> {
    let mut client = clients::local_store(local_channel(&store.endpoint));
    let listed = client.list_content(ListContentRequest::default()).await;
    let contents = listed.unwrap().into_inner().contents;
    let whole = contents
        .into_iter()
        .filter(|held| held.offered && held.held_pieces == held.total_pieces);
    whole.map(|held| held.content_id).collect()
}

fn bytes(size: usize) -> Vec<u8> {
    (0_u8..=250).cycle().take(size).collect()
}

fn request(blob: BlobId, target: &Path) -> StartFetchRequest {
    StartFetchRequest {
        content_ids: vec![blob.to_string()],
        into_path: target.display().to_string(),
        ..StartFetchRequest::default()
    }
}

fn wish(blob: BlobId, target: &Path, source: &Source) -> StartFetchRequest {
    StartFetchRequest {
        from: vec![source.address.to_string()],
        ..request(blob, target)
    }
}

fn assert_succeeded(fetch: &Fetch, target: &Path) {
    assert_eq!(
        fetch.state(),
        FetchState::Succeeded,
        "{}",
        fetch.failure_message
    );
    assert_eq!(PathBuf::from(&fetch.path), target);
}
