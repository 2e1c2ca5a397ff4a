//! What somebody who forges every source and name on the LAN fails to do.

use std::{net::SocketAddr, time::Duration};

use prost::Message as _;
use zeroshare_membership::{Destination, Event, Road};
use zeroshare_wire::{
    AtMost,
    datagram::{Alive, Body, Echo, FilterPart, PeersRequest, Query, SigningKey},
    pb::beacon::v1 as pb,
};

use crate::bench::{
    Bench, Other, SECOND, Said, alive, alive_with, answer, content, query, tag, waiting_answer,
};

/// Somebody whom the attacker made up.
fn invented(number: u16) -> Other {
    let [high, low] = number.to_be_bytes();
    let mut seed = [0xa5; 32];
    seed[0] = high;
    seed[1] = low;
    Other {
        key: SigningKey::from_seed(&seed),
        source: SocketAddr::from(([10, 0, 0, 2 + low % 190], 38339)),
        ..Other::at(1)
    }
}

fn echo_question(nonce: u64) -> Body {
    let reply = false;
    Body::Echo(Echo { nonce, reply })
}

fn echoes_asked(said: &[Said]) -> Vec<SocketAddr> {
    let target = |said: &Said| match (said.to, &said.datagram.body) {
        (Destination::One(to), Body::Echo(echo)) if !echo.reply => Some(to),
        _ => None,
    };
    said.iter().filter_map(target).collect()
}

fn is_found(bench: &mut Bench) -> bool {
    let found = |event: &Event| matches!(event, Event::Found(..));
    bench.events().iter().any(found)
}

#[test]
fn what_everybody_hears_draws_no_echo_and_no_page_by_unicast() {
    let mut bench = Bench::new();
    let victim = Other::at(1);
    bench.meet(&victim);
    let request = Body::PeersRequest(PeersRequest {
        nonce: 1,
        after: None,
    });
    for road in [Road::Multicast4, Road::Multicast6, Road::Broadcast] {
        for body in [echo_question(1), request.clone()] {
            bench.hear_bytes(victim.source, road, &victim.bytes(body));
        }
    }
    assert!(bench.said().is_empty());
    assert_eq!(bench.drops("unsolicited"), 6);
    for body in [echo_question(1), request] {
        bench.hear_bytes(victim.source, Road::Unicast, &victim.bytes(body));
    }
    assert_eq!(bench.said().len(), 2, "asked alone, it replies");
}

#[test]
fn a_forged_beacon_does_not_mute_a_peer_without_proof() {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    let forged = Other {
        sequence: u64::MAX,
        source: SocketAddr::new(peer.source.ip(), 9),
        ..peer.clone()
    };
    bench.hear(&forged, alive());
    bench.pass(11 * SECOND);
    bench.said();
    bench.hear(&peer, alive());
    bench.pass_echoing(11 * SECOND, &[&peer]);
    let seen = bench.machine.peers(bench.now);
    assert_eq!(seen[0].store_addresses, [peer.store()]);
    assert_eq!(bench.drops("duplicate"), 0);
}

#[test]
fn forged_answers_do_not_fill_a_lookup_for_good() {
    let mut bench = Bench::new();
    bench.find("it", 20 * SECOND);
    let asked = bench.said();
    let Body::Query(asked) = &asked[0].datagram.body else {
        panic!("{asked:?}")
    };
    for number in 0..40 {
        bench.hear(&invented(number), answer(asked.nonce, "it"));
    }
    let holder = Other::at(1);
    bench.hear(&holder, answer(asked.nonce, "it"));
    let at_once: std::collections::BTreeSet<_> = echoes_asked(&bench.said()).into_iter().collect();
    assert_eq!(at_once.len(), 8, "few bystanders are asked at a time");
    bench.pass_echoing(10 * SECOND, &[&holder]);
    assert!(is_found(&mut bench));
}

