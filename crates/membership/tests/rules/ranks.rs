//! Who is asked and told of first, and what cannot change that.

use std::time::Duration;

use zeroshare_membership::{Destination, Report, Road, Search, Verdict};
use zeroshare_wire::{
    datagram::{Body, GroupKey, SigningKey, decode},
    pb::beacon::v1 as pb,
};

use crate::{
    bench::{Bench, Other, SECOND, alive, alive_with, answer, content, query},
    lookups::found,
};

/// A machine with peers whose filters all name it.
fn with_holders(count: u8) -> (Bench, Vec<Other>) {
    let mut bench = Bench::new();
    let holders: Vec<Other> = (1..=count).map(Other::at).collect();
    for holder in &holders {
        bench.hear(holder, alive_with("it"));
        bench.echo(&[holder]);
        bench.pass(SECOND);
    }
    bench.said();
    bench.events();
    (bench, holders)
}

/// The stores that a lookup is told of at once, in their order.
fn told(bench: &mut Bench) -> Vec<std::net::SocketAddr> {
    bench.events();
    bench.find("it", Duration::ZERO);
    let found = found(&bench.events());
    found.into_iter().map(|(_, store)| store).collect()
}

#[test]
fn who_was_heard_last_is_told_of_first_and_the_doubted_last() {
    let (mut bench, holders) = with_holders(3);
    let stores: Vec<_> = holders.iter().map(Other::store).collect();
    assert_eq!(told(&mut bench), [stores[2], stores[1], stores[0]]);
    let mut next = holders[0].clone();
    next.sequence += 1;
    bench.hear(&next, alive_with("it"));
    assert_eq!(told(&mut bench), [stores[0], stores[2], stores[1]]);
    bench.hear(&next, Body::Leaving);
    assert_eq!(told(&mut bench), [stores[2], stores[1], stores[0]]);
    bench.machine.handle_probe(stores[0], true);
    assert_eq!(told(&mut bench), [stores[0], stores[2], stores[1]]);
}

#[test]
fn the_likeliest_three_are_asked_alone_beside_everybody() {
    let (mut bench, holders) = with_holders(5);
    bench.machine.handle_report(
        bench.now,
        &Report {
            address: holders[4].store(),
            node: None,
            content: None,
            verdict: Verdict::Unreachable,
        },
    );
    let search = Search {
        contents: &[content("it")],
        wait: SECOND,
        trace: None,
        enough: Some(8),
        explained: false,
        askers: false,
    };
    bench.machine.search(bench.now, &search).unwrap();
    let said = bench.said().into_iter();
    let asked = said.filter_map(|said| match (said.to, said.datagram.body) {
        (Destination::One(to), Body::Query(_)) => Some(to),
        _ => None,
    });
    let asked: Vec<_> = asked.collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(!asked.contains(&holders[4].source), "it did worse");
}

#[test]
fn a_question_is_answered_whatever_its_senders_sequence() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    let asker = Other {
        sequence: 100,
        ..Other::at(1)
    };
    bench.meet(&asker);
    for (nonce, sequence) in [(1, 99), (2, 1), (3, u64::MAX)] {
        let asker = Other {
            sequence,
            ..asker.clone()
        };
        bench.hear(&asker, Body::Query(query(nonce, "it")));
        let said = bench.said();
        assert!(
            matches!(&said[..], [said] if matches!(said.datagram.body, Body::Answer(_))),
            "{sequence}: {said:?}"
        );
    }
}

#[test]
fn datagrams_of_a_later_format_are_dropped_and_counted_as_such() {
    let mut bench = Bench::new();
    let other = Other::at(1);
    let bytes = other.bytes(alive());
    let mut envelope = <pb::Envelope as prost::Message>::decode(&bytes[..]).unwrap();
    envelope.format += 1;
    let later = prost::Message::encode_to_vec(&envelope);
    assert!(decode(&later, &GroupKey::none()).is_err());
    bench.hear_bytes(other.source, Road::Multicast4, &later);
    assert_eq!(bench.drops("other_version"), 1);
    assert_eq!(bench.machine.table_len(), 0);
}

#[test]
fn a_liar_under_an_honest_peers_id_is_banned_at_its_own_address_alone() {
    let mut bench = Bench::new();
    let honest = Other::at(1);
    bench.meet(&honest);
    let liar = Other {
        source: Other::at(2).source,
        incarnation: 99,
        store_port: 666,
        ..honest.clone()
    };
    bench.hear(&liar, alive());
    bench.pass_echoing(SECOND, &[&honest, &liar]);
    let convicted = Report {
        address: liar.store(),
        node: None,
        content: Some(content("it")),
        verdict: Verdict::Convicted,
    };
    bench.machine.handle_report(bench.now, &convicted);
    let bans = bench.machine.bans(bench.now);
    let banned: Vec<_> = bans.iter().map(|ban| ban.address).collect();
    assert_eq!(banned, [liar.store()]);
    bench.events();
    bench.find("it", SECOND);
    let nonce = bench.said().into_iter().find_map(|said| {
        let Body::Query(query) = said.datagram.body else {
            return None;
        };
        Some(query.nonce)
    });
    for peer in [&liar, &honest] {
        bench.hear(peer, answer(nonce.unwrap(), "it"));
    }
    let told: Vec<_> = found(&bench.events())
        .into_iter()
        .map(|(_, store)| store)
        .collect();
    assert_eq!(told, [honest.store()]);
}

#[test]
fn no_question_has_more_than_eight_answers_whatever_it_says() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    bench.pass(5 * SECOND);
    bench.said();
    let greedy = zeroshare_wire::datagram::Query {
        enough: 255,
        spread: Duration::from_millis(300),
        known_nodes: 10_000,
        ..query(1, "it")
    };
    bench.hear(&Other::at(99), Body::Query(greedy));
    for last in 1..=8 {
        let other = Other {
            key: SigningKey::from_seed(&[last; 32]),
            ..Other::at(last)
        };
        bench.hear(&other, answer(1, "it"));
    }
    bench.pass(SECOND);
    let answers = bench.said().into_iter();
    let answers = answers.filter(|said| matches!(said.datagram.body, Body::Answer(_)));
    assert_eq!(answers.count(), 0);
}
