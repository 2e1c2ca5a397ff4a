//! How long it is believed that nobody has something.

use std::time::Duration;

use zeroshare_membership::Event;

use crate::bench::{Bench, Other, SECOND, alive_with, answer, content};

#[test]
fn nobody_is_remembered_for_seconds() {
    let mut bench = Bench::new();
    assert!(patience(&mut bench) >= 2 * SECOND);
    assert!(patience(&mut bench) <= SECOND / 4, "a short look is enough");
    bench.pass(4 * SECOND);
    assert!(patience(&mut bench) >= 2 * SECOND);
}

#[test]
fn nobody_is_forgotten_on_demand_of_what_is_named_or_of_all() {
    for named in [&["it"][..], &[]] {
        let mut bench = Bench::new();
        patience(&mut bench);
        bench.machine.refresh(&[content("other")]);
        assert!(
            patience(&mut bench) < SECOND,
            "that was about something else"
        );
        let named: Vec<_> = named.iter().map(|name| content(name)).collect();
        bench.machine.refresh(&named);
        assert!(patience(&mut bench) >= 2 * SECOND);
    }
}

#[test]
fn nobody_is_void_with_the_first_answer_beacon_or_newcomer_that_says_otherwise() {
    let tells: [fn(&mut Bench); 4] = [
        |bench| bench.hear(&Other::at(1), answer(99, "it")),
        |bench| bench.hear(&next_beacon(), alive_with("it")),
        |bench| bench.meet(&Other::at(2)),
        |bench| {
            bench.machine.handle_interfaces(bench.now, Vec::new());
            bench.join_lan();
        },
    ];
    for tell in tells {
        let mut bench = Bench::new();
        bench.meet(&Other::at(1));
        patience(&mut bench);
        tell(&mut bench);
        bench.said();
        let wait = 2 * SECOND;
        bench.find("it", wait);
        bench.pass(SECOND);
        let is_over = |event: &Event| matches!(event, Event::LookupEnded(_));
        assert!(!bench.events().iter().any(is_over));
    }
    let mut bench = Bench::new();
    bench.meet(&Other::at(1));
    patience(&mut bench);
    bench.hear(&next_beacon(), alive_with("other"));
    assert!(patience(&mut bench) < SECOND, "that says nothing of it");
}

/// How long the next lookup stays open.
fn patience(bench: &mut Bench) -> Duration {
    bench.events();
    let start = bench.now;
    bench.find("it", 2 * SECOND);
    while !bench
        .events()
        .iter()
        .any(|event| matches!(event, Event::LookupEnded(_)))
    {
        bench.pass(Duration::from_millis(10));
    }
    bench.now - start
}

/// The first neighbour, with its next beacon.
fn next_beacon() -> Other {
    Other {
        sequence: 2,
        ..Other::at(1)
    }
}