#[test]
fn invented_peers_turn_neither_filters_nor_greetings_off() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    for number in 0..150 {
        bench.hear(&invented(number), alive());
    }
    bench.pass(Duration::from_mins(2));
    let is_filter = |said: &Said| {
        matches!(&said.datagram.body, Body::Alive(Alive { filter: Some(FilterPart { bloom, .. }), .. })
            if bloom.contains(tag("it")))
    };
    assert!(bench.said().iter().any(is_filter));
    let newcomer = Other::at(201);
    bench.hear(&newcomer, alive());
    bench.echo(&[&newcomer]);
    bench.pass(2 * SECOND);
    let greeted = bench
        .said()
        .into_iter()
        .find(|said| said.to == Destination::One(newcomer.source) && is_filter(said));
    let greeted = greeted.expect("a greeting").datagram.body;
    let Body::Alive(greeted) = greeted else {
        panic!("{greeted:?}")
    };
    assert_eq!(greeted.known_nodes, 1);
}

#[test]
fn forged_ports_of_a_peer_are_tried_one_at_a_time_and_leave_room_for_own_speech() {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    bench.meet(&peer);
    for port in 1_000..3_000 {
        let mut forged = peer.clone();
        forged.source.set_port(port);
        forged.sequence += 1 + u64::from(port);
        bench.hear(&forged, alive());
    }
    let tried = echoes_asked(&bench.said());
    let ports: Vec<u16> = tried.iter().map(SocketAddr::port).collect();
    assert!(tried.len() <= 2, "{ports:?}");
    bench.pass_echoing(10 * SECOND, &[&peer]);
    assert_eq!(bench.machine.peers(bench.now).len(), 1);
    assert_eq!(bench.drops("rate_limited"), 0);
}

#[test]
fn no_answer_is_longer_than_its_question() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..16).map(|number| number.to_string()).collect();
    for name in &names {
        bench.machine.handle_holding(bench.now, content(name), 255);
    }
    bench.pass(5 * SECOND);
    bench.said();
    let asker = Other::at(1);
    let padded = asker.bytes(Body::Query(Query {
        tags: AtMost::first(names.iter().map(|name| tag(name))),
        ..query(1, "it")
    }));
    let mut envelope = pb::Envelope::decode(&padded[..]).unwrap();
    envelope.padding = prost::bytes::Bytes::new();
    let unpadded = envelope.encode_to_vec();
    bench.hear_bytes(asker.source, Road::Unicast, &unpadded);
    assert!(bench.said().is_empty());
    assert_eq!(bench.drops("reply_too_long"), 1);
}

#[test]
fn what_is_asked_for_often_is_answered_once() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    bench.pass(5 * SECOND);
    bench.said();
    let asker = Other::at(1);
    let repeated = asker.bytes(Body::Query(Query {
        tags: AtMost::first([tag("it"); 16]),
        ..query(1, "it")
    }));
    bench.hear_bytes(asker.source, Road::Unicast, &repeated);
    let said = bench.said();
    let Body::Answer(answer) = &said[0].datagram.body else {
        panic!("{said:?}")
    };
    assert_eq!(answer.holdings.len(), 1);
}

#[test]
fn a_static_peer_is_asked_alone_whatever_is_said_to_everybody_in_its_name() {
    for near in [true, false] {
        let mut bench = Bench::new();
        let mut peer = Other::at(1);
        if !near {
            peer.source = "203.0.113.9:38339".parse().unwrap();
        }
        bench.machine.handle_static_peers(bench.now, &[peer.source]);
        bench.echo(&[&peer]);
        let forged = Other {
            sequence: peer.sequence + 1,
            ..peer.clone()
        };
        bench.hear(&forged, alive());
        bench.said();
        bench.find("it", SECOND);
        let asked = bench.said();
        let alone = |said: &Said| {
            said.to == Destination::One(peer.source) && matches!(said.datagram.body, Body::Query(_))
        };
        assert!(asked.iter().any(alone), "near: {near}, {asked:?}");
        let roads = &bench.machine.peers(bench.now)[0].roads;
        assert_eq!(roads.contains(&Road::Multicast4), near, "{roads:?}");
    }
}

