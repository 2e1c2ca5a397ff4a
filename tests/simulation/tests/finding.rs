//! Who holds it is found in time, whatever the size of the LAN and the weather.

use std::time::Duration;

use zeroshare_content::{BlobId, ContentId, HashKind};
use zeroshare_membership::{Claim, Membership, Presence};
use zeroshare_simulation::{Lan, NodeOptions, Weather};

const SECOND: Duration = Duration::from_secs(1);

fn content(name: &str) -> ContentId {
    ContentId::Blob(BlobId::of(HashKind::Sha256, name.as_bytes()))
}

/// A LAN on which one node among many holds it, and another asks.
fn with_one_holder(seed: u64, nodes: usize, weather: Weather) -> (Lan, usize, usize) {
    let mut lan = Lan::new(seed, weather);
    let asker = lan.start(&[], NodeOptions::default());
    lan.start_many(nodes - 2, &[content("other")]);
    let holder = lan.start(&[content("it")], NodeOptions::default());
    (lan, asker, holder)
}

#[test]
fn a_lone_holder_is_found_by_a_newcomer_at_once() {
    for nodes in [2, 30] {
        for seed in 0..10 {
            let (mut lan, _, holder) = with_one_holder(seed, nodes, Weather::fair());
            lan.run(5 * SECOND);
            let newcomer = lan.start(&[], NodeOptions::default());
            let found = lan.find(newcomer, &[content("it")], SECOND);
            let (took, provider) = found.providers.first().expect("found");
            assert!(
                *took < Duration::from_millis(25),
                "{nodes} nodes, seed {seed}: {took:?}"
            );
            assert_eq!(provider.peer.node, lan.machine(holder).node_id());
            assert_eq!(provider.peer.store_addresses[0].ip(), lan.address(holder));
            assert_eq!(provider.claim, Claim::Stated);
        }
    }
}

#[test]
fn a_lone_holder_is_found_among_two_hundred() {
    let (mut lan, asker, holder) = with_one_holder(1, 200, Weather::fair());
    lan.run(5 * SECOND);
    let found = lan.find(asker, &[content("it")], SECOND);
    let (took, provider) = found.providers.first().expect("found");
    assert!(*took < Duration::from_millis(50), "{took:?}");
    assert_eq!(provider.peer.node, lan.machine(holder).node_id());
}

#[test]
fn it_is_found_although_a_fifth_of_all_datagrams_is_lost() {
    let mut times = Vec::new();
    for seed in 0..40 {
        let mut lan = Lan::new(seed, Weather::foul());
        lan.start(&[content("it")], NodeOptions::default());
        let asker = lan.start(&[], NodeOptions::default());
        let found = lan.find(asker, &[content("it")], SECOND);
        times.push(found.providers.first().map_or(SECOND, |(took, _)| *took));
    }
    times.sort_unstable();
    assert!(times[36] < Duration::from_millis(300), "{times:?}");
    assert!(times[39] < SECOND, "{times:?}");
}

#[test]
fn warm_filters_answer_without_a_datagram() {
    let mut lan = Lan::new(3, Weather::fair());
    let asker = lan.start(&[], NodeOptions::default());
    let holders = lan.start_many(3, &[content("it")]);
    lan.run(10 * SECOND);
    lan.take_traffic(asker);
    let found = lan.find(asker, &[content("it")], SECOND);
    assert_eq!(found.providers.len(), holders.len());
    assert!(found.providers.iter().all(|(took, _)| took.is_zero()));
    let traffic = lan.take_traffic(asker);
    assert_eq!((traffic.to_all, traffic.to_one), (0, 0));
}

#[test]
fn nobody_is_an_answer_at_the_deadline_and_costs_little() {
    let mut lan = Lan::new(4, Weather::fair());
    let asker = lan.start(&[], NodeOptions::default());
    lan.start_many(9, &[content("other")]);
    lan.run(10 * SECOND);
    lan.take_traffic(asker);
    let found = lan.find(asker, &[content("it")], SECOND);
    assert!(found.providers.is_empty());
    assert!(
        found.ended <= SECOND + Duration::from_millis(1),
        "{:?}",
        found.ended
    );
    let traffic = lan.take_traffic(asker);
    assert!((3..=25).contains(&traffic.to_all), "{traffic:?}");
    let at_once = lan.find(asker, &[content("it")], Duration::ZERO);
    assert!(at_once.ended.is_zero() && at_once.providers.is_empty());
    assert_eq!(lan.take_traffic(asker).to_all, 0);
}

