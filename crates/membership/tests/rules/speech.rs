//! When it speaks of its own accord.

use std::time::Duration;

use zeroshare_membership::{Destination, Event, Presence, Road};
use zeroshare_wire::datagram::Body;

use crate::bench::{Bench, LAN, Other, SECOND, alive, content, tag};

const MINUTE: Duration = Duration::from_mins(1);

/// The beacons to everybody by the first road.
fn beacons(bench: &mut Bench) -> Vec<zeroshare_wire::datagram::Alive> {
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
        let mut roads: Vec<Destination> = bench.said().into_iter().map(|said| said.to).collect();
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
    let tomorrow = zeroshare_wire::datagram::Day::from_number(crate::bench::DAY + 1);
    bench.machine.handle_day(bench.now, tomorrow);
    bench.pass(MINUTE);
    let said = beacons(&mut bench);
    let filter = said[0].filter.as_ref().expect("a filter");
    assert_eq!(filter.day, tomorrow);
    assert!(!filter.bloom.contains(tag("it")));
}