#[test]
fn questions_in_one_peers_name_leave_answers_for_the_others() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    let (victim, other) = (Other::at(1), Other::at(2));
    bench.meet(&victim);
    bench.meet(&other);
    for nonce in 0..2_000 {
        for body in [Body::Query(query(nonce, "it")), echo_question(nonce)] {
            bench.hear_bytes(victim.source, Road::Unicast, &victim.bytes(body));
        }
    }
    assert!(bench.said().len() <= 200);
    for body in [Body::Query(query(5_000, "it")), echo_question(5_000)] {
        bench.hear_bytes(other.source, Road::Unicast, &other.bytes(body));
    }
    assert_eq!(bench.said().len(), 2);
}

#[test]
fn a_flood_of_forged_ports_delays_a_peers_new_port_and_hides_it_not_for_good() {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    bench.meet(&peer);
    let mut moved = peer.clone();
    moved.incarnation += 1;
    moved.source.set_port(5_000);
    moved.store_port = 5_001;
    let mut port = 10_000;
    let mut seconds = 0;
    // 50 forged claims a second, and the peer's own beacon each second as it arrives.
    while bench
        .machine
        .peers(bench.now)
        .first()
        .is_none_or(|one| one.store_addresses != [moved.store()])
    {
        assert!(seconds < 300, "hidden");
        seconds += 1;
        moved.sequence += 1;
        bench.hear(&moved, alive());
        for _ in 0..50 {
            port += 1;
            let mut forged = peer.clone();
            forged.incarnation += 7;
            forged.sequence += u64::from(port);
            forged.source.set_port(port);
            let source = peer.source;
            bench.hear_bytes(source, Road::Multicast4, &forged.bytes(alive()));
            bench.pass_echoing(SECOND / 50, &[&moved]);
        }
    }
}

/// Whether a question to everybody was asked, and whom each such question excuses.
fn excused(said: &[Said]) -> Vec<Vec<u64>> {
    let of_query = |said: &Said| match (said.to, &said.datagram.body) {
        (
            Destination::Everybody {
                road: Road::Multicast4,
                ..
            },
            Body::Query(query),
        ) => Some(query.exclude.iter().copied().collect()),
        _ => None,
    };
    said.iter().filter_map(of_query).collect()
}

#[test]
fn a_forged_answer_that_it_is_on_its_way_does_not_excuse_who_holds_it() {
    let mut bench = Bench::new();
    let holder = Other::at(1);
    bench.meet(&holder);
    bench.hear(&holder, waiting_answer(77, "it"));
    bench.find("it", 5 * SECOND);
    let first = excused(&bench.said());
    assert_eq!(
        first,
        [Vec::<u64>::new()],
        "the first question is for everybody"
    );
    let mut open = 0;
    for _ in 0..100 {
        bench.hear(&holder, waiting_answer(77, "it"));
        bench.pass(Duration::from_millis(10));
        let asked = excused(&bench.said());
        open += asked.iter().filter(|excused| excused.is_empty()).count();
    }
    assert!(open >= 2, "{open} of the repetitions");
}

