//! When it speaks of its own accord.

use std::time::Duration;

use zeroshare_membership::{Destination, Event, Presence, Road};
use zeroshare_wire::datagram::{Alive, Bloom, Body, Day, FilterPart, Tag};

use crate::bench::{Bench, DAY, LAN, Other, SECOND, alive, content, tag};

const MINUTE: Duration = Duration::from_mins(1);

/// The beacons to everybody by the first road.
fn beacons(bench: &mut Bench) -> Vec<Alive> {
    let said = bench.said().into_iter();
    said.filter_map(|said| match (said.to, said.datagram.body) {
        (
            Destination::Everybody {
                road: Road::Multicast4,
                ..
            },
            Body::Alive(alive),
        ) => Some(alive),
        _ => None,
    })
    .collect()
}

#[test]
fn it_arrives_within_a_moment_and_is_silent_without_an_interface() {
    let mut bench = Bench::fresh(Presence::Announced);
    bench.pass(MINUTE);
    assert!(bench.said().is_empty());
    bench.join_lan();
    bench.pass(Duration::from_millis(51));
    assert_eq!(beacons(&mut bench).len(), 1);
}

#[test]
fn others_that_arrive_put_its_own_arrival_off_but_not_for_ever() {
    let mut bench = Bench::fresh(Presence::Announced);
    bench.join_lan();
    for last in 1..=150 {
        bench.hear(&Other::at(last), alive());
    }
    bench.pass(Duration::from_millis(51));
    assert!(beacons(&mut bench).is_empty());
    bench.pass(2 * SECOND);
    assert_eq!(beacons(&mut bench).len(), 1);
}

#[test]
fn it_speaks_on_every_road_until_somebody_is_heard_then_on_one() {
    let mut bench = Bench::new();
    bench.pass(2 * MINUTE);
    let roads = |bench: &mut Bench| {
        let said = bench.said().into_iter();
        // A lone neighbour is asked for those whom it knows, and only it.
        let to_all = said.filter(|said| !matches!(said.datagram.body, Body::PeersRequest(_)));
        let mut roads: Vec<Destination> = to_all.map(|said| said.to).collect();
        roads.sort_unstable();
        roads.dedup();
        roads
    };
    assert_eq!(roads(&mut bench).len(), 2);
    bench.meet(&Other::at(1));
    bench.pass(2 * MINUTE);
    let everybody = Destination::Everybody {
        interface: LAN,
        road: Road::Multicast4,
    };
    assert_eq!(roads(&mut bench), [everybody]);
}

#[test]
fn a_lan_of_many_says_about_a_kilobyte_a_second_in_all() {
    let mut bench = Bench::new();
    for number in 0..200 {
        bench
            .machine
            .handle_holding(bench.now, content(&number.to_string()), 255);
    }
    for last in 1..=90 {
        bench.meet(&Other::at(last));
    }
    let mut bytes = 0;
    for minute in 0..60 {
        // They live on.
        for last in 1..=90 {
            let mut other = Other::at(last);
            other.sequence += minute;
            bench.hear(&other, alive());
        }
        bench.pass(MINUTE);
        bytes += bench.echo(&[]).iter().map(|said| said.len).sum::<usize>();
    }
    let of_lan = bytes * 91 / 3_600;
    assert!((300..=1_500).contains(&of_lan), "{of_lan} bytes a second");
}

#[test]
fn beacons_say_what_is_held_and_soon_when_that_changes() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    bench.pass(3 * SECOND);
    let said = beacons(&mut bench);
    let filter = said[0].filter.as_ref().expect("a small network");
    assert!(filter.bloom.contains(tag("it")) && !filter.bloom.contains(tag("other")));
    for number in 0..50 {
        bench
            .machine
            .handle_holding(bench.now, content(&number.to_string()), 255);
        bench.pass(Duration::from_millis(100));
    }
    bench.pass(15 * SECOND);
    assert!(beacons(&mut bench).len() <= 2, "changes are said together");
}

