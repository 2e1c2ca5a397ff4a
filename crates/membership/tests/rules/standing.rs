//! Who is told of, and asked, after what it did.

use std::time::Duration;

use zeroshare_membership::{Claim, Destination, Mercy, Report, Road, Verdict};
use zeroshare_wire::datagram::Body;

use crate::{
    bench::{Bench, Other, SECOND, alive_with, answer, content},
    lookups::{found, questions},
};

#[test]
fn a_banned_peer_is_neither_asked_alone_nor_told_of_until_it_is_forgiven() {
    let mut bench = Bench::new();
    let liar = Other {
        source: "203.0.113.9:38339".parse().unwrap(),
        ..Other::at(1)
    };
    bench.machine.handle_static_peers(bench.now, &[liar.source]);
    bench.echo(&[&liar]);
    let convicted = Report {
        address: liar.store(),
        node: None,
        content: Some(content("it")),
        verdict: Verdict::Convicted,
    };
    bench.machine.handle_report(bench.now, &convicted);
    let bans = bench.machine.bans(bench.now);
    assert_eq!(bans.len(), 1);
    assert_eq!(
        (bans[0].address, &bans[0].nodes[..]),
        (liar.store(), &[liar.node()][..])
    );
    let view = &bench.machine.peers(bench.now)[0];
    assert_eq!(view.ban, Some(Duration::from_mins(10)));
    let ask = |bench: &mut Bench, name| {
        bench.pass(SECOND);
        bench.said();
        bench.events();
        let wait = Duration::from_millis(20);
        bench.find(name, wait);
        let said = bench.said();
        let asked = said.iter().filter_map(|said| {
            let Body::Query(query) = &said.datagram.body else {
                return None;
            };
            Some((said.to, query.nonce))
        });
        let asked: Vec<_> = asked.collect();
        let nonce = asked.first().map(|(_, nonce)| *nonce);
        let bytes = liar.bytes(answer(nonce.unwrap(), name));
        bench.hear_bytes(liar.source, Road::Unicast, &bytes);
        let alone = Destination::One(liar.source);
        let was_asked = asked.iter().any(|(to, _)| *to == alone);
        (was_asked, found(&bench.events()).len())
    };
    assert_eq!(ask(&mut bench, "it"), (false, 0));
    let nobody = Mercy::Node(Other::at(7).node());
    assert_eq!(bench.machine.forgive(bench.now, nobody), 0);
    let mercy = Mercy::Node(liar.node());
    assert_eq!(bench.machine.forgive(bench.now, mercy), 1);
    assert_eq!(ask(&mut bench, "other"), (true, 1));
    assert!(bench.machine.bans(bench.now).is_empty());
}

#[test]
fn a_node_that_proved_to_lie_stays_banned_at_its_next_address() {
    for proven in [true, false] {
        let mut bench = Bench::new();
        let liar = Other::at(1);
        bench.meet(&liar);
        let convicted = Report {
            address: liar.store(),
            node: proven.then(|| liar.node()),
            content: Some(content("it")),
            verdict: Verdict::Convicted,
        };
        bench.machine.handle_report(bench.now, &convicted);
        let moved = Other {
            source: Other::at(2).source,
            incarnation: liar.incarnation + 1,
            ..liar.clone()
        };
        bench.hear(&moved, alive_with("it"));
        bench.echo(&[&moved]);
        bench.pass(SECOND);
        bench.said();
        bench.events();
        let wait = Duration::from_millis(20);
        bench.find("it", wait);
        let told = found(&bench.events()).len();
        assert_eq!(told, usize::from(!proven), "proven: {proven}");
        let mercy = Mercy::Node(liar.node());
        bench.machine.forgive(bench.now, mercy);
        let peers = bench.machine.peers(bench.now);
        assert!(peers.iter().all(|peer| peer.ban.is_none()), "{peers:?}");
    }
}

#[test]
fn the_best_known_providers_come_first_and_the_banned_never() {
    let mut bench = Bench::new();
    let others: Vec<Other> = (1..=4).map(Other::at).collect();
    for other in &others {
        bench.hear(other, alive_with("it"));
        bench.echo(&[other]);
    }
    bench.pass(SECOND);
    bench.events();
    for (other, verdict) in [
        (&others[0], Verdict::Unreachable),
        (&others[1], Verdict::Gave(1 << 20)),
        (&others[2], Verdict::Gave(1 << 30)),
        (&others[3], Verdict::Convicted),
    ] {
        let report = Report {
            address: other.store(),
            node: None,
            content: Some(content("it")),
            verdict,
        };
        bench.machine.handle_report(bench.now, &report);
    }
    bench.find("it", Duration::ZERO);
    let order: Vec<_> = found(&bench.events())
        .into_iter()
        .map(|(_, at)| at)
        .collect();
    assert_eq!(
        order,
        [others[2].store(), others[1].store(), others[0].store()]
    );
    assert_eq!(bench.machine.memory(bench.now).bans.len(), 1);
}

#[test]
fn when_the_only_provider_fails_it_asks_at_once() {
    let mut bench = Bench::new();
    let liar = Other::at(1);
    bench.hear(&liar, alive_with("it"));
    bench.echo(&[&liar]);
    bench.pass(SECOND);
    bench.said();
    bench.find("it", 5 * SECOND);
    assert!(questions(&mut bench).is_empty());
    let report = Report {
        address: liar.store(),
        node: None,
        content: Some(content("it")),
        verdict: Verdict::NotHolding,
    };
    bench.machine.handle_report(bench.now, &report);
    bench.pass(Duration::from_millis(1));
    assert_eq!(questions(&mut bench).len(), 1);
    bench.events();
    bench.find("it", Duration::ZERO);
    assert!(
        found(&bench.events()).is_empty(),
        "its filter does not count for a while"
    );
}

#[test]
fn a_node_that_restarted_is_told_of_with_its_new_ports() {
    let mut bench = Bench::new();
    let before = Other::at(1);
    bench.meet(&before);
    let mut after = before.clone();
    after.incarnation += 1;
    after.store_port = 9;
    bench.find("it", SECOND);
    let asked = questions(&mut bench);
    bench.hear(&after, answer(asked[0].nonce, "it"));
    assert!(found(&bench.events()).is_empty());
    bench.echo(&[&after]);
    assert_eq!(found(&bench.events()), [(Claim::Stated, after.store())]);
}
