//! With whom it speaks alone, in which networks, and how it learns of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use zeroshare_membership::{Claim, Destination, Event, Place, Road};
use zeroshare_wire::{
    AtMost,
    datagram::{Body, NodeAddress, Peers, PeersRequest},
};

use crate::{
    bench::{Bench, Other, SECOND, Said, alive, alive_with},
    lookups::found,
};

/// Somebody in the network that is allowed although no interface is in it.
fn routed(last: u8) -> Other {
    Other {
        source: SocketAddr::from(([192, 168, 7, last], 38339)),
        ..Other::at(last)
    }
}

/// Where questions went by unicast.
fn asked_alone(bench: &mut Bench) -> BTreeSet<SocketAddr> {
    let said = bench.said().into_iter();
    said.filter_map(|said| match (said.to, said.datagram.body) {
        (Destination::One(to), Body::Query(_)) => Some(to),
        _ => None,
    })
    .collect()
}

#[test]
fn however_many_no_road_reaches_all_of_them_are_asked_and_static_ones_first() {
    let mut bench = Bench::new();
    let fixed = Other {
        source: "203.0.113.9:38339".parse().unwrap(),
        ..Other::at(255)
    };
    bench
        .machine
        .handle_static_peers(bench.now, &[fixed.source]);
    bench.echo(&[&fixed]);
    let others: Vec<Other> = (1..=95).map(routed).collect();
    for other in &others {
        let bytes = other.bytes(alive());
        bench.hear_bytes(other.source, Road::Unicast, &bytes);
    }
    bench.pass_echoing(SECOND, &others.iter().chain([&fixed]).collect::<Vec<_>>());
    bench.pass(SECOND);
    bench.said();
    bench.find("it", SECOND);
    let first = asked_alone(&mut bench);
    assert!(first.contains(&fixed.source), "{first:?}");
    assert!((60..=96).contains(&first.len()), "{}", first.len());
    bench.pass(SECOND);
    let mut asked = first;
    asked.extend(asked_alone(&mut bench));
    assert_eq!(asked.len(), 96);
}

#[test]
fn a_neighbour_to_whom_the_way_leads_elsewhere_is_out_of_reach_until_it_echoes_anew() {
    let mut bench = Bench::new();
    let (astray, other) = (Other::at(1), Other::at(2));
    for peer in [&astray, &other] {
        bench.hear(peer, alive_with("it"));
        bench.echo(&[peer]);
    }
    bench.pass(SECOND);
    bench.said();
    bench.events();
    assert_eq!(bench.machine.places().len(), 2);
    bench.machine.handle_astray(Place::of(astray.source));
    assert_eq!(bench.events(), [Event::PeerDown(astray.node())]);
    assert_eq!(
        bench.machine.places(),
        [Place::of(other.source)].into(),
        "nobody else is lost"
    );
    bench.find("it", SECOND);
    let others = [(Claim::Probable, other.store())];
    assert_eq!(found(&bench.events()), others);
    bench.said();

    let mut back = astray.clone();
    back.sequence += 1;
    bench.hear(&back, alive_with("it"));
    bench.pass_echoing(2 * SECOND, &[&astray, &other]);
    assert_eq!(bench.machine.places().len(), 2);
}

/// A machine that knew a neighbour, and is in another network now.
fn moved_away(peers: &[&Other]) -> Bench {
    let mut bench = Bench::new();
    for peer in peers {
        bench.hear(peer, alive_with("it"));
        bench.echo(&[peer]);
    }
    bench.pass(SECOND);
    bench.said();
    bench.join("10.9.0.200/24");
    bench
}

#[test]
fn who_was_known_in_another_network_is_not_spoken_with_and_decides_nothing_until_this_node_is_back()
{
    let peer = Other::at(1);
    let mut bench = moved_away(&[&peer]);
    assert!(bench.machine.peers(bench.now).is_empty());
    bench.find("it", SECOND);
    bench.pass(Duration::from_mins(3));
    let said = bench.said();
    let to_old: Vec<_> = said
        .iter()
        .filter(|said| matches!(said.to, Destination::One(_)))
        .collect();
    assert!(to_old.is_empty(), "{to_old:?}");
    let roads: BTreeSet<Destination> = said.iter().map(|said| said.to).collect();
    assert_eq!(
        roads.len(),
        2,
        "nobody is heard here, so each road is tried"
    );
    bench.join_lan();
    bench.echo(&[&peer]);
    bench.pass(SECOND);
    bench.events();
    bench.find("it", Duration::ZERO);
    assert_eq!(found(&bench.events()), [(Claim::Probable, peer.store())]);
}