#[test]
fn more_than_one_filter_holds_comes_in_several_beacons() {
    let mut bench = Bench::new();
    for number in 0..1_200 {
        bench
            .machine
            .handle_holding(bench.now, content(&number.to_string()), 255);
    }
    bench.pass(3 * SECOND);
    let said = beacons(&mut bench);
    let parts: Vec<(u8, u8)> = said
        .iter()
        .filter_map(|alive| alive.filter.as_ref())
        .map(|part| (part.index, part.count))
        .collect();
    assert_eq!(parts, [(0, 3), (1, 3), (2, 3)]);
    let named = |name: &str| {
        let mut filters = said.iter().filter_map(|alive| alive.filter.as_ref());
        filters.any(|part| part.bloom.contains(tag(name)))
    };
    assert!((0..1_200).all(|number| named(&number.to_string())));
}

#[test]
fn getting_more_of_something_is_no_reason_to_speak() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 1);
    bench.pass(3 * SECOND);
    beacons(&mut bench);
    for part in 2..=255 {
        bench.machine.handle_holding(bench.now, content("it"), part);
        bench.pass(Duration::from_millis(100));
    }
    assert!(beacons(&mut bench).is_empty());
}

#[test]
fn on_a_large_network_beacons_have_no_filter() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    let others: Vec<Other> = (1..=120).map(Other::at).collect();
    for other in &others {
        bench.hear(other, alive());
    }
    bench.echo(&others.iter().collect::<Vec<_>>());
    bench.pass(3 * SECOND);
    let said = beacons(&mut bench);
    assert!(!said.is_empty() && said.iter().all(|alive| alive.filter.is_none()));
}

#[test]
fn a_newcomer_is_told_at_once_what_is_held() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    bench.pass(20 * SECOND);
    bench.said();
    let newcomer = Other::at(1);
    bench.hear(&newcomer, alive());
    bench.echo(&[&newcomer]);
    bench.pass(Duration::from_millis(50));
    let said = bench.said();
    let greeting = said
        .iter()
        .find(|said| said.to == Destination::One(newcomer.source));
    let Some(Body::Alive(greeting)) = greeting.map(|said| &said.datagram.body) else {
        panic!("{said:?}")
    };
    assert!(
        greeting
            .filter
            .as_ref()
            .expect("a filter")
            .bloom
            .contains(tag("it"))
    );
    assert_eq!(bench.events(), [Event::PeerUp(newcomer.node())]);
}

#[test]
fn an_interface_that_comes_back_is_spoken_on_at_once() {
    let mut bench = Bench::new();
    bench.machine.handle_interfaces(bench.now, Vec::new());
    bench.pass(5 * MINUTE);
    assert!(beacons(&mut bench).is_empty());
    bench.join_lan();
    bench.pass(Duration::from_millis(51));
    assert_eq!(beacons(&mut bench).len(), 1);
}

#[test]
fn after_a_change_of_interfaces_peers_are_greeted_anew() {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    bench.meet(&peer);
    bench.machine.handle_interfaces(bench.now, Vec::new());
    bench.pass(SECOND);
    bench.said();
    bench.join_lan();
    bench.echo(&[&peer]);
    bench.pass(Duration::from_millis(50));
    let said = bench.said();
    let is_greeting = |said: &crate::bench::Said| {
        said.to == Destination::One(peer.source) && matches!(said.datagram.body, Body::Alive(_))
    };
    assert!(said.iter().any(is_greeting), "{said:?}");
}

#[test]
fn it_says_goodbye_with_proof() {
    let mut bench = Bench::new();
    bench.machine.leave(bench.now);
    let transmit = bench.machine.poll_transmit().expect("a farewell");
    let node = bench.machine.node_id();
    let proof = zeroshare_wire::datagram::verify_origin(&transmit.payload, node);
    assert!(matches!(proof, Ok(Some(_))));
    while bench.machine.poll_transmit().is_some() {}
    bench.pass(10 * MINUTE);
    assert!(bench.said().is_empty(), "and is silent then");
}

#[test]
fn the_next_day_has_other_names() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    bench.pass(3 * SECOND);
    beacons(&mut bench);
    let tomorrow = Day::from_number(DAY + 1);
    bench.machine.handle_day(bench.now, tomorrow);
    bench.pass(MINUTE);
    let said = beacons(&mut bench);
    let filter = said[0].filter.as_ref().expect("a filter");
    assert_eq!(filter.day, tomorrow);
    assert!(!filter.bloom.contains(tag("it")));
}

