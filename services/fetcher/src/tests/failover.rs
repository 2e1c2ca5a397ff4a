//! Several providers, of which some die, lie, or have only a part; and fetches that go on later.

use std::collections::BTreeMap;
use std::time::Duration;

use zeroshare_api::errors::ErrorReason;
use zeroshare_content::{Algorithm, ContentId, TreeId};
use zeroshare_staging::{StageOptions, Staged};
use zeroshare_testkit::{Fault, Method, Offered, Peer, TestTree, Which, announced, eventually};
use zeroshare_wire::pb::discovery::v1::{
    FindProvidersResponse, ProviderFault, ReportProviderRequest,
};
use zeroshare_wire::pb::fetcher::v1::{CancelFetchRequest, FetchState};

use super::machine::{LIMIT, Machine, assert_failed, assert_succeeded, wish};

const ALGORITHM: Algorithm = Algorithm::Sha256New;

#[tokio::test(flavor = "multi_thread")]
async fn when_a_provider_dies_another_takes_over_and_nothing_is_fetched_twice() {
    let tree = TestTree::many_files(21, 1200, 20_000);
    let id = tree.tree_id(ALGORITHM);
    for nth in [0, 1, 5] {
        let machine = Machine::new();
        let offered = || Offered::tree(&tree, ALGORITHM);
        let dying = Peer::faulty([offered()], [Fault::CutInPiece(Which::FromNth(nth))]);
        let honest = Peer::honest([offered()]);
        machine.announce(&id, &[&dying, &honest]);
        let fetch = machine.fetch_found(&id).await;
        assert_succeeded(&machine, &id, &fetch);
        let times = all_times(&id, &[&honest]);
        assert!(times.values().all(|times| *times == 1), "{nth}: {times:?}");
        let bytes = honest.record().piece_bytes() + received_from(&fetch, &dying);
        let lost = bytes.saturating_sub(offered().content_size());
        assert!(
            lost < 6 * 128 * 1024,
            "{nth}: {lost} bytes were read for nothing"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_failed_goes_on_with_what_is_missing() {
    let tree = TestTree::with_slices(22);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let offered = || Offered::tree(&tree, ALGORITHM);
    let dying = Peer::honest([offered().only(0..10)]);
    let first = machine.fetch_from(&id, &[&dying]).await;
    assert_failed(&machine, &first, &[ErrorReason::ProvidersExhausted]);
    let had = all_times(&id, &[&dying]);
    assert!(!had.is_empty());

    let honest = Peer::honest([offered()]);
    let second = machine.fetch_from(&id, &[&honest]).await;
    assert_succeeded(&machine, &id, &second);
    let again = all_times(&id, &[&honest]);
    for piece in had.keys() {
        assert!(!again.contains_key(piece), "piece {piece} was read again");
    }
    let sum = dying.record().piece_bytes() + honest.record().piece_bytes();
    assert_eq!(sum, offered().content_size());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_slice_that_is_right_when_read_again_convicts_nobody() {
    let tree = TestTree::one_file(23, 12 * 1024 * 1024);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let offered = || Offered::tree(&tree, ALGORITHM);
    let liar = Peer::faulty([offered()], [Fault::WrongBytes(Which::FromNth(1))]);
    let honest = Peer::honest([offered()]);
    let other = Peer::honest([offered()]);
    machine.announce(&id, &[&honest, &liar, &other]);
    let fetch = machine.fetch_found(&id).await;
    assert_succeeded(&machine, &id, &fetch);
    assert!(liar.record().piece_bytes() > 0, "the liar was read too");
    let reports = machine.discovery.reports();
    let convicted = |fault| matches!(fault, ProviderFault::Convicted);
    assert!(!reports.iter().any(|report| convicted(report.fault())));
    let honest = [&honest, &other].map(|peer| u32::from(peer.address().port()));
    let is_of_honest = |report: &&ReportProviderRequest| {
        let port = report.address.as_ref().map(|address| address.port);
        port.is_some_and(|port| honest.contains(&port))
    };
    let corrupt = |report: &ReportProviderRequest| report.fault() == ProviderFault::Corrupt;
    assert!(!reports.iter().filter(is_of_honest).any(corrupt));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_comes_late_joins() {
    let tree = TestTree::with_slices(24);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let offered = || Offered::tree(&tree, ALGORITHM);
    let slow = Fault::Slow(Which::All, Duration::from_millis(150));
    let early = Peer::faulty([offered()], [slow]);
    let late = Peer::honest([offered()]);
    machine.announce(&id, &[&early]);
    let started = machine.start(wish(&id)).await;
    let is_read = async || early.record().count(Method::ReadPieces) > 1;
    eventually("the first one is read", LIMIT, is_read).await;
    machine.announce(&id, &[&late]);
    early.kill();
    let fetch = machine.end_of(&started).await;
    assert_succeeded(&machine, &id, &fetch);
    assert!(late.record().piece_bytes() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_providers_are_enough_if_they_have_all_of_it_together() {
    let tree = TestTree::many_files(25, 600, 20_000);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let offered = || Offered::tree(&tree, ALGORITHM);
    let pieces = offered().piece_count();
    let head = Peer::honest([offered().only(0..pieces / 2)]);
    let tail = Peer::honest([offered().only(pieces / 2..pieces)]);
    machine.discovery.announce(partial(&id, &head));
    machine.discovery.announce(partial(&id, &tail));
    let fetch = machine.fetch_found(&id).await;
    assert_succeeded(&machine, &id, &fetch);
    let times = all_times(&id, &[&head, &tail]);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    assert_eq!(times.len(), pieces as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_turns_out_partial_is_followed() {
    let tree = TestTree::many_files(26, 600, 20_000);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let offered = || Offered::tree(&tree, ALGORITHM);
    let pieces = offered().piece_count();
    // Announced as whole, both of them.
    let tail = Peer::honest([offered().only(pieces / 2..pieces)]);
    let head = Peer::honest([offered().only(0..pieces / 2)]);
    machine.announce(&id, &[&tail, &head]);
    let fetch = machine.fetch_found(&id).await;
    assert_succeeded(&machine, &id, &fetch);
    assert_eq!(tail.record().count(Method::WatchPieces), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_provider_is_waited_for() {
    let tree = TestTree::with_slices(27);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let offered = Offered::tree(&tree, ALGORITHM);
    let busy = Peer::faulty([offered], [Fault::Busy(Duration::from_millis(5))]);
    machine.announce(&id, &[&busy]);
    let started = machine.start(wish(&id)).await;
    let is_asked = async || busy.record().count(Method::ReadPieces) >= 2;
    eventually("it was asked more than once", LIMIT, is_asked).await;
    busy.set_faults([]);
    let fetch = machine.end_of(&started).await;
    assert_succeeded(&machine, &id, &fetch);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_providers_share_the_work() {
    let tree = TestTree::many_files(28, 2000, 20_000);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let peers: Vec<Peer> = (0..8)
        .map(|_| {
            let slow = Fault::Slow(Which::All, Duration::from_millis(3));
            Peer::faulty([Offered::tree(&tree, ALGORITHM)], [slow])
        })
        .collect();
    machine.announce(&id, &peers.iter().collect::<Vec<_>>());
    let fetch = machine.fetch_found(&id).await;
    assert_succeeded(&machine, &id, &fetch);
    let busy = peers
        .iter()
        .filter(|peer| peer.record().piece_bytes() > 0)
        .count();
    assert!(busy >= 6, "only {busy} were read");
    let times = all_times(&id, &peers.iter().collect::<Vec<_>>());
    // At the tail a few are asked of a second provider: a 64th of them, and four.
    let twice = times.values().filter(|times| **times > 1).count();
    assert!(twice <= times.len() / 64 + 4, "{times:?}");
    assert!(times.values().all(|times| *times <= 2), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_somebody_else_writes_is_waited_for() {
    let tree = TestTree::with_slices(29);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    let manifest = tree.manifest(ALGORITHM);
    let other = Staged::begin(&machine.store(), &manifest, &StageOptions::default()).unwrap();
    machine.announce(&id, &[&peer]);
    let started = machine.start(wish(&id)).await;
    let is_asked = async || peer.record().manifest_bytes() > 0;
    eventually("the manifest is read", LIMIT, is_asked).await;
    drop(other);
    let fetch = machine.end_of(&started).await;
    assert_succeeded(&machine, &id, &fetch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_somebody_else_writes_for_ever_is_said_to_be_in_use() {
    let tree = TestTree::with_slices(30);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::with(|config| config.patience.locked = Duration::from_millis(50));
    let peer = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    let manifest = tree.manifest(ALGORITHM);
    let _other = Staged::begin(&machine.store(), &manifest, &StageOptions::default()).unwrap();
    let fetch = machine.fetch_from(&id, &[&peer]).await;
    assert_failed(&machine, &fetch, &[ErrorReason::InUse]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_fetch_goes_on_with_what_it_had() {
    let tree = TestTree::many_files(31, 800, 20_000);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let offered = || Offered::tree(&tree, ALGORITHM);
    let slow = Peer::faulty(
        [offered()],
        [Fault::Slow(Which::All, Duration::from_millis(30))],
    );
    machine.announce(&id, &[&slow]);
    let started = machine.start(wish(&id)).await;
    let is_read = async || slow.record().piece_bytes() > 1_000_000;
    eventually("some of it is read", LIMIT, is_read).await;
    let request = CancelFetchRequest {
        content_id: id.to_string(),
        ..CancelFetchRequest::default()
    };
    machine.client.clone().cancel_fetch(request).await.unwrap();
    let cancelled = machine.end_of(&started).await;
    assert_eq!(cancelled.state(), FetchState::Cancelled);
    let had = cancelled.progress.unwrap().done_bytes;

    let quick = Peer::honest([offered()]);
    let fetch = machine.fetch_from(&id, &[&quick]).await;
    assert_succeeded(&machine, &id, &fetch);
    let again = quick.record().piece_bytes();
    assert!(
        again + had <= offered().content_size(),
        "{had} bytes were there, {again} came"
    );
}

fn partial(id: &TreeId, peer: &Peer) -> FindProvidersResponse {
    let whole = announced(&ContentId::Tree(*id), peer.address());
    FindProvidersResponse { part: 127, ..whole }
}

fn all_times(id: &TreeId, peers: &[&Peer]) -> BTreeMap<u32, usize> {
    let mut all = BTreeMap::new();
    for peer in peers {
        for (piece, times) in peer.record().times_sent(&ContentId::Tree(*id)) {
            *all.entry(piece).or_default() += times;
        }
    }
    all
}

fn received_from(fetch: &zeroshare_wire::pb::fetcher::v1::Fetch, peer: &Peer) -> u64 {
    let address = peer.address().to_string();
    let shares = fetch.progress.iter().flat_map(|progress| &progress.peers);
    shares
        .filter(|share| share.address == address)
        .map(|share| share.received_bytes)
        .sum()
}
