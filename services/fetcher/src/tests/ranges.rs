//! Bytes that somebody waits for, of trees that are not here yet.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::Status;
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_content::{Algorithm, TreeId};
use zeroshare_testkit::{Fault, Offered, Peer, TestEntry, TestTree, Which, eventually};
use zeroshare_wire::pb::fetcher::v1::{ListFetchesRequest, ReadRangeRequest, StartFetchRequest};

use super::machine::{LIMIT, Machine, assert_succeeded, wish};

const ALGORITHM: Algorithm = Algorithm::Sha256New;
const FILES: usize = 40;
const FILE_BYTES: u64 = 600_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_waited_for_comes_before_the_rest_and_the_rest_after_it() {
    let machine = Machine::new();
    let tree = many_slices();
    let id = tree.tree_id(ALGORITHM);
    let slow = Fault::Slow(Which::All, Duration::from_millis(10));
    let peer = Peer::faulty([Offered::tree(&tree, ALGORITHM)], [slow]);
    machine.announce(&id, &[&peer]);
    let last = format!("file {:02}", FILES - 1);
    let bytes = read(&machine, range(&tree, &last, 100_000, 300_000))
        .await
        .unwrap();
    assert_eq!(bytes, contents(&tree, &last)[100_000..400_000]);
    let fetches = machine
        .client
        .clone()
        .list_fetches(ListFetchesRequest {})
        .await
        .unwrap();
    let progress = fetches.into_inner().fetches[0].progress.clone().unwrap();
    assert!(
        progress.done_bytes < progress.total_bytes / 2,
        "{progress:?}"
    );
    // What goes on in the background is an ordinary fetch.
    let request = StartFetchRequest {
        client: "another".to_owned(),
        ..wish(&id)
    };
    let fetch = machine.fetch(request).await;
    assert_succeeded(&machine, &id, &fetch);
    let times = peer.record().times_sent(&id.into());
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_large_file_is_read_while_somebody_still_waits_for_its_beginning() {
    let machine = Machine::new();
    let tree = TestTree::new().file("large", words(7, 8 * 1024 * 1024));
    let id = tree.tree_id(ALGORITHM);
    let slow = Fault::Slow(Which::All, Duration::from_millis(20));
    let peer = Peer::faulty([Offered::tree(&tree, ALGORITHM)], [slow]);
    machine.announce(&id, &[&peer]);
    let whole = contents(&tree, "large");
    let (size, slices) = (whole.len() as u64, 64);
    let sent = || peer.record().times_sent(&id.into()).len();
    let end = async {
        eventually("the beginning is waited for", LIMIT, async || sent() > 0).await;
        let end = read(&machine, range(&tree, "large", size - 300_000, 300_000)).await;
        (end, sent())
    };
    let beginning = read(&machine, range(&tree, "large", 0, 300_000));
    let (beginning, (end, sent_by_then)) = tokio::join!(beginning, end);
    assert_eq!(end.unwrap(), whole[whole.len() - 300_000..]);
    assert!(sent_by_then < slices / 2, "{sent_by_then} of {slices}");
    assert_eq!(beginning.unwrap(), whole[..300_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_every_file_can_be_read_in_any_order() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(5);
    let id = tree.tree_id(ALGORITHM);
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    machine.announce(&id, &[&peer]);
    let manifest = tree.manifest(ALGORITHM);
    for line in manifest.lines().iter().rev() {
        let path = line.path.as_bytes();
        let Some(TestEntry::File { bytes, .. }) = tree.at(path) else {
            continue;
        };
        let middle = bytes.len() as u64 / 2;
        let path = String::from_utf8(path.to_vec()).unwrap();
        for (offset, len) in [
            (middle, 9),
            (0, 1 << 20),
            (bytes.len() as u64, 5),
            (1 << 40, 5),
        ] {
            let read = read(&machine, range(&tree, &path, offset, len))
                .await
                .unwrap();
            let from = bytes.len().min(usize::try_from(offset).unwrap());
            let to = bytes.len().min(from + usize::try_from(len).unwrap());
            assert_eq!(read, bytes[from..to], "{path} from {offset}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_gives_an_error_and_never_a_wrong_byte() {
    for fault in [Fault::WrongBytes(Which::All), Fault::ConsistentFake] {
        let machine = Machine::new();
        let tree = many_slices();
        let id = tree.tree_id(ALGORITHM);
        let peer = Peer::faulty([Offered::tree(&tree, ALGORITHM)], [fault]);
        machine.announce(&id, &[&peer]);
        let status = read(&machine, range(&tree, "file 07", 0, FILE_BYTES))
            .await
            .unwrap_err();
        let reason = errors::reason(&status);
        assert_eq!(reason, Some(ErrorReason::ProvidersExhausted), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_peer_replaces_one_that_vanishes_or_lies() {
    for fault in [
        Fault::CutInPiece(Which::FromNth(3)),
        Fault::WrongBytes(Which::All),
    ] {
        let machine = Machine::new();
        let tree = many_slices();
        let id = tree.tree_id(ALGORITHM);
        let faulty = Peer::faulty([Offered::tree(&tree, ALGORITHM)], [fault]);
        let honest = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
        machine.announce(&id, &[&faulty, &honest]);
        let bytes = read(&machine, range(&tree, "file 07", 0, FILE_BYTES))
            .await
            .unwrap();
        assert_eq!(bytes, contents(&tree, "file 07"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_or_is_no_file_is_an_error() {
    let machine = Machine::new();
    let tree = TestTree::small();
    let id = tree.tree_id(ALGORITHM);
    let wanted = |file| ReadRangeRequest {
        content_ids: vec![id.to_string()],
        file,
        length_bytes: 9,
        ..ReadRangeRequest::default()
    };
    let status = read(&machine, wanted(0)).await.unwrap_err();
    assert_eq!(errors::reason(&status), Some(ErrorReason::NoProviders));
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    machine.announce(&id, &[&peer]);
    let status = read(&machine, wanted(9999)).await.unwrap_err();
    assert_eq!(errors::reason(&status), Some(ErrorReason::MalformedRequest));
    let far = ReadRangeRequest {
        offset_bytes: u64::MAX,
        ..wanted(0)
    };
    let status = read(&machine, far).await.unwrap_err();
    assert_eq!(errors::reason(&status), Some(ErrorReason::MalformedRequest));
}

async fn read(machine: &Machine, request: ReadRangeRequest) -> Result<Vec<u8>, Status> {
    let asked = machine.client.clone().read_range(request).await?;
    let parts = asked.into_inner().collect::<Vec<_>>();
    let parts = tokio::time::timeout(LIMIT, parts).await.unwrap();
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&part?.data);
    }
    Ok(bytes)
}

fn range(tree: &TestTree, path: &str, offset_bytes: u64, length_bytes: u64) -> ReadRangeRequest {
    let id: TreeId = tree.tree_id(ALGORITHM);
    let manifest = tree.manifest(ALGORITHM);
    let is_meant = |line: &zeroshare_content::Line| line.path.as_bytes() == path.as_bytes();
    let line = manifest.lines().iter().position(is_meant).unwrap();
    ReadRangeRequest {
        content_ids: vec![id.to_string()],
        file: u32::try_from(line).unwrap(),
        offset_bytes,
        length_bytes,
        ..ReadRangeRequest::default()
    }
}

/// Files of several slices each, none like another.
fn many_slices() -> TestTree {
    (0..FILES).fold(TestTree::new(), |tree, number| {
        let seed = u32::try_from(number).unwrap();
        let bytes = words(seed, u32::try_from(FILE_BYTES).unwrap());
        tree.file(format!("file {number:02}"), bytes)
    })
}

fn words(seed: u32, bytes: u32) -> Vec<u8> {
    let word = |word: u32| {
        (word ^ (seed << 24))
            .wrapping_mul(0x9e37_79b1)
            .to_le_bytes()
    };
    (0..bytes / 4).flat_map(word).collect()
}

fn contents(tree: &TestTree, path: &str) -> Vec<u8> {
    match tree.at(path) {
        Some(TestEntry::File { bytes, .. }) => bytes.to_vec(),
        other => panic!("{path} is {other:?}"),
    }
}
