//! Datagrams to test with.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use proptest::{collection::vec, option, prelude::*};

use super::super::*;
use crate::AtMost;

/// The first key of RFC 8032's test vectors.
pub(super) fn key() -> SigningKey {
    SigningKey::from_seed(&[
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ])
}

/// The sender of all vectors.
pub(super) fn from_key(body: Body) -> Datagram {
    Datagram {
        node: key().node_id(),
        incarnation: 0x0102_0304_0506_0708,
        sequence: 7,
        store_port: 38339,
        unicast_port: 40000,
        trace: None,
        body,
    }
}

/// With every number at its longest.
pub(super) fn longest(body: Body) -> Datagram {
    Datagram {
        node: key().node_id(),
        incarnation: u64::MAX,
        sequence: u64::MAX,
        store_port: u16::MAX,
        unicast_port: u16::MAX,
        trace: TraceContext::from_bytes([255; 25]),
        body,
    }
}

/// With every number at its shortest.
pub(super) fn shortest(body: Body) -> Datagram {
    Datagram {
        incarnation: 0,
        sequence: 0,
        store_port: 0,
        unicast_port: 0,
        ..from_key(body)
    }
}

pub(super) fn alive() -> Body {
    Body::Alive(Alive {
        ttl: Duration::from_secs(1),
        known_nodes: 0,
        filter: None,
    })
}

pub(super) fn query(tags: usize) -> Body {
    Body::Query(Query {
        nonce: 0,
        tags: AtMost::first(vec![Tag::from_bits(u64::MAX); tags]),
        day: Day::from_number(0),
        enough: 1,
        spread: Duration::ZERO,
        known_nodes: 0,
        exclude: AtMost::default(),
        round: 0,
    })
}

pub(super) fn answer(holdings: usize) -> Body {
    let holding = Holding {
        tag: Tag::from_bits(u64::MAX),
        part: 255,
        state: HoldingState::OnItsWay,
    };
    Body::Answer(Answer {
        nonce: u64::MAX,
        day: Day::from_number(u32::MAX),
        holdings: AtMost::first(vec![holding; holdings]),
        held_back: Some(MAX_SPREAD),
    })
}

pub(super) fn longest_bodies() -> Vec<Body> {
    let tags = (0..TAGS_PER_FILTER as u64 * u64::from(MAX_FILTERS) * 2).map(Tag::from_bits);
    let filters = Bloom::summaries(tags);
    assert_eq!(filters.len(), usize::from(MAX_FILTERS));
    let node = NodeAddress {
        node: key().node_id(),
        address: Ipv6Addr::from_bits(0xfe80 << 112 | 1).into(),
        unicast_port: u16::MAX,
        store_port: u16::MAX,
    };
    vec![
        Body::Alive(Alive {
            ttl: MAX_TTL,
            known_nodes: u32::MAX,
            filter: Some(FilterPart {
                day: Day::from_number(u32::MAX),
                index: MAX_FILTERS - 1,
                count: MAX_FILTERS,
                bloom: filters[0].clone(),
            }),
        }),
        Body::Leaving,
        Body::Query(Query {
            nonce: u64::MAX,
            tags: AtMost::first(vec![Tag::from_bits(u64::MAX); MAX_ASKED]),
            day: Day::from_number(u32::MAX),
            enough: 255,
            spread: MAX_SPREAD,
            known_nodes: u32::MAX,
            exclude: AtMost::first(vec![u64::MAX; MAX_EXCLUDED]),
            round: MAX_ROUND,
        }),
        answer(MAX_ASKED),
        Body::PeersRequest(PeersRequest {
            nonce: u64::MAX,
            after: Some(key().node_id()),
        }),
        Body::Peers(Peers {
            nonce: u64::MAX,
            nodes: AtMost::first(vec![node; MAX_PEERS]),
            more: true,
        }),
        Body::Echo(Echo {
            nonce: u64::MAX,
            reply: true,
        }),
    ]
}

