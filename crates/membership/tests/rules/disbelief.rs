//! Nobody on UDP is believed: each rule with the attack that it fails.

use std::time::Duration;

use zeroshare_membership::{Arrival, Destination, Event, Road};
use zeroshare_wire::{
    datagram::{Alive, Body, Day, Echo, FilterPart, SigningKey},
    pb::beacon::v1 as pb,
};

use crate::bench::{Bench, DAY, LAN, Other, SECOND, alive};

/// A machine and a peer that it knows.
fn with_peer() -> (Bench, Other) {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    bench.meet(&peer);
    assert_eq!(bench.machine.peers(bench.now).len(), 1);
    (bench, peer)
}

#[test]
fn an_unsigned_farewell_is_a_hint_and_the_store_is_tried() {
    let (mut bench, peer) = with_peer();
    bench.hear(&peer, Body::Leaving);
    assert_eq!(bench.machine.peers(bench.now).len(), 1);
    assert_eq!(bench.events(), [Event::Probe(peer.store())]);
    bench.hear(&peer, Body::Leaving);
    assert!(bench.events().is_empty(), "it is not tried again and again");
    bench.machine.handle_probe(peer.store(), true);
    assert_eq!(bench.machine.peers(bench.now).len(), 1);
    bench.pass_echoing(Duration::from_mins(1), &[&peer]);
    bench.hear(&peer, Body::Leaving);
    bench.events();
    bench.machine.handle_probe(peer.store(), false);
    assert_eq!(
        bench.events(),
        [Event::PeerDown(peer.node())],
        "what it saw itself counts"
    );
}

#[test]
fn a_signed_farewell_removes_its_own_run_only() {
    let (mut bench, peer) = with_peer();
    let old_run = Other {
        incarnation: peer.incarnation + 1,
        ..peer.clone()
    };
    let replayed = old_run.signed_bytes(Body::Leaving);
    bench.hear_bytes(peer.source, Road::Multicast4, &replayed);
    assert_eq!(bench.machine.peers(bench.now).len(), 1);
    let said = peer.signed_bytes(Body::Leaving);
    bench.hear_bytes(Other::at(9).source, Road::Multicast4, &said);
    assert_eq!(bench.machine.peers(bench.now).len(), 0);
    assert_eq!(bench.events(), [Event::PeerDown(peer.node())]);
}

#[test]
fn a_damaged_signature_removes_nothing() {
    let (mut bench, peer) = with_peer();
    let mut said = peer.signed_bytes(Body::Leaving);
    let last = said.len() - 8;
    said[last] ^= 1;
    bench.hear_bytes(peer.source, Road::Multicast4, &said);
    assert_eq!(bench.machine.peers(bench.now).len(), 1);
}

#[test]
fn silence_where_only_an_attacker_said_the_peer_is_proves_nothing() {
    let (mut bench, peer) = with_peer();
    let mut forged = peer.clone();
    forged.incarnation += 1;
    // The port at which it is to be asked, in its place nobody listens.
    forged.source.set_port(9);
    bench.hear(&forged, alive());
    bench.pass_echoing(5 * SECOND, &[&peer]);
    assert_eq!(bench.machine.peers(bench.now).len(), 1);
    assert!(
        !bench
            .events()
            .iter()
            .any(|event| matches!(event, Event::PeerDown(_)))
    );
}

#[test]
fn an_id_at_another_address_is_another_entry_and_takes_nothing_over() {
    let (mut bench, peer) = with_peer();
    let namesake = Other {
        source: Other::at(2).source,
        incarnation: 99,
        store_port: 666,
        ..peer.clone()
    };
    bench.hear(&namesake, alive());
    let seen = bench.machine.peers(bench.now);
    assert_eq!(seen[0].store_addresses, [peer.store()]);
    assert_eq!(
        bench.events(),
        [Event::Probe(peer.store())],
        "the first is looked after"
    );
}