#[test]
fn a_forged_answer_that_it_is_on_its_way_does_not_outdo_a_filter() {
    let mut bench = Bench::new();
    let holder = Other::at(1);
    bench.hear(&holder, alive_with("it"));
    bench.echo(&[&holder]);
    bench.pass(SECOND);
    bench.said();
    bench.hear(&holder, waiting_answer(77, "it"));
    bench.events();
    bench.find("it", SECOND);
    let events = bench.events();
    let [Event::Found(_, provider)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(provider.part, 255);
}

/// A machine with two peers whose filters name it.
fn with_two_holders() -> (Bench, Other, Other) {
    let mut bench = Bench::new();
    let (one, other) = (Other::at(1), Other::at(2));
    for peer in [&one, &other] {
        bench.hear(peer, alive_with("it"));
        bench.echo(&[peer]);
    }
    bench.pass(SECOND);
    bench.said();
    bench.events();
    (bench, one, other)
}

#[test]
fn a_forged_filter_that_wipes_a_peers_own_has_everybody_asked() {
    let (mut bench, peer, _) = with_two_holders();
    let forged = Other {
        sequence: peer.sequence + 1,
        ..peer.clone()
    };
    bench.hear(&forged, alive_with("other"));
    bench.find("it", 5 * SECOND);
    bench.pass(SECOND);
    assert_eq!(excused(&bench.said()).len(), 1);
    bench.pass(10 * SECOND);
    // Long after, without another change, filters tell all again.
    for minute in 0..10 {
        for last in [1, 2] {
            let mut peer = Other::at(last);
            peer.sequence += 2 + minute;
            bench.hear(&peer, alive_with("it"));
        }
        bench.pass_echoing(Duration::from_mins(1), &[&Other::at(1), &Other::at(2)]);
    }
    bench.said();
    bench.find("it", 5 * SECOND);
    bench.pass(SECOND);
    assert_eq!(excused(&bench.said()).len(), 0);
}

#[test]
fn a_forged_beacon_does_not_make_the_next_true_one_a_duplicate() {
    for forgery in [alive(), alive_with("other")] {
        let (mut bench, peer, _) = with_two_holders();
        let next = Other {
            sequence: peer.sequence + 1,
            ..peer.clone()
        };
        bench.hear(&next, forgery.clone());
        bench.hear(&next, alive_with("later"));
        let wait = SECOND;
        let search = |bench: &mut Bench| {
            bench.find("later", wait);
            bench.pass(SECOND);
            is_found(bench) || !excused(&bench.said()).is_empty()
        };
        assert!(search(&mut bench), "found, or everybody is asked");
        bench.said();
        bench.hear(&next, alive_with("later"));
        let found = bench.find("it", wait);
        bench.pass(SECOND);
        assert_eq!(
            excused(&bench.said()).len(),
            1,
            "what contradicts itself does not tell all: {forgery:?}, {found:?}"
        );
    }
}

#[test]
fn a_peer_whose_replies_are_used_up_in_this_nodes_name_is_not_forgotten() {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    bench.meet(&peer);
    let forged = Other {
        incarnation: peer.incarnation + 1,
        ..peer.clone()
    };
    bench.hear(&forged, alive());
    let mut asked = 0;
    for number in 0..300_u64 {
        bench.pass(SECOND / 50);
        asked += echoes_asked(&bench.said()).len();
        // It replies to what somebody else asked in this node's name, and has nothing left for the true question.
        let reply = Body::Echo(Echo {
            nonce: number,
            reply: true,
        });
        bench.hear_bytes(peer.source, Road::Unicast, &peer.bytes(reply));
    }
    assert!(asked >= 5, "{asked}");
    let gone = |event: &Event| matches!(event, Event::PeerDown(_));
    assert!(!bench.events().iter().any(gone));
    assert_eq!(bench.machine.peers(bench.now).len(), 1);
}

#[test]
fn a_stranger_that_was_only_heard_is_asked_twice_at_most() {
    let mut bench = Bench::new();
    bench.hear(&invented(1), alive());
    bench.pass(10 * SECOND);
    let asked = echoes_asked(&bench.said());
    assert!((1..=2).contains(&asked.len()), "{asked:?}");
}

#[test]
fn one_id_at_very_many_addresses_takes_few_entries() {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    bench.meet(&peer);
    for last in 2..=190 {
        let mut forged = peer.clone();
        forged.incarnation += 1;
        forged.source = SocketAddr::from(([10, 0, 0, last], 38339));
        bench.hear(&forged, alive());
        bench.pass_echoing(SECOND / 10, &[&peer]);
    }
    assert!(bench.machine.table_len() <= 64);
    let newcomer = Other::at(201);
    bench.meet(&newcomer);
    assert_eq!(bench.machine.peers(bench.now).len(), 2);
}

#[test]
fn whoever_forges_an_id_at_many_addresses_keeps_its_node_from_nobody() {
    let mut bench = Bench::new();
    let holder = Other::at(250);
    bench.find("it", SECOND);
    let asked = bench.said();
    let Body::Query(asked) = &asked[0].datagram.body else {
        panic!("{asked:?}")
    };
    for last in 2..=190 {
        let mut forged = holder.clone();
        forged.source = SocketAddr::from(([10, 0, 0, last], 38339));
        bench.hear(&forged, alive());
    }
    bench.hear(&holder, answer(asked.nonce, "it"));
    bench.echo(&[&holder]);
    assert!(is_found(&mut bench));
}
