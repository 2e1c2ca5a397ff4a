//! Whom it is told of that looks for the same.

use std::time::Duration;

use zeroshare_content::{BlobId, HashKind};
use zeroshare_membership::{Claim, Search};
use zeroshare_wire::datagram::{Body, NodeId};

use crate::{
    bench::{Bench, Other, SECOND, content, query, tag},
    lookups::found,
};

/// The place of a node among those that look for it, as the design has it.
fn order(node: NodeId) -> BlobId {
    let mut bytes = node.as_bytes().to_vec();
    bytes.extend(tag("it").bits().to_be_bytes());
    BlobId::of(HashKind::Sha256, &bytes)
}

/// Neighbours in their order, and how many of them go before the machine.
fn neighbours(bench: &Bench) -> (Vec<Other>, usize) {
    let mut others: Vec<Other> = (1..=12).map(Other::at).collect();
    others.sort_by_key(|other| order(other.node()));
    let own = order(bench.machine.node_id());
    let before = others.iter().filter(|other| order(other.node()) < own);
    let before = before.count();
    assert!(before > 4 && before < 12, "a fair mix: {before}");
    (others, before)
}

fn look(bench: &mut Bench, askers: bool) {
    let search = Search {
        contents: &[content("it")],
        wait: SECOND,
        trace: None,
        enough: None,
        explained: false,
        askers,
    };
    let begun = bench.machine.search(bench.now, &search);
    assert!(begun.is_some(), "there is room for it");
}

fn ask(bench: &mut Bench, other: &Other) {
    let nonce = u64::from(other.store_port);
    bench.hear(other, Body::Query(query(nonce, "it")));
}

#[test]
fn of_those_who_look_for_the_same_whoever_goes_first_is_told_of_and_nobody_who_does_not() {
    let mut bench = Bench::new();
    let (others, before) = neighbours(&bench);
    for other in &others {
        bench.meet(other);
    }
    look(&mut bench, true);
    for other in others.iter().rev() {
        ask(&mut bench, other);
    }
    let told = found(&bench.events());
    // The last of those first, so that each goes before all that were told of.
    let expected: Vec<_> = others[..before]
        .iter()
        .rev()
        .map(|other| (Claim::Asks, other.store()))
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn whoever_asked_a_moment_before_counts_and_only_the_first_are_told_of() {
    let mut bench = Bench::new();
    let (others, _) = neighbours(&bench);
    for other in &others {
        bench.meet(other);
    }
    for other in &others {
        ask(&mut bench, other);
    }
    look(&mut bench, true);
    let first = |other: &Other| (Claim::Asks, other.store());
    let expected: Vec<_> = others.iter().take(3).map(first).collect();
    assert_eq!(found(&bench.events()), expected);
    bench.pass(Duration::from_secs(7));
    look(&mut bench, true);
    assert_eq!(found(&bench.events()), [], "that was long ago");
}

#[test]
fn who_does_not_echo_is_not_told_of_however_often_it_asks() {
    let mut bench = Bench::new();
    let (others, _) = neighbours(&bench);
    look(&mut bench, true);
    ask(&mut bench, &others[0]);
    assert_eq!(found(&bench.events()), []);
    bench.echo(&[&others[1]]);
    assert_eq!(found(&bench.events()), []);
    let mut bench = Bench::new();
    look(&mut bench, true);
    ask(&mut bench, &others[0]);
    bench.echo(&[&others[0]]);
    assert_eq!(found(&bench.events()), [(Claim::Asks, others[0].store())]);
}

#[test]
fn lookups_that_do_not_care_are_told_of_nobody() {
    let mut bench = Bench::new();
    let (others, _) = neighbours(&bench);
    bench.meet(&others[0]);
    look(&mut bench, false);
    ask(&mut bench, &others[0]);
    assert_eq!(found(&bench.events()), []);
}

#[test]
fn what_somebody_else_here_gets_is_told_to_those_who_ask_and_what_is_here_is_not_taken_back() {
    let answers = |bench: &mut Bench, nonce| {
        bench.hear(&Other::at(1), Body::Query(query(nonce, "it")));
        let said = bench.said().into_iter();
        let parts = said.filter_map(|said| match said.datagram.body {
            Body::Answer(answer) => answer.holdings.iter().map(|one| one.part).next(),
            Body::Alive(_)
            | Body::Leaving
            | Body::Query(_)
            | Body::PeersRequest(_)
            | Body::Peers(_)
            | Body::Echo(_) => None,
        });
        parts.collect::<Vec<_>>()
    };
    let mut bench = Bench::new();
    bench.meet(&Other::at(1));
    bench.machine.handle_arrival(bench.now, content("it"));
    assert_eq!(answers(&mut bench, 1), [0]);
    bench.machine.handle_arrival_over(bench.now, content("it"));
    assert_eq!(answers(&mut bench, 2), [0_u8; 0]);
    bench.machine.handle_arrival(bench.now, content("it"));
    bench.machine.handle_holding(bench.now, content("it"), 255);
    bench.machine.handle_arrival_over(bench.now, content("it"));
    assert_eq!(answers(&mut bench, 3), [255]);
}
