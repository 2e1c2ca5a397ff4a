//! Peers that lie, stall, break off or have too little: each alone, and each beside an honest one.

use std::time::Duration;

use bytes::Bytes;
use zeroshare_api::errors::ErrorReason;
use zeroshare_content::{Algorithm, ContentId, Family, TreeId};
use zeroshare_testkit::{
    Fault, HeaderLie, Offered, Peer, TestTree, Which, eventually, evil_manifests,
};
use zeroshare_wire::pb::discovery::v1::ProviderFault;

use super::machine::{LIMIT, Machine, assert_failed, assert_succeeded};

const ALGORITHM: Algorithm = Algorithm::Sha256New;

/// Every way to be of no use.
fn faults() -> Vec<Fault> {
    use Which::{All, FromNth, Runs, Slices};
    vec![
        Fault::WrongBytes(All),
        Fault::WrongBytes(Runs),
        Fault::WrongBytes(Slices),
        Fault::WrongManifest,
        Fault::ManifestInstead(Bytes::from_static(b"D /other\n")),
        Fault::EndlessManifest { announced: true },
        Fault::EndlessManifest { announced: false },
        Fault::EndlessPiece(Runs),
        Fault::EndlessPiece(Slices),
        Fault::StallBeforeAnswer,
        Fault::StallBeforeHead,
        Fault::StallInPiece(Runs),
        Fault::StallInPiece(Slices),
        Fault::EndInPiece(FromNth(0)),
        Fault::FailInPiece(FromNth(0)),
        Fault::CutInPiece(FromNth(0)),
        Fault::WrongHeader(All, HeaderLie::NextPiece),
        Fault::WrongHeader(All, HeaderLie::NoPiece),
        Fault::WrongHeader(Slices, HeaderLie::Offset),
        Fault::WrongHeader(Slices, HeaderLie::Shorter),
        Fault::WrongHeader(All, HeaderLie::Huge),
        Fault::OneByteMore(All),
        Fault::Twice(All),
        Fault::HugeMessages(All),
        Fault::WrongHead,
        Fault::NoHead,
        Fault::LacksContent,
        Fault::LacksPieces(All),
        Fault::Busy(Duration::from_millis(5)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_peer_does_alone_ends_in_a_clear_error_and_leaves_nothing() {
    let tree = TestTree::with_slices(11);
    let id = tree.tree_id(ALGORITHM);
    for fault in faults() {
        let start = std::time::Instant::now();
        let machine = Machine::new();
        let peer = Peer::faulty([Offered::tree(&tree, ALGORITHM)], [fault.clone()]);
        let fetch = machine.fetch_from(&id, &[&peer]).await;
        eprintln!(
            "{fault:?} after {:?}: {}",
            start.elapsed(),
            fetch.failure_message
        );
        assert_failed(
            &machine,
            &fetch,
            &[ErrorReason::ProvidersExhausted, ErrorReason::NoProviders],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_peer_does_another_one_makes_good() {
    let tree = TestTree::with_slices(12);
    let id = tree.tree_id(ALGORITHM);
    for fault in faults() {
        let start = std::time::Instant::now();
        let machine = Machine::new();
        let faulty = Peer::faulty([Offered::tree(&tree, ALGORITHM)], [fault.clone()]);
        let honest = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
        machine.announce(&id, &[&faulty, &honest]);
        let fetch = machine.fetch_found(&id).await;
        eprintln!(
            "{fault:?} after {:?}: {}",
            start.elapsed(),
            fetch.failure_message
        );
        assert_succeeded(&machine, &id, &fetch);
        let accused = machine
            .discovery
            .reports()
            .into_iter()
            .filter(|report| report.fault != 0);
        let ports: Vec<u32> = accused
            .filter_map(|report| Some(report.address?.port))
            .collect();
        let port = u32::from(honest.address().port());
        assert!(
            !ports.contains(&port),
            "{fault:?} got the honest one accused"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_must_not_be_taken_is_refused_although_its_digest_is_right() {
    for evil in evil_manifests() {
        let machine = Machine::new();
        let offered = Offered::manifest(Family::Sha256, evil.text.clone());
        let ContentId::Tree(id) = offered.id() else {
            panic!("a manifest names a tree")
        };
        let peer = Peer::honest([offered]);
        let fetch = machine.fetch_from(&id, &[&peer]).await;
        assert_failed(&machine, &fetch, &[ErrorReason::ManifestRefused]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_there_is_named() {
    let machine = Machine::new();
    let peer = Peer::honest([]);
    let address = peer.address();
    peer.kill();
    let id: TreeId = TestTree::small().tree_id(ALGORITHM);
    let fetch = machine.fetch_from(&id, &[&peer]).await;
    assert_failed(&machine, &fetch, &[ErrorReason::ProvidersExhausted]);
    assert!(
        fetch.failure_message.contains(&address.to_string()),
        "{}",
        fetch.failure_message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_reported_and_the_sender_convicted_only_if_it_insists() {
    let tree = TestTree::many_files(13, 400, 9000);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let liar = Peer::faulty(
        [Offered::tree(&tree, ALGORITHM)],
        [Fault::WrongBytes(Which::Runs)],
    );
    let fetch = machine.fetch_from(&id, &[&liar]).await;
    assert_failed(&machine, &fetch, &[ErrorReason::ProvidersExhausted]);
    eventually("it is convicted", LIMIT, async || {
        let reports = machine.discovery.reports();
        reports
            .iter()
            .any(|report| report.fault() == ProviderFault::Convicted)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_insists_on_wrong_bytes_of_its_first_answer_is_convicted() {
    let machine = Machine::new();
    let tree = TestTree::small();
    let id = tree.tree_id(ALGORITHM);
    let liar = Peer::faulty(
        [Offered::tree(&tree, ALGORITHM)],
        [Fault::WrongBytes(Which::All)],
    );
    let fetch = machine.fetch_from(&id, &[&liar]).await;
    assert_failed(&machine, &fetch, &[ErrorReason::ProvidersExhausted]);
    eventually("it is convicted", LIMIT, async || {
        let reports = machine.discovery.reports();
        reports
            .iter()
            .any(|report| report.fault() == ProviderFault::Convicted)
    })
    .await;
}