#[test]
fn who_only_asks_finds_and_is_not_seen() {
    let mut lan = Lan::new(5, Weather::fair());
    let holder = lan.start(&[content("it")], NodeOptions::default());
    lan.run(5 * SECOND);
    let hidden = NodeOptions {
        presence: Presence::Hidden,
        store_port: 0,
        ..NodeOptions::default()
    };
    let asker = lan.start(&[content("it")], hidden);
    let found = lan.find(asker, &[content("it")], SECOND);
    assert_eq!(found.providers.len(), 1);
    lan.run(Duration::from_mins(1));
    assert_eq!(lan.machine(holder).live_peers(), 0);
    assert_eq!(lan.machine(holder).peers(lan.now()).len(), 0);
    let other = lan.start(&[], NodeOptions::default());
    let found = lan.find(other, &[content("it")], SECOND);
    assert_eq!(
        found.providers.len(),
        1,
        "the hidden node holds it too, and does not say so"
    );
}

#[test]
fn two_hundred_holders_do_not_all_answer() {
    let mut lan = Lan::new(6, Weather::fair());
    let asker = lan.start(&[], NodeOptions::default());
    let holders = lan.start_many(200, &[content("it")]);
    lan.run(5 * SECOND);
    for holder in &holders {
        lan.take_traffic(*holder);
    }
    let found = lan.find(asker, &[content("it")], Duration::from_millis(300));
    assert!(found.providers.len() >= 3, "{}", found.providers.len());
    let answers: u64 = holders
        .iter()
        .map(|holder| lan.take_traffic(*holder).to_all)
        .sum();
    assert!(answers <= 40, "{answers} answers");
}

#[test]
fn a_holder_that_was_cut_off_is_found_again() {
    let (mut lan, asker, holder) = with_one_holder(7, 5, Weather::fair());
    lan.run(5 * SECOND);
    lan.cut_off(holder, true);
    lan.run(Duration::from_mins(20));
    assert!(
        lan.find(asker, &[content("it")], SECOND)
            .providers
            .is_empty(),
        "forgotten"
    );
    lan.cut_off(holder, false);
    let found = lan.find(asker, &[content("it")], SECOND);
    assert_eq!(
        found.providers.len(),
        1,
        "found by a question, before its next beacon"
    );
}

#[test]
fn a_killed_node_is_forgotten_and_one_that_leaves_at_once() {
    let mut lan = Lan::new(8, Weather::fair());
    let watcher = lan.start(&[], NodeOptions::default());
    let killed = lan.start(&[], NodeOptions::default());
    let leaves = lan.start(&[], NodeOptions::default());
    lan.run(10 * SECOND);
    assert_eq!(lan.machine(watcher).peers(lan.now()).len(), 2);
    lan.with(leaves, Membership::leave);
    lan.kill(killed);
    lan.run(SECOND);
    let left: Vec<_> = lan.machine(watcher).peers(lan.now());
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].node, lan.machine(killed).node_id());
    lan.kill(leaves);
    lan.run(Duration::from_mins(10));
    assert_eq!(lan.machine(watcher).live_peers(), 0);
}

#[test]
fn broadcast_is_the_road_where_multicast_does_not_pass() {
    let mut lan = Lan::new(
        9,
        Weather {
            multicast: false,
            ..Weather::fair()
        },
    );
    let holder = lan.start(&[content("it")], NodeOptions::default());
    let asker = lan.start(&[], NodeOptions::default());
    let found = lan.find(asker, &[content("it")], SECOND);
    assert_eq!(found.providers.len(), 1);
    lan.run(Duration::from_mins(5));
    let roads = &lan.machine(asker).peers(lan.now())[0].roads;
    assert!(
        roads.iter().any(|road| road.name() == "broadcast"),
        "{roads:?}"
    );
    lan.take_traffic(holder);
    lan.run(Duration::from_mins(10));
    let quiet = lan.take_traffic(holder).to_all;
    lan.weather.multicast = true;
    lan.run(Duration::from_mins(30));
    lan.take_traffic(holder);
    lan.run(Duration::from_mins(10));
    let same = lan.take_traffic(holder).to_all;
    assert!(same <= quiet + 4, "one road is enough: {quiet} then {same}");
}
