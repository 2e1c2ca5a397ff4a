//! Those who are spoken to by unicast, and pages of peers.

use std::time::Duration;

use zeroshare_membership::{Destination, Road};
use zeroshare_wire::{AtMost, datagram::Body};

use crate::bench::{Bench, Other, SECOND};

#[test]
fn static_peers_are_asked_by_unicast_and_whom_they_know_is_sought() {
    let mut bench = Bench::new();
    let far = Other {
        source: "203.0.113.5:4000".parse().unwrap(),
        ..Other::at(5)
    };
    bench.machine.handle_static_peers(bench.now, &[far.source]);
    let rest = bench.echo(&[&far]);
    assert!(rest.is_empty(), "{rest:?}");
    let said = bench.said();
    let request = said.iter().find_map(|said| {
        let Body::PeersRequest(request) = &said.datagram.body else {
            return None;
        };
        Some((request.nonce, said.to, said.len))
    });
    let (nonce, to, len) = request.expect("whom does it know?");
    assert_eq!((to, len), (Destination::One(far.source), 1_200));
    let address = |text: &str, seed| zeroshare_wire::datagram::NodeAddress {
        node: Other::at(seed).node(),
        address: text.parse().unwrap(),
        unicast_port: 7,
        store_port: 8,
    };
    let peers = zeroshare_wire::datagram::Peers {
        nonce,
        nodes: AtMost::first([address("192.168.7.9", 6), address("198.51.100.1", 7)]),
        more: false,
    };
    bench.hear_bytes(far.source, Road::Unicast, &far.bytes(Body::Peers(peers)));
    bench.pass(Duration::from_millis(10));
    let said = bench.said().into_iter();
    let echoes = said.filter(|said| matches!(said.datagram.body, Body::Echo(_)));
    let sought: Vec<_> = echoes.map(|said| said.to).collect();
    let allowed = Destination::One("192.168.7.9:7".parse().unwrap());
    assert_eq!(sought, [allowed], "allowed networks only");
    bench.find("it", SECOND);
    let asked = bench.said();
    assert!(
        asked
            .iter()
            .any(|said| said.to == Destination::One(far.source))
    );
}

#[test]
fn pages_of_peers_are_no_longer_than_their_question() {
    let mut bench = Bench::new();
    for last in 1..=40 {
        bench.meet(&Other::at(last));
    }
    let asker = Other::at(99);
    let mut after = None;
    let mut seen = 0;
    loop {
        let request = zeroshare_wire::datagram::PeersRequest { nonce: 5, after };
        let question = asker.bytes(Body::PeersRequest(request));
        bench.hear_bytes(asker.source, Road::Unicast, &question);
        let said = bench.said();
        assert!(said[0].len <= question.len());
        let Body::Peers(page) = &said[0].datagram.body else {
            panic!("{said:?}")
        };
        seen += page.nodes.len();
        after = page.nodes.last().map(|node| node.node);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, 40);
}

#[test]
fn a_page_that_nobody_asked_for_is_dropped() {
    let mut bench = Bench::new();
    let peers = zeroshare_wire::datagram::Peers {
        nonce: 5,
        nodes: AtMost::default(),
        more: true,
    };
    bench.hear(&Other::at(1), Body::Peers(peers));
    assert_eq!(bench.drops("unsolicited"), 1);
    assert!(bench.said().is_empty());
}

#[test]
fn whoever_is_asked_alone_is_asked_first() {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    bench.machine.handle_static_peers(bench.now, &[peer.source]);
    bench.meet(&peer);
    bench.find("it", SECOND);
    let asked = bench.said();
    assert_eq!(asked[0].to, Destination::One(peer.source));
    assert!(asked.len() > 1);
}