#[test]
fn a_changed_port_counts_only_when_its_echo_says_so() {
    let (mut bench, peer) = with_peer();
    let mut forged = peer.clone();
    forged.store_port = 666;
    forged.sequence += 1;
    bench.hear(&forged, alive());
    assert_eq!(
        bench.machine.peers(bench.now)[0].store_addresses,
        [peer.store()]
    );
    bench.pass_echoing(3 * SECOND, &[&peer]);
    assert_eq!(
        bench.machine.peers(bench.now)[0].store_addresses,
        [peer.store()]
    );
}

#[test]
fn what_crossed_a_router_is_no_neighbour() {
    let mut bench = Bench::new();
    let other = Other::at(1);
    for (road, ttl) in [
        (Road::Multicast4, Some(254)),
        (Road::Unicast, Some(64)),
        (Road::Unicast, None),
    ] {
        let arrival = Arrival {
            source: other.source,
            interface: Some(LAN),
            road,
            ttl,
        };
        bench
            .machine
            .handle_datagram(bench.now, &arrival, &other.bytes(alive()));
    }
    assert_eq!(
        (bench.drops("far_away"), bench.machine.live_peers()),
        (3, 0)
    );
}

#[test]
fn a_filter_that_claims_everything_is_dropped() {
    let mut bench = Bench::new();
    let other = Other::at(1);
    let full = other.bytes(Body::Alive(Alive {
        ttl: SECOND,
        known_nodes: 1,
        filter: Some(FilterPart {
            day: Day::from_number(DAY),
            index: 0,
            count: 1,
            bloom: zeroshare_wire::datagram::Bloom::summaries([crate::bench::tag("it")]).remove(0),
        }),
    }));
    // No honest filter is that full, so the bytes are written by hand.
    let mut envelope = <pb::Envelope as prost::Message>::decode(&full[..]).expect("an envelope");
    let mut datagram =
        <pb::Datagram as prost::Message>::decode(&envelope.datagram[..]).expect("a datagram");
    if let Some(pb::datagram::Body::Alive(alive)) = &mut datagram.body {
        alive.holdings_filter = vec![0xff; 128].into();
    }
    envelope.datagram = prost::Message::encode_to_vec(&datagram).into();
    let forged = prost::Message::encode_to_vec(&envelope);
    bench.hear_bytes(other.source, Road::Multicast4, &forged);
    assert_eq!(bench.drops("overfull_filter"), 1);
}

#[test]
fn an_echo_reply_is_never_longer_than_its_question_and_goes_back_where_it_came_from() {
    let mut bench = Bench::new();
    let asker = Other::at(1);
    let question = asker.bytes(Body::Echo(Echo {
        nonce: u64::MAX,
        reply: false,
    }));
    let socket = "10.0.0.1:55555".parse().unwrap();
    bench.hear_bytes(socket, Road::Unicast, &question);
    let said = bench.said();
    assert_eq!(said[0].to, Destination::One(socket));
    assert!(said[0].len <= question.len());
}

#[test]
fn strangers_from_other_networks_are_not_heard_at_all() {
    let mut bench = Bench::new();
    let far = Other {
        source: "198.51.100.7:38339".parse().unwrap(),
        ..Other::at(1)
    };
    bench.hear(&far, alive());
    let question = far.bytes(Body::Echo(Echo {
        nonce: 1,
        reply: false,
    }));
    bench.hear_bytes(far.source, Road::Unicast, &question);
    assert!(bench.said().is_empty());
    assert_eq!(
        (bench.drops("stranger"), bench.machine.live_peers()),
        (2, 0)
    );
}

#[test]
fn strangers_questions_do_not_use_up_the_replies_to_peers() {
    let (mut bench, peer) = with_peer();
    let question = |nonce| {
        Body::Echo(Echo {
            nonce,
            reply: false,
        })
    };
    for nonce in 0..2_000 {
        let stranger = Other::at(2 + u8::try_from(nonce % 200).unwrap());
        let bytes = stranger.bytes(question(nonce));
        bench.hear_bytes(stranger.source, Road::Unicast, &bytes);
    }
    assert!(bench.said().len() < 500);
    bench.hear_bytes(peer.source, Road::Unicast, &peer.bytes(question(1)));
    assert_eq!(bench.said().len(), 1);
}

