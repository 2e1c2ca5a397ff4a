use std::net::{IpAddr, SocketAddr};

use zeroshare_wire::datagram::{Bloom, Day, Tag};

use super::*;
use crate::testing::start;

const MINUTE: Duration = Duration::from_mins(1);

fn heard(node: u32, ip: impl Into<IpAddr>, road: Road) -> Heard {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&node.to_be_bytes());
    let source = SocketAddr::new(ip.into(), 38339);
    Heard {
        key: (NodeId::from_bytes(id), Place::of(source)),
        run: Run {
            incarnation: 1,
            sequence: 1,
        },
        store_port: 1,
        unicast_port: 2,
        road,
        way_back: road,
        interface: Some(2),
        source,
    }
}

fn add(peers: &mut PeerTable, now: Instant, heard: &Heard) -> Result<(), TableFull> {
    peers.add(now, &mut fastrand::Rng::with_seed(1), heard)
}

fn filter(tags: u64) -> FilterPart {
    let tag = |bits: u64| Tag::from_bits(bits.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    FilterPart {
        day: Day::from_number(1),
        index: 0,
        count: 1,
        bloom: Bloom::summaries((0..tags).map(tag)).remove(0),
    }
}

#[test]
fn a_silent_peer_is_swept_when_its_life_is_over() {
    let now = start();
    let mut peers = PeerTable::default();
    let peer = heard(1, [10, 0, 0, 1], Road::Multicast4);
    add(&mut peers, now, &peer).unwrap();
    peers.hear(now, &peer, 10 * MINUTE);
    assert!(peers.sweep(now + 9 * MINUTE).is_empty());
    assert_eq!(peers.known(), 1);
    let gone = peers.sweep(now + 10 * MINUTE + SWEEP_INTERVAL);
    assert_eq!(gone.len(), 1);
    assert_eq!((peers.known(), peers.next_sweep()), (0, None));
}

#[test]
fn a_short_life_that_somebody_claims_shortens_nothing() {
    let now = start();
    let mut peers = PeerTable::default();
    let peer = heard(1, [10, 0, 0, 1], Road::Multicast4);
    add(&mut peers, now, &peer).unwrap();
    peers.hear(now, &peer, 10 * MINUTE);
    peers.hear(now, &peer, Duration::from_secs(1));
    assert!(peers.sweep(now + 9 * MINUTE).is_empty());
}

#[test]
fn one_address_has_at_most_four_ids() {
    let now = start();
    let mut peers = PeerTable::default();
    let at = |node| heard(node, [10, 0, 0, 1], Road::Multicast4);
    for node in 0..4 {
        add(&mut peers, now, &at(node)).unwrap();
    }
    assert_eq!(
        add(&mut peers, now, &at(4)),
        Err(TableFull),
        "those before it have their grace"
    );
    assert!(peers.prove(now, &at(0), now));
    add(&mut peers, now + GRACE, &at(4)).unwrap();
    assert!(peers.get(&at(0).key).is_some(), "proof protects");
    assert_eq!(peers.iter().count(), 4);
    for node in 1..=4 {
        peers.prove(now + GRACE, &at(node), now);
    }
    assert_eq!(
        add(&mut peers, now + MINUTE, &at(5)),
        Err(TableFull),
        "proven ids give no way"
    );
    assert_eq!(peers.known(), 1, "one address counts as one node");
}

#[test]
fn whoever_speaks_without_end_does_not_keep_its_place_at_an_address() {
    let now = start();
    let mut peers = PeerTable::default();
    let at = |node| heard(node, [10, 0, 0, 1], Road::Multicast4);
    for node in 0..4 {
        add(&mut peers, now, &at(node)).unwrap();
        peers.hear(now + GRACE, &at(node), MINUTE);
    }
    add(&mut peers, now + GRACE, &at(4)).unwrap();
    assert!(peers.get(&at(4).key).is_some());
}

#[test]
fn an_echo_needs_no_grace_of_others_to_be_over() {
    let now = start();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut peers = PeerTable::default();
    let at = |node| heard(node, [10, 0, 0, 1], Road::Multicast4);
    for node in 0..4 {
        add(&mut peers, now, &at(node)).unwrap();
    }
    for node in 4..8 {
        peers.add_proven(now, &mut rng, &at(node)).unwrap();
        assert!(peers.prove(now, &at(node), now));
    }
    assert_eq!(peers.iter().count(), 4);
    assert_eq!(
        peers.add_proven(now, &mut rng, &at(8)),
        Err(TableFull),
        "others that echoed stay"
    );
}

#[test]
fn a_full_table_gives_up_some_old_entry_without_proof() {
    let now = start();
    let mut peers = PeerTable::default();
    let most = u32::try_from(MOST_PEERS).unwrap();
    let at = |node: u32| heard(node, (0x0a00_0000 + node).to_be_bytes(), Road::Multicast4);
    add(&mut peers, now, &at(0)).unwrap();
    peers.prove(now, &at(0), now);
    for node in 1..most {
        add(&mut peers, now, &at(node)).unwrap();
    }
    assert_eq!(add(&mut peers, now, &at(most)), Err(TableFull));
    let mut rng = fastrand::Rng::with_seed(1);
    for node in most..most + 100 {
        peers.add(now + GRACE, &mut rng, &at(node)).unwrap();
    }
    assert!(peers.get(&at(0).key).is_some(), "proof protects");
    let left = (1..101).filter(|node| peers.get(&at(*node).key).is_some());
    assert!(left.count() > 90, "chance spares most of the oldest");
    assert_eq!(peers.iter().count(), MOST_PEERS);
    let unproven = peers.iter().filter(|(_, entry)| !entry.is_proven()).count();
    assert_eq!(peers.unproven.len(), unproven);
}

#[test]
fn filters_of_peers_without_proof_take_little_memory() {
    let now = start();
    let mut peers = PeerTable::default();
    let at = |node: u32| heard(node, (0x0a00_0000 + node).to_be_bytes(), Road::Multicast4);
    for node in 0..3_000 {
        add(&mut peers, now, &at(node)).unwrap();
        peers.take_filter(now, &at(node).key, 1, filter(480));
    }
    assert!(peers.filter_bytes <= MOST_UNPROVEN_FILTER_BYTES);
    let proven = at(2_999);
    peers.prove(now, &proven, now);
    peers.take_filter(now, &proven.key, 2, filter(480));
    assert!(peers.get(&proven.key).unwrap().filters().size_bytes() > 0);
    for node in 0..3_000 {
        peers.remove(&at(node).key);
    }
    assert_eq!(peers.filter_bytes, 0);
}

#[test]
fn a_beacon_that_cannot_follow_what_is_proven_surprises() {
    let now = start();
    let mut peers = PeerTable::default();
    let mut peer = heard(1, [10, 0, 0, 1], Road::Multicast4);
    peer.run.sequence = 5_000;
    add(&mut peers, now, &peer).unwrap();
    peers.prove(now, &peer, now);
    peers.take_filter(now, &peer.key, 5_000, filter(1));
    let order = |incarnation, sequence, part: Option<&FilterPart>| {
        let run = Run {
            incarnation,
            sequence,
        };
        peers.get(&peer.key).unwrap().order_of(run, part)
    };
    let mut second = filter(1);
    second.index = 1;
    for (incarnation, sequence, part, expected) in [
        (1, 5_001, None, Order::Next),
        (1, 5_000, None, Order::Repeated),
        (1, 6_024, None, Order::Next),
        (1, 6_025, None, Order::Surprising),
        (1, u64::MAX, None, Order::Surprising),
        (2, 5_001, None, Order::Surprising),
        (1, 4_999, None, Order::Surprising),
        (1, 4_999, Some(&second), Order::Next),
        (1, 3_000, Some(&second), Order::Surprising),
    ] {
        assert_eq!(
            order(incarnation, sequence, part),
            expected,
            "{incarnation} {sequence}"
        );
    }
}

#[test]
fn a_road_counts_for_as_long_as_its_peer_may_be_silent() {
    let now = start();
    let mut peers = PeerTable::default();
    let peer = heard(1, [10, 0, 0, 1], Road::Multicast4);
    add(&mut peers, now, &peer).unwrap();
    peers.hear(now, &peer, 60 * MINUTE);
    let road = |now| peers.get(&peer.key).unwrap().first_road(now);
    assert_eq!(road(now + 59 * MINUTE), Some((2, Road::Multicast4)));
    assert_eq!(road(now + 60 * MINUTE), None);
}

#[test]
fn one_road_to_each_node_is_needed() {
    let now = start();
    let mut peers = PeerTable::default();
    let link_local: IpAddr = "fd00::1".parse().unwrap();
    let both = [
        heard(1, [10, 0, 0, 1], Road::Multicast4),
        heard(1, link_local, Road::Multicast6),
        heard(2, [10, 0, 0, 2], Road::Broadcast),
        heard(3, [10, 0, 0, 3], Road::Unicast),
    ];
    for peer in &both {
        add(&mut peers, now, peer).unwrap();
    }
    assert!(peers.needed_roads(now).is_empty(), "hearsay needs nothing");
    for peer in &both {
        peers.prove(now, peer, now);
    }
    let needed = BTreeSet::from([(2, Road::Multicast4), (2, Road::Broadcast)]);
    assert_eq!(peers.needed_roads(now), needed);
}