#[test]
fn what_a_peer_with_two_addresses_holds_is_what_it_said_last_from_either() {
    let mut bench = Bench::new();
    let one = Other::at(1);
    let mut other = Other {
        source: Other::at(2).source,
        ..one.clone()
    };
    let holds = |ids: u64| {
        let tags = (1..=ids).map(|id| Tag::from_bits(id.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Body::Alive(Alive {
            ttl: Duration::from_mins(4),
            known_nodes: 1,
            filter: Some(FilterPart {
                day: Day::from_number(DAY),
                index: 0,
                count: 1,
                bloom: Bloom::summaries(tags).remove(0),
            }),
        })
    };
    for address in [&one, &other] {
        bench.hear(address, holds(1));
        bench.pass_echoing(SECOND, &[&one, &other]);
    }
    let shown = |bench: &Bench| bench.machine.peers(bench.now)[0].held_ids;
    assert_eq!(shown(&bench), Some(1));
    other.sequence = 2;
    bench.hear(&other, holds(90));
    // A filter is counted by its bits.
    assert!(shown(&bench) > Some(80), "{:?}", shown(&bench));
}

#[test]
fn neighbours_heard_by_unicast_only_have_beacons_of_their_own_which_take_their_time() {
    let mut bench = Bench::fresh(Presence::Announced);
    bench.join_lan();
    for number in 0..400 {
        let held = content(&number.to_string());
        bench.machine.handle_holding(bench.now, held, u8::MAX);
    }
    bench.pass(SECOND);
    bench.said();
    let others: Vec<Other> = (1..=40).map(Other::at).collect();
    let all: Vec<&Other> = others.iter().collect();
    for other in &others {
        bench.hear_bytes(other.source, Road::Unicast, &other.bytes(alive()));
    }
    bench.pass_echoing(2 * SECOND, &all);
    assert_eq!(bench.machine.live_peers(), 40);

    bench.pass(2 * MINUTE);
    let (to_all, alone) = beacons_said(&mut bench);
    assert_eq!(alone, 40, "none of them did");
    let ttl = to_all[0].ttl;
    let mut waited = Duration::ZERO;
    while beacons_said(&mut bench).0.is_empty() {
        bench.pass(MINUTE);
        waited += MINUTE;
    }
    assert!(
        waited > 10 * MINUTE,
        "{waited:?}: a beacon for each takes its time"
    );
    assert!(ttl > 2 * waited, "{ttl:?}: and counts for longer");
}

/// How many beacons of its own a neighbour gets that never hears what goes to all, when there is news and it is known for so
/// long; the news is spoken of one or two seconds later.
fn beacons_of_its_own(newcomer: &Other, is_static: bool, known_for: Duration) -> usize {
    let mut bench = Bench::fresh(Presence::Announced);
    bench.join_lan();
    // Behind the second beacon after the arrival, and long before the next.
    bench.pass(6 * SECOND);
    if is_static {
        bench
            .machine
            .handle_static_peers(bench.now, &[newcomer.source]);
    }
    let hello = newcomer.bytes(alive());
    bench.hear_bytes(newcomer.source, Road::Unicast, &hello);
    bench.pass_echoing(known_for, &[newcomer]);
    assert_eq!(bench.machine.live_peers(), 1);
    bench.said();
    bench.machine.handle_store_port(bench.now, 4_000);
    bench.pass(2 * SECOND);
    let (to_all, alone) = beacons_said(&mut bench);
    assert!(!to_all.is_empty(), "everybody is told the news");
    alone
}

#[test]
fn a_neighbour_heard_for_the_first_time_just_now_gets_no_beacon_of_its_own() {
    let neighbour = Other::at(1);
    for (known_for, alone) in [(1, 0), (7, 0), (10, 1), (13, 1)] {
        let said = beacons_of_its_own(&neighbour, false, known_for * SECOND);
        assert_eq!(said, alone, "known for {known_for} s");
    }
}

#[test]
fn whoever_cannot_hear_what_goes_to_all_gets_beacons_of_its_own_at_once() {
    let behind_a_router = Other {
        source: "192.168.7.3:38339".parse().expect("an address"),
        ..Other::at(1)
    };
    assert_eq!(beacons_of_its_own(&behind_a_router, false, SECOND), 1);
    assert_eq!(beacons_of_its_own(&Other::at(1), true, SECOND), 1);
}

/// The beacons to everybody, on all roads, and how many went to one.
fn beacons_said(bench: &mut Bench) -> (Vec<Alive>, usize) {
    let (mut to_all, mut alone) = (Vec::new(), 0);
    for said in bench.said() {
        match (said.to, said.datagram.body) {
            (Destination::Everybody { .. }, Body::Alive(alive)) => to_all.push(alive),
            (Destination::One(_), Body::Alive(_)) => alone += 1,
            _ => {}
        }
    }
    (to_all, alone)
}

#[test]
fn on_a_large_network_what_comes_and_goes_is_no_reason_to_speak() {
    let mut bench = Bench::new();
    let others: Vec<Other> = (1..=120).map(Other::at).collect();
    for other in &others {
        bench.hear(other, alive());
    }
    bench.echo(&others.iter().collect::<Vec<_>>());
    bench.pass(8 * SECOND);
    beacons(&mut bench);
    for number in 0..10 {
        bench
            .machine
            .handle_holding(bench.now, content(&number.to_string()), 255);
        bench.pass(SECOND);
    }
    let tomorrow = Day::from_number(DAY + 1);
    bench.machine.handle_day(bench.now, tomorrow);
    bench.pass(2 * SECOND);
    assert!(beacons(&mut bench).is_empty());
}

#[test]
fn a_lan_of_many_whose_holdings_change_all_the_time_says_little_more() {
    let mut bench = Bench::new();
    for number in 0..450 {
        bench
            .machine
            .handle_holding(bench.now, content(&number.to_string()), 255);
    }
    for last in 1..=90 {
        bench.meet(&Other::at(last));
    }
    let mut bytes = 0;
    for second in 0..600 {
        if second % 60 == 0 {
            for last in 1..=90 {
                let mut other = Other::at(last);
                other.sequence += 1 + second;
                bench.hear(&other, alive());
            }
        }
        let name = format!("new {second}");
        bench.machine.handle_holding(bench.now, content(&name), 255);
        bench.machine.handle_holding(bench.now, content(&name), 0);
        bench.pass(SECOND);
        let beacons = bench.said().into_iter();
        let beacons = beacons.filter(|said| matches!(said.datagram.body, Body::Alive(_)));
        bytes += beacons.map(|said| said.len).sum::<usize>();
    }
    let of_lan = bytes * 91 / 600;
    assert!(of_lan <= 2_500, "{of_lan} bytes a second");
}

#[test]
fn greetings_of_very_many_parts_leave_room_for_questions_and_all_arrive() {
    let mut bench = Bench::new();
    for number in 0..5_000 {
        bench
            .machine
            .handle_holding(bench.now, content(&number.to_string()), 255);
    }
    bench.pass(20 * SECOND);
    bench.said();
    let others: Vec<Other> = (1..=60).map(Other::at).collect();
    for other in &others {
        bench.hear(other, alive());
    }
    bench.echo(&others.iter().collect::<Vec<_>>());
    let mut told = std::collections::BTreeMap::new();
    let mut note = |said: Vec<crate::bench::Said>| {
        for said in said {
            if let (Destination::One(to), Body::Alive(alive)) = (said.to, said.datagram.body) {
                let filter = alive.filter.expect("a small network");
                let parts: &mut std::collections::BTreeSet<u8> = told.entry(to).or_default();
                parts.insert(filter.index);
            }
        }
    };
    bench.pass(SECOND / 5);
    note(bench.said());
    bench.find("else", SECOND);
    let said = bench.said();
    assert!(
        said.iter()
            .any(|said| matches!(said.datagram.body, Body::Query(_))),
        "its own question has room"
    );
    bench.pass(MINUTE);
    note(bench.said());
    assert_eq!(told.len(), 60);
    let parts = told.values().map(std::collections::BTreeSet::len).min();
    assert!(parts >= Some(10), "{parts:?}");
}
