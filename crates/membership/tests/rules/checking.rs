//! How it tries the network.

use std::time::Duration;

use zeroshare_membership::{Event, NetworkCheck, Road};
use zeroshare_wire::datagram::Body;

use crate::bench::{Bench, Other, SECOND, alive};

fn checked(bench: &mut Bench) -> NetworkCheck {
    let events = bench.events().into_iter();
    let mut checks = events.filter_map(|event| {
        let Event::Checked(check) = event else {
            return None;
        };
        Some(*check)
    });
    let check = checks.next().expect("a check ended");
    assert!(checks.next().is_none());
    check
}

#[test]
fn a_road_comes_back_or_not_and_a_neighbour_echoes_or_not() {
    let mut bench = Bench::new();
    let (near, mute) = (Other::at(1), Other::at(2));
    bench.meet(&near);
    bench.hear(&mute, alive());
    bench.pass(20 * SECOND);
    bench.said();
    bench.events();
    bench.machine.check_network(bench.now);
    bench.machine.check_network(bench.now);
    bench.pass(Duration::from_millis(2));
    while let Some(transmit) = bench.machine.poll_transmit() {
        let datagram = zeroshare_wire::datagram::decode(
            &transmit.payload,
            &zeroshare_wire::datagram::GroupKey::none(),
        );
        match (datagram.unwrap().body, transmit.destination) {
            (Body::Query(_), zeroshare_membership::Destination::Everybody { road, .. })
                if road == Road::Multicast4 =>
            {
                let own = "10.0.0.200:38339".parse().unwrap();
                bench.hear_bytes(own, road, &transmit.payload);
            }
            (Body::Echo(echo), zeroshare_membership::Destination::One(to)) if to == near.source => {
                let reply = Body::Echo(zeroshare_wire::datagram::Echo {
                    nonce: echo.nonce,
                    reply: true,
                });
                bench.hear_bytes(near.source, Road::Unicast, &near.bytes(reply));
            }
            _ => {}
        }
    }
    bench.pass(3 * SECOND);
    let check = checked(&mut bench);
    let roads: Vec<_> = check
        .roads
        .iter()
        .map(|one| (one.road, one.sent, one.came_back))
        .collect();
    assert_eq!(
        roads,
        [
            (Road::Multicast4, true, true),
            (Road::Broadcast, true, false)
        ]
    );
    assert_eq!((check.roads[0].peers, check.roads[1].peers), (1, 0));
    let [first, second] = check.neighbours.as_slice() else {
        panic!("{check:?}")
    };
    assert_eq!(
        (first.node, first.echo),
        (near.node(), Some(Duration::from_millis(2)))
    );
    assert_eq!(first.store, Some(near.store()));
    assert_eq!((second.node, second.echo), (mute.node(), None));
    assert!(second.roads.contains(&Road::Multicast4));
}
