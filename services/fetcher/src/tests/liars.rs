//! Liars among honest providers of a large file: wrong slices, wrong midstates, a consistent fake, stalls, a disk gone bad.

use std::collections::BTreeSet;

use zeroshare_api::errors::ErrorReason;
use zeroshare_content::Algorithm;
use zeroshare_testkit::{Fault, Method, Offered, Peer, TestTree, Which, eventually};
use zeroshare_wire::pb::discovery::v1::ProviderFault;
use zeroshare_wire::pb::fetcher::v1::Fetch;

use super::machine::{LIMIT, Machine, assert_failed, assert_succeeded};

const ALGORITHM: Algorithm = Algorithm::Sha256New;
const LARGE: usize = 24 * 1024 * 1024;

/// What came of one story.
struct Story {
    machine: Machine,
    peers: Vec<Peer>,
    fetch: Fetch,
}

impl Story {
    /// One fetch of a large file from peers with these faults, the first of which gives the manifest.
    async fn of(seed: u64, faults: &[&[Fault]]) -> Self {
        let tree = TestTree::one_file(seed, LARGE);
        let id = tree.tree_id(ALGORITHM);
        let machine = Machine::new();
        let offered = Offered::tree(&tree, ALGORITHM);
        let peers: Vec<Peer> = faults
            .iter()
            .map(|faults| Peer::faulty([offered.clone()], faults.iter().cloned()))
            .collect();
        machine.announce(&id, &peers.iter().collect::<Vec<_>>());
        let fetch = machine.fetch_found(&id).await;
        if peers
            .iter()
            .zip(faults)
            .any(|(_, faults)| faults.is_empty())
        {
            assert_succeeded(&machine, &id, &fetch);
        }
        Self {
            machine,
            peers,
            fetch,
        }
    }

    /// The peers that were reported for this, by their place.
    fn reported(&self, fault: ProviderFault) -> BTreeSet<usize> {
        let reports = self.machine.discovery.reports();
        let ports = reports
            .iter()
            .filter(|report| report.fault() == fault)
            .filter_map(|report| Some(report.address.as_ref()?.port));
        let place = |port: u32| {
            let mut peers = self.peers.iter();
            peers.position(|peer| u32::from(peer.address().port()) == port)
        };
        ports.filter_map(place).collect()
    }

    fn convicted(&self) -> BTreeSet<usize> {
        self.reported(ProviderFault::Convicted)
    }
}

const HONEST: &[Fault] = &[];

fn piece_size() -> u64 {
    let tree = TestTree::one_file(1, LARGE);
    Offered::tree(&tree, ALGORITHM).layout().piece_size()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_insists_on_wrong_slices_is_convicted_and_nobody_else() {
    let wrong = [Fault::WrongBytes(Which::Slices)];
    let story = Story::of(61, &[HONEST, &wrong, HONEST, HONEST]).await;
    let liar = &story.peers[1];
    assert!(liar.record().piece_bytes() > 0, "it was read");
    eventually("the liar is reported", LIMIT, async || {
        story.convicted() == BTreeSet::from([1])
    })
    .await;
    assert!(story.reported(ProviderFault::Corrupt).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_midstates_convict_their_giver_though_its_bytes_are_right() {
    let wrong = [Fault::WrongMidstates];
    for faults in [[HONEST, &wrong, HONEST], [&wrong, HONEST, HONEST]] {
        let story = Story::of(62, &faults).await;
        let place = faults.iter().position(|faults| !faults.is_empty()).unwrap();
        assert!(story.convicted().is_subset(&BTreeSet::from([place])));
        assert!(story.reported(ProviderFault::Corrupt).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_collude_on_a_fake_do_not_outvote_one_honest() {
    let fake = [Fault::ConsistentFake];
    let story = Story::of(63, &[&fake, &fake, HONEST]).await;
    assert!(!story.convicted().contains(&2));
    assert!(!story.reported(ProviderFault::Corrupt).contains(&2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_gone_bad_is_no_lie() {
    let bad = [Fault::BadDisk(Which::Slices)];
    let story = Story::of(64, &[HONEST, &bad, HONEST]).await;
    assert!(story.convicted().is_empty());
    assert!(
        story
            .reported(ProviderFault::Corrupt)
            .is_subset(&BTreeSet::from([1]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_no_midstates_or_does_not_give_them_is_no_liar() {
    let none = [Fault::NoMidstates];
    let silent = [Fault::StallMidstates];
    let story = Story::of(65, &[HONEST, &none, &silent]).await;
    assert!(story.convicted().is_empty());
    assert!(story.reported(ProviderFault::Corrupt).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_keeps_midstates_a_file_is_proven_as_a_whole() {
    let none = [Fault::NoMidstates];
    let tree = TestTree::one_file(66, LARGE);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let peers = [(), ()].map(|()| Peer::faulty([Offered::tree(&tree, ALGORITHM)], none.clone()));
    machine.announce(&id, &peers.iter().collect::<Vec<_>>());
    let fetch = machine.fetch_found(&id).await;
    assert_succeeded(&machine, &id, &fetch);
    assert!(
        peers
            .iter()
            .any(|peer| peer.record().count(Method::ReadMidstates) > 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sole_liar_whose_bytes_agree_with_its_list_commits_nothing() {
    let tree = TestTree::one_file(67, LARGE);
    let id = tree.tree_id(ALGORITHM);
    let machine = Machine::new();
    let liar = Peer::faulty([Offered::tree(&tree, ALGORITHM)], [Fault::ConsistentFake]);
    let fetch = machine.fetch_from(&id, &[&liar]).await;
    assert_failed(&machine, &fetch, &[ErrorReason::ProvidersExhausted]);
    assert_eq!(machine.shown(), Vec::<String>::new());
    let asked = liar.record().count(Method::ReadPieces);
    assert!(asked < 40, "{asked} calls for what it does not have");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_liar_among_eight_wastes_little_and_harms_nobody() {
    let lies: [&[Fault]; 4] = [
        &[Fault::WrongBytes(Which::Slices)],
        &[Fault::WrongMidstates],
        &[Fault::ConsistentFake],
        &[Fault::StallInPiece(Which::Slices)],
    ];
    for lie in lies {
        let mut faults = vec![HONEST; 8];
        faults[3] = lie;
        let story = Story::of(68, &faults).await;
        assert!(story.convicted().is_subset(&BTreeSet::from([3])), "{lie:?}");
        let blamed = story.reported(ProviderFault::Corrupt);
        assert!(blamed.is_subset(&BTreeSet::from([3])), "{lie:?}");
        if matches!(lie, [Fault::WrongBytes(_)]) {
            // It is asked for nothing more than what was on its way when it was found out.
            let sent = story.peers[3].record().piece_bytes();
            assert!(sent <= 40 * piece_size(), "{sent} wrong bytes came");
        }
        assert_eq!(story.fetch.failure_message, "");
    }
}
