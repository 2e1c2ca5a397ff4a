//! Whatever comes: no panic, and bounded tables.

use std::{net::SocketAddr, time::Duration};

use proptest::{collection::vec, prelude::*};
use zeroshare_membership::{Arrival, Road};
use zeroshare_wire::{
    AtMost,
    datagram::{
        Answer, Body, Day, Echo, GroupKey, Holding, HoldingState, NodeAddress, Peers, PeersRequest,
        Query, SigningKey, Tag,
    },
};

use crate::bench::{Bench, DAY, Other, SECOND, alive, content, tag};

/// One thing that somebody sends.
#[derive(Debug, Clone)]
struct Sent {
    seed: u8,
    last: u8,
    port: u16,
    incarnation: u64,
    sequence: u64,
    kind: u8,
    nonce: u64,
    road: u8,
    ttl: Option<u8>,
    damage: Option<(u16, u8)>,
    after_ms: u16,
}

fn sent() -> impl Strategy<Value = Sent> {
    let name = (
        0..4_u8,
        0..8_u8,
        prop_oneof![Just(0), Just(38339), any::<u16>()],
    );
    let number = || prop_oneof![0..4_u64, Just(u64::MAX), any::<u64>()];
    let how = (
        0..8_u8,
        0..6_u64,
        0..4_u8,
        prop_oneof![Just(Some(255)), any::<Option<u8>>()],
    );
    let damage = prop::option::weighted(0.2, (any::<u16>(), any::<u8>()));
    (name, number(), number(), how, damage, 0..2_000_u16).prop_map(
        |(name, incarnation, sequence, how, damage, after_ms)| Sent {
            seed: name.0,
            last: name.1,
            port: name.2,
            incarnation,
            sequence,
            kind: how.0,
            nonce: how.1,
            road: how.2,
            ttl: how.3,
            damage,
            after_ms,
        },
    )
}

fn body(sent: &Sent) -> Body {
    let nonce = sent.nonce;
    match sent.kind {
        0 => alive(),
        1 => Body::Leaving,
        2 => Body::Query(Query {
            nonce,
            tags: AtMost::first([tag("it"), Tag::from_bits(sent.sequence)]),
            day: Day::from_number(DAY),
            enough: u8::MAX,
            spread: Duration::from_secs(10),
            known_nodes: u32::MAX,
            exclude: AtMost::default(),
            round: sent.road,
        }),
        3 => Body::Answer(Answer {
            nonce,
            day: Day::from_number(DAY + u32::from(sent.last % 4)),
            holdings: AtMost::first([Holding {
                tag: tag("it"),
                part: sent.last,
                state: HoldingState::OnItsWay,
            }]),
            held_back: (!sent.last.is_multiple_of(2))
                .then(|| Duration::from_millis(u64::from(sent.last))),
        }),
        4 => Body::PeersRequest(PeersRequest { nonce, after: None }),
        5 => Body::Peers(Peers {
            nonce,
            nodes: AtMost::first([NodeAddress {
                node: SigningKey::from_seed(&[sent.seed; 32]).node_id(),
                address: [10, 0, 0, sent.last].into(),
                unicast_port: sent.port,
                store_port: sent.port,
            }]),
            more: true,
        }),
        kind => Body::Echo(Echo {
            nonce,
            reply: kind == 7,
        }),
    }
}

fn bytes(sent: &Sent) -> (SocketAddr, Vec<u8>) {
    let other = Other {
        key: SigningKey::from_seed(&[sent.seed; 32]),
        source: SocketAddr::from(([10, 0, 0, sent.last], sent.port)),
        incarnation: sent.incarnation,
        sequence: sent.sequence,
        store_port: sent.port,
        group: GroupKey::none(),
    };
    let mut bytes = if sent.incarnation.is_multiple_of(2) {
        other.bytes(body(sent))
    } else {
        other.signed_bytes(body(sent))
    };
    if let Some((at, with)) = sent.damage {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= with;
    }
    (other.source, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_story_ends_well(story in vec(sent(), 1..120), holds in any::<bool>()) {
        let mut bench = Bench::new();
        if holds {
            bench.machine.handle_holding(bench.now, content("it"), 255);
        }
        bench.machine.find(bench.now, &[content("it")], 3 * SECOND, None);
        for one in &story {
            let road = [Road::Multicast4, Road::Multicast6, Road::Broadcast, Road::Unicast];
            let (source, bytes) = bytes(one);
            let arrival = Arrival {
                source,
                interface: (one.road != 3).then_some(u32::from(one.road)),
                road: road[usize::from(one.road)],
                ttl: one.ttl,
            };
            bench.machine.handle_datagram(bench.now, &arrival, &bytes);
            bench.pass(Duration::from_millis(one.after_ms.into()));
            // What it says is well formed, and goes to neighbours or everybody.
            for said in bench.said() {
                if let zeroshare_membership::Destination::One(to) = said.to {
                    prop_assert!(to.ip().to_string().starts_with("10.0.0."), "{to}");
                }
            }
        }
        prop_assert!(bench.machine.table_len() <= 4 * 8);
        // It forgets everybody who is silent, and calms down.
        bench.pass(Duration::from_hours(30));
        bench.said();
        prop_assert_eq!(bench.machine.live_peers(), 0);
        prop_assert!(bench.machine.peers(bench.now).is_empty());
    }

    #[test]
    fn random_bytes_are_dropped(garbage in vec(any::<u8>(), 0..1_400)) {
        let mut bench = Bench::new();
        let before = bench.machine.live_peers();
        bench.hear_bytes(Other::at(1).source, Road::Multicast4, &garbage);
        prop_assert_eq!(bench.machine.live_peers(), before);
        prop_assert!(bench.said().is_empty());
    }
}