#[test]
fn a_static_peer_whose_name_moved_is_not_spoken_with_at_its_old_address() {
    let mut bench = Bench::new();
    let peer = Other {
        source: "203.0.113.9:38339".parse().unwrap(),
        ..Other::at(1)
    };
    bench.machine.handle_static_peers(bench.now, &[peer.source]);
    bench.pass_echoing(SECOND, &[&peer]);
    let moved = "203.0.113.10:38339".parse().unwrap();
    bench.machine.handle_static_peers(bench.now, &[moved]);
    bench.said();
    bench.find("it", SECOND);
    bench.pass(Duration::from_mins(3));
    let old = Destination::One(peer.source);
    assert!(bench.said().iter().all(|said| said.to != old));
}

/// Whom it asked for the peers that they know.
fn paged(said: &[Said]) -> Vec<(Destination, u64)> {
    let request = |said: &Said| {
        let Body::PeersRequest(request) = &said.datagram.body else {
            return None;
        };
        Some((said.to, request.nonce))
    };
    said.iter().filter_map(request).collect()
}

#[test]
fn while_few_are_known_neighbours_are_asked_whom_they_know() {
    for (neighbours, expected) in [(1, 1), (3, 3), (40, 0)] {
        let mut bench = Bench::new();
        let others: Vec<Other> = (1..=neighbours).map(Other::at).collect();
        for other in &others {
            bench.hear(other, alive());
        }
        bench.echo(&others.iter().collect::<Vec<_>>());
        bench.pass(Duration::from_mins(1));
        let asked = paged(&bench.said());
        assert_eq!(asked.len(), expected, "{neighbours}: {asked:?}");
    }
}

fn page(nonce: u64, nodes: &[(&Other, &str)]) -> Body {
    let address = |(other, text): &(&Other, &str)| NodeAddress {
        node: other.node(),
        address: text.parse().expect("an address"),
        unicast_port: other.source.port(),
        store_port: other.store_port,
    };
    Body::Peers(Peers {
        nonce,
        nodes: AtMost::first(nodes.iter().map(address)),
        more: false,
    })
}

#[test]
fn whom_a_page_names_again_and_again_is_known_without_a_gap() {
    let mut bench = Bench::new();
    let fixed = Other {
        source: "203.0.113.9:38339".parse().unwrap(),
        ..Other::at(5)
    };
    let learnt = routed(9);
    bench
        .machine
        .handle_static_peers(bench.now, &[fixed.source]);
    let both = [&fixed, &learnt];
    let mut seconds_known = 0;
    for _ in 0..3_000 {
        let said = bench.pass_echoing(SECOND, &both);
        for (_, nonce) in paged(&said) {
            let bytes = fixed.bytes(page(nonce, &[(&learnt, "192.168.7.9")]));
            bench.hear_bytes(fixed.source, Road::Unicast, &bytes);
        }
        seconds_known += bench.machine.peers_of(bench.now, learnt.node()).len();
    }
    assert!(seconds_known >= 2_990, "{seconds_known} of 3,000");
    assert!(!bench.events().contains(&Event::PeerDown(learnt.node())));
}

#[test]
fn a_page_tells_all_addresses_of_a_node_on_one_page() {
    let mut bench = Bench::new();
    let mut others: Vec<Other> = (1..=30).map(Other::at).collect();
    for last in 1..=30 {
        let mut again = Other::at(last);
        again.source = SocketAddr::from(([10, 0, 0, 100 + last], 38339));
        others.push(again);
    }
    for other in &others {
        bench.hear(other, alive());
        bench.pass_echoing(SECOND / 10, &others.iter().collect::<Vec<_>>());
    }
    let asker = Other::at(99);
    let mut after = None;
    let mut told = BTreeMap::new();
    for number in 1.. {
        bench.said();
        let request = PeersRequest { nonce: 5, after };
        let bytes = asker.bytes(Body::PeersRequest(request));
        bench.hear_bytes(asker.source, Road::Unicast, &bytes);
        let said = bench.said();
        let Body::Peers(page) = &said[0].datagram.body else {
            panic!("{said:?}")
        };
        for node in &page.nodes {
            let pages: &mut Vec<_> = told.entry(node.node).or_default();
            pages.push(number);
        }
        after = page.nodes.last().map(|node| node.node);
        if !page.more {
            break;
        }
    }
    assert_eq!(told.len(), 30);
    assert!(
        told.values()
            .all(|pages| pages.len() == 2 && pages[0] == pages[1]),
        "{told:?}"
    );
}