/// Any datagram that the key of the tests may send.
pub(super) fn sample() -> impl Strategy<Value = Datagram> {
    let trace = option::of(any::<([u8; 16], [u8; 8], u8)>());
    let numbers = any::<(u64, u64, u16, u16)>();
    (numbers, trace, body()).prop_map(|(numbers, trace, body)| Datagram {
        node: key().node_id(),
        incarnation: numbers.0,
        sequence: numbers.1,
        store_port: numbers.2,
        unicast_port: numbers.3,
        trace: trace.and_then(|(trace, span, flags)| TraceContext::new(trace, span, flags)),
        body,
    })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        any_alive(),
        Just(Body::Leaving),
        any_query(),
        any_answer(),
        (any::<u64>(), option::of(any::<[u8; 16]>())).prop_map(|(nonce, after)| {
            let after = after.map(NodeId::from_bytes);
            Body::PeersRequest(PeersRequest { nonce, after })
        }),
        any_peers(),
        any::<(u64, bool)>().prop_map(|(nonce, reply)| Body::Echo(Echo { nonce, reply })),
    ]
}

fn any_alive() -> impl Strategy<Value = Body> {
    let parts = (
        any::<u32>(),
        0..MAX_FILTERS,
        vec(any::<u64>(), 0..TAGS_PER_FILTER),
    );
    let filter = option::of(parts.prop_map(|(day, index, tags)| FilterPart {
        day: Day::from_number(day),
        index,
        count: MAX_FILTERS,
        bloom: Bloom::summaries(tags.into_iter().map(Tag::from_bits))[0].clone(),
    }));
    (1..=86_400_u64, any::<u32>(), filter).prop_map(|(ttl, known_nodes, filter)| {
        Body::Alive(Alive {
            ttl: Duration::from_secs(ttl),
            known_nodes,
            filter,
        })
    })
}

fn any_query() -> impl Strategy<Value = Body> {
    let lists = (
        vec(any::<u64>(), 1..=MAX_ASKED),
        vec(any::<u64>(), 0..=MAX_EXCLUDED),
    );
    let bounded = (1..=u8::MAX, 0..=10_000_u64, 0..=MAX_ROUND);
    (any::<(u64, u32, u32)>(), lists, bounded).prop_map(|(numbers, lists, bounded)| {
        Body::Query(Query {
            nonce: numbers.0,
            tags: AtMost::first(lists.0.into_iter().map(Tag::from_bits)),
            day: Day::from_number(numbers.1),
            enough: bounded.0,
            spread: Duration::from_millis(bounded.1),
            known_nodes: numbers.2,
            exclude: AtMost::first(lists.1),
            round: bounded.2,
        })
    })
}

fn any_answer() -> impl Strategy<Value = Body> {
    let state = prop_oneof![
        Just(HoldingState::Held),
        Just(HoldingState::Member),
        Just(HoldingState::OnItsWay)
    ];
    let holding = (any::<u64>(), any::<u8>(), state).prop_map(|(tag, part, state)| Holding {
        tag: Tag::from_bits(tag),
        part,
        state,
    });
    let held_back = option::of((0..=10_000_000_u64).prop_map(Duration::from_micros));
    let numbers = (any::<u64>(), any::<u32>(), held_back);
    (numbers, vec(holding, 1..=MAX_ASKED)).prop_map(|((nonce, day, held_back), holdings)| {
        Body::Answer(Answer {
            nonce,
            day: Day::from_number(day),
            holdings: AtMost::first(holdings),
            held_back,
        })
    })
}

fn any_peers() -> impl Strategy<Value = Body> {
    let v4 = (1..=223_u8, any::<[u8; 3]>())
        .prop_map(|(a, [b, c, d])| IpAddr::from(Ipv4Addr::new(a, b, c, d)));
    let v6 = any::<u64>()
        .prop_map(|low| IpAddr::from(Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(low))));
    let node = (any::<[u8; 16]>(), prop_oneof![v4, v6], any::<(u16, u16)>());
    let node = node.prop_map(|(node, address, ports)| NodeAddress {
        node: NodeId::from_bytes(node),
        address,
        unicast_port: ports.0,
        store_port: ports.1,
    });
    (any::<(u64, bool)>(), vec(node, 0..=MAX_PEERS)).prop_map(|((nonce, more), nodes)| {
        let nodes = AtMost::first(nodes);
        Body::Peers(Peers { nonce, nodes, more })
    })
}