#[test]
fn questions_to_strangers_leave_room_for_questions_to_peers() {
    let (mut bench, peer) = with_peer();
    for number in 0..3_000_u16 {
        let [high, low] = number.to_be_bytes();
        let stranger = Other {
            key: SigningKey::from_seed(&[high ^ 0x5a; 32]),
            source: std::net::SocketAddr::from(([10, 0, 0, low], 1_000 + number)),
            ..Other::at(2)
        };
        bench.hear(&stranger, alive());
    }
    bench.said();
    bench.hear(&peer, Body::Leaving);
    let asked = bench.said();
    assert!(
        asked
            .iter()
            .any(|said| said.to == Destination::One(peer.source)),
        "{asked:?}"
    );
}

#[test]
fn a_copied_machine_with_the_same_key_is_a_peer_and_only_the_same_run_is_oneself() {
    let mut bench = Bench::new();
    let copy = Other {
        key: SigningKey::from_seed(&[255; 32]),
        ..Other::at(1)
    };
    assert_eq!(copy.node(), bench.machine.node_id());
    bench.meet(&copy);
    let peers = bench.machine.peers(bench.now);
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].store_addresses, [copy.store()]);
    assert_eq!(bench.drops("own"), 0);
    let own = Other {
        incarnation: 7,
        ..copy
    };
    bench.hear(&own, alive());
    assert_eq!(bench.drops("own"), 1);
}

#[test]
fn copies_of_one_machine_are_as_many_peers_and_the_end_of_one_is_not_that_of_another() {
    let mut bench = Bench::new();
    let copies: Vec<Other> = (1..=3)
        .map(|last| Other {
            key: SigningKey::from_seed(&[77; 32]),
            ..Other::at(last)
        })
        .collect();
    for copy in &copies {
        bench.hear(copy, alive());
        bench.pass_echoing(SECOND, &copies.iter().collect::<Vec<_>>());
    }
    let stores = |bench: &Bench| -> Vec<_> {
        let peers = bench.machine.peers(bench.now);
        peers
            .iter()
            .map(|peer| peer.store_addresses.clone())
            .collect()
    };
    let expected: Vec<_> = copies.iter().map(|copy| vec![copy.store()]).collect();
    assert_eq!(stores(&bench), expected);
    assert_eq!(bench.machine.live_peers(), 3);
    bench.hear_bytes(
        copies[0].source,
        Road::Multicast4,
        &copies[0].signed_bytes(Body::Leaving),
    );
    assert_eq!(stores(&bench), expected[1..]);
}

#[test]
fn one_address_that_claims_many_runs_is_one_node() {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    for incarnation in 1..=4 {
        let run = Other {
            key: SigningKey::from_seed(&[100 + u8::try_from(incarnation).unwrap(); 32]),
            incarnation,
            ..peer.clone()
        };
        bench.hear(&run, alive());
        bench.pass_echoing(SECOND, &[&run]);
    }
    assert_eq!(bench.machine.live_peers(), 1);
}

#[test]
fn after_a_nap_it_shows_itself_and_asks_its_peers_at_once() {
    let (mut bench, peer) = with_peer();
    bench.pass(SECOND);
    bench.said();
    bench.machine.handle_resume(bench.now);
    bench.pass(SECOND);
    let said = bench.said();
    let is_echo = |said: &&crate::bench::Said| {
        said.to == Destination::One(peer.source) && matches!(said.datagram.body, Body::Echo(_))
    };
    assert!(said.iter().any(|said| is_echo(&said)));
    let beacon = |said: &crate::bench::Said| matches!(said.datagram.body, Body::Alive(_));
    assert!(said.iter().any(beacon));
}

#[test]
fn a_peer_that_moved_is_no_longer_told_of_at_its_old_address() {
    let (mut bench, peer) = with_peer();
    let mut moved = peer.clone();
    moved.source = "10.0.0.99:38339".parse().unwrap();
    moved.sequence += 1;
    bench.hear(&moved, alive());
    bench.pass_echoing(4 * SECOND, &[&moved]);
    let peers = bench.machine.peers(bench.now);
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].store_addresses, [moved.store()]);
}
