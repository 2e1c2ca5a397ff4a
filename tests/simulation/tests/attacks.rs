//! Nobody on UDP is believed: what attackers send, and what it fails to do.

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, wherever its words stand"
)]

use std::{net::SocketAddr, time::Duration};

use zeroshare_content::{BlobId, ContentId, HashKind};
use zeroshare_membership::{Event, Road};
use zeroshare_simulation::{GROUP_PORT, Lan, NodeOptions, Weather};
use zeroshare_wire::{
    AtMost,
    datagram::{
        Alive, Answer, Body, Datagram, Echo, GroupKey, Holding, HoldingState, NodeId, Peers,
        SigningKey, Tag, encode,
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn content(name: &str) -> ContentId {
    ContentId::Blob(BlobId::of(HashKind::Sha256, name.as_bytes()))
}

/// A datagram in anybody's name.
fn forged(node: NodeId, incarnation: u64, sequence: u64, body: Body) -> Vec<u8> {
    let datagram = Datagram {
        node,
        incarnation,
        sequence,
        store_port: 1,
        unicast_port: 1,
        trace: None,
        body,
    };
    encode(&datagram, &GroupKey::none(), None)
}

fn alive() -> Body {
    Body::Alive(Alive {
        ttl: SECOND,
        known_nodes: 1_000_000,
        filter: None,
    })
}

/// A victim and an honest peer of it that holds something.
fn victim_and_honest(seed: u64) -> (Lan, usize, usize) {
    let mut lan = Lan::new(seed, Weather::fair());
    let victim = lan.start(&[], NodeOptions::default());
    let honest = lan.start(&[content("it")], NodeOptions::default());
    lan.run(5 * SECOND);
    assert_eq!(lan.machine(victim).peers(lan.now()).len(), 1);
    (lan, victim, honest)
}

/// Whether the victim ever said that a peer went, and still finds it at its own address.
fn assert_not_forgotten(lan: &mut Lan, victim: usize, honest: usize) {
    let gone = |event: &Event| matches!(event, Event::PeerDown(_));
    assert!(!lan.take_events(victim).iter().any(gone));
    let found = lan.find(victim, &[content("it")], SECOND);
    let (_, provider) = found.providers.first().expect("found");
    let store = SocketAddr::new(lan.address(honest), GROUP_PORT);
    assert_eq!(provider.peer.store_addresses, [store]);
}

#[test]
fn forged_speech_in_an_honest_peers_name_removes_nothing() {
    let (mut lan, victim, honest) = victim_and_honest(21);
    let node = lan.machine(honest).node_id();
    let source = SocketAddr::new(lan.address(honest), GROUP_PORT);
    let mut rng = fastrand::Rng::with_seed(1);
    lan.take_events(victim);
    for minute in 0..30 {
        for _ in 0..20 {
            let bodies = [
                forged(node, rng.u64(..), rng.u64(..), Body::Leaving),
                forged(node, rng.u64(..), u64::MAX, alive()),
                forged(node, rng.u64(..), 0, alive()),
            ];
            for bytes in bodies {
                let road = if rng.bool() {
                    Road::Multicast4
                } else {
                    Road::Unicast
                };
                lan.inject(victim, source, road, &bytes);
            }
            lan.run(3 * SECOND);
        }
        let peers = lan.machine(victim).peers(lan.now());
        assert_eq!(peers.len(), 1, "minute {minute}");
        assert_eq!(peers[0].store_addresses[0].port(), GROUP_PORT);
    }
    assert_not_forgotten(&mut lan, victim, honest);
}

#[test]
fn an_invented_incarnation_or_sequence_does_not_hide_the_true_one() {
    // The attacker knows the run, as anybody does who listens.
    let (mut lan, victim, honest) = victim_and_honest(22);
    let node = lan.machine(honest).node_id();
    let source = SocketAddr::new(lan.address(honest), GROUP_PORT);
    lan.with(honest, |machine, now| {
        machine.handle_holding(now, content("later"), 255);
    });
    for jump in [1_u64, 60, 1_000, u64::MAX / 2] {
        // Every incarnation there may be is not tried: the honest one is learnt from its echo.
        let run = true_run(&mut lan, honest);
        let bytes = forged(node, run.0, run.1.saturating_add(jump), alive());
        lan.inject(victim, source, Road::Multicast4, &bytes);
        lan.run(Duration::from_mins(3));
    }
    let found = lan.find(victim, &[content("later")], Duration::ZERO);
    assert_eq!(found.providers.len(), 1, "the true beacons count again");
}

/// What the honest node says of its run to whoever asks for an echo.
fn true_run(lan: &mut Lan, honest: usize) -> (u64, u64) {
    let eavesdropper = lan.start(&[], NodeOptions::default());
    lan.run(SECOND);
    let address = SocketAddr::new(lan.address(eavesdropper), GROUP_PORT);
    let question = forged(
        lan.machine(eavesdropper).node_id(),
        7,
        7,
        Body::Echo(Echo {
            nonce: 99,
            reply: false,
        }),
    );
    let arrival = zeroshare_membership::Arrival {
        source: address,
        interface: None,
        road: Road::Unicast,
        ttl: Some(255),
    };
    // Straight into the machine: its reply is read before it is sent.
    let reply = lan.overhear(honest, |machine, now| {
        machine.handle_datagram(now, &arrival, &question);
    });
    let datagram = zeroshare_wire::datagram::decode(&reply[0], &GroupKey::none()).expect("a reply");
    lan.kill(eavesdropper);
    (datagram.incarnation, datagram.sequence)
}

#[test]
fn a_replayed_farewell_does_not_remove_the_next_run() {
    let mut lan = Lan::new(23, Weather::fair());
    let victim = lan.start(&[], NodeOptions::default());
    let honest = lan.start(&[content("it")], NodeOptions::default());
    lan.run(5 * SECOND);
    // Signed by another key than that of the id it names.
    let node = lan.machine(honest).node_id();
    let run = true_run(&mut lan, honest);
    let datagram = Datagram {
        node,
        incarnation: run.0,
        sequence: run.1,
        store_port: 1,
        unicast_port: 1,
        trace: None,
        body: Body::Leaving,
    };
    let key = SigningKey::from_seed(&[7; 32]);
    let bytes = encode(&datagram, &GroupKey::none(), Some(&key));
    let source = SocketAddr::new(lan.address(honest), GROUP_PORT);
    lan.take_events(victim);
    lan.inject(victim, source, Road::Multicast4, &bytes);
    lan.run(SECOND);
    assert_not_forgotten(&mut lan, victim, honest);
}

#[test]
fn spoofed_answers_never_name_an_address_that_did_not_echo() {
    let mut lan = Lan::new(24, Weather::fair());
    let victim = lan.start(&[], NodeOptions::default());
    let bystander = lan.start(&[], NodeOptions::default());
    lan.run(5 * SECOND);
    let mut rng = fastrand::Rng::with_seed(2);
    let query = lan.overhear(victim, |machine, now| {
        machine.find(now, &[content("it")], SECOND, None);
    });
    let query = zeroshare_wire::datagram::decode(&query[0], &GroupKey::none()).expect("a query");
    let Body::Query(query) = query.body else {
        panic!("{query:?}")
    };
    lan.take_traffic(victim);
    for last in 0..=255_u8 {
        let node = NodeId::from_bytes(std::array::from_fn(|_| rng.u8(..)));
        let holdings = query.tags.iter().map(|tag| Holding {
            tag: *tag,
            part: 255,
            state: HoldingState::Held,
        });
        let answer = Body::Answer(Answer {
            nonce: query.nonce,
            day: query.day,
            holdings: AtMost::first(holdings),
            held_back: None,
        });
        let source = SocketAddr::from(([10, 0, 7, last], GROUP_PORT));
        lan.inject(
            victim,
            source,
            Road::Multicast4,
            &forged(node, 1, 1, answer),
        );
    }
    lan.run(2 * SECOND);
    let found = |event: &Event| matches!(event, Event::Found(..) | Event::Probe(_));
    assert!(!lan.take_events(victim).iter().any(found));
    let echoes = lan.take_traffic(victim).to_one;
    assert!(echoes <= 2 * 8 * 5, "{echoes} echoes to bystanders");
    assert!(lan.machine(bystander).peers(lan.now()).len() == 1);
}

#[test]
fn a_flood_of_invented_peers_stays_bounded_and_hides_no_honest_one() {
    let (mut lan, victim, honest) = victim_and_honest(25);
    let mut rng = fastrand::Rng::with_seed(3);
    lan.take_events(victim);
    for _ in 0..20_000 {
        let node = NodeId::from_bytes(std::array::from_fn(|_| rng.u8(..)));
        let source = SocketAddr::from(([10, 0, rng.u8(..), rng.u8(1..)], GROUP_PORT));
        lan.inject(
            victim,
            source,
            Road::Multicast4,
            &forged(node, 1, 1, alive()),
        );
        lan.run(Duration::from_micros(20));
    }
    assert!(lan.machine(victim).table_len() <= 16_384);
    assert_not_forgotten(&mut lan, victim, honest);
}

#[test]
fn one_address_has_at_most_four_ids_and_an_honest_newcomer_gets_its_place() {
    let mut lan = Lan::new(26, Weather::fair());
    let victim = lan.start(&[], NodeOptions::default());
    let next = SocketAddr::from(([10, 0, 0, 2], GROUP_PORT));
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..1_000 {
        let node = NodeId::from_bytes(std::array::from_fn(|_| rng.u8(..)));
        lan.inject(victim, next, Road::Multicast4, &forged(node, 1, 1, alive()));
    }
    lan.run(3 * SECOND);
    assert_eq!(lan.machine(victim).table_len(), 4);
    let honest = lan.start(&[content("it")], NodeOptions::default());
    assert_eq!(lan.address(honest), next.ip());
    lan.run(5 * SECOND);
    assert_not_forgotten(&mut lan, victim, honest);
}

#[test]
fn a_flood_of_random_and_damaged_datagrams_changes_nothing() {
    let (mut lan, victim, honest) = victim_and_honest(27);
    let node = lan.machine(honest).node_id();
    let honest_source = SocketAddr::new(lan.address(honest), GROUP_PORT);
    let mut rng = fastrand::Rng::with_seed(5);
    lan.take_events(victim);
    for number in 0..20_000_u32 {
        let mut bytes = match number % 4 {
            0 => vec![0; rng.usize(0..1_500)],
            1 => forged(node, rng.u64(..), rng.u64(..), alive()),
            2 => forged(
                node,
                1,
                1,
                Body::Peers(Peers {
                    nonce: rng.u64(..),
                    nodes: AtMost::default(),
                    more: true,
                }),
            ),
            _ => forged(
                node,
                1,
                1,
                Body::Echo(Echo {
                    nonce: rng.u64(..),
                    reply: rng.bool(),
                }),
            ),
        };
        if number % 4 == 0 {
            rng.fill(&mut bytes);
        } else {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        let source = if rng.bool() {
            honest_source
        } else {
            SocketAddr::from(([10, 0, rng.u8(..), rng.u8(1..)], rng.u16(..)))
        };
        lan.inject(victim, source, Road::Unicast, &bytes);
        lan.run(Duration::from_micros(100));
    }
    lan.run(5 * SECOND);
    assert_not_forgotten(&mut lan, victim, honest);
    let drops = lan.machine(victim).counters().drops;
    assert!(drops.values().sum::<u64>() > 8_000, "{drops:?}");
}

#[test]
fn tags_of_another_day_and_strangers_are_not_answered() {
    let (mut lan, _, honest) = victim_and_honest(28);
    lan.take_traffic(honest);
    let query = |day: u32| {
        Body::Query(zeroshare_wire::datagram::Query {
            nonce: u64::from(day),
            tags: AtMost::first([Tag::from_bits(1)]),
            day: zeroshare_wire::datagram::Day::from_number(day),
            enough: 3,
            spread: Duration::ZERO,
            known_nodes: 1,
            exclude: AtMost::default(),
            round: 0,
        })
    };
    let node = NodeId::from_bytes([9; 16]);
    let near = SocketAddr::from(([10, 0, 9, 9], GROUP_PORT));
    let far = SocketAddr::from(([192, 0, 2, 9], GROUP_PORT));
    lan.inject(
        honest,
        near,
        Road::Unicast,
        &forged(node, 1, 1, query(19_000)),
    );
    lan.inject(
        honest,
        far,
        Road::Unicast,
        &forged(node, 1, 1, query(20_000)),
    );
    lan.run(Duration::from_millis(500));
    assert_eq!(lan.take_traffic(honest).to_one, 0);
    let drops = lan.machine(honest).counters().drops;
    let count = |name: &str| {
        drops
            .iter()
            .find(|(reason, _)| reason.name() == name)
            .map(|(_, n)| *n)
    };
    assert_eq!((count("other_day"), count("stranger")), (Some(1), Some(1)));
}
