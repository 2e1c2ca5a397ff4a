//! Over which time answers are spread.

use std::time::Duration;

use zeroshare_wire::datagram::{Answer, Body};

use crate::{
    bench::{Bench, Other, SECOND, alive, answer, query},
    lookups::questions,
};

#[test]
fn answers_that_holders_hold_back_do_not_stretch_the_time_for_answers() {
    let others: Vec<Other> = (1..=40).map(Other::at).collect();
    let mut bench = Bench::new();
    for other in &others {
        bench.meet(other);
    }
    let mut spreads = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        bench.find(name, SECOND);
        let asked = questions(&mut bench);
        spreads.push(asked[0].spread);
        bench.pass(Duration::from_millis(250));
        bench.hear(&others[0], answer(asked[0].nonce, name));
        bench.pass_echoing(2 * SECOND, &[]);
    }
    assert_eq!(spreads, [Duration::from_millis(20); 5]);
}

#[test]
fn the_time_that_the_network_takes_for_what_goes_to_all_stretches_the_time_for_answers() {
    let ms = Duration::from_millis;
    // Held back, passed, and over what the next question's answers are spread.
    for (held_back, passed, spread) in [
        (Some(ms(0)), ms(1), ms(20)),
        (Some(ms(19)), ms(20), ms(20)),
        (Some(ms(19)), ms(29), ms(100)),
        (Some(ms(300)), ms(305), ms(50)),
        (Some(ms(20)), ms(400), ms(300)),
        (Some(ms(9_000)), ms(100), ms(20)),
        (None, ms(400), ms(20)),
    ] {
        let mut bench = Bench::new();
        for last in 1..=40 {
            bench.meet(&Other::at(last));
        }
        let find = |bench: &mut Bench, name: &str| {
            bench.find(name, SECOND);
            questions(bench).remove(0)
        };
        let asked = find(&mut bench, "a");
        bench.pass(passed);
        let Body::Answer(said) = answer(asked.nonce, "a") else {
            panic!("an answer")
        };
        let said = Answer { held_back, ..said };
        bench.hear(&Other::at(1), Body::Answer(said));
        bench.said();
        let spread_now = find(&mut bench, "b").spread;
        assert_eq!(spread_now, spread, "{held_back:?}, {passed:?}");
    }
}

#[test]
fn a_bystander_learns_too_how_long_the_network_takes() {
    let mut bench = Bench::new();
    for last in 1..=40 {
        bench.meet(&Other::at(last));
    }
    bench.hear(&Other::at(1), Body::Query(query(1, "other")));
    bench.pass(Duration::from_millis(250));
    let Body::Answer(said) = answer(1, "other") else {
        panic!("an answer")
    };
    let held_back = Some(Duration::from_millis(20));
    bench.hear(&Other::at(2), Body::Answer(Answer { held_back, ..said }));
    bench.find("it", SECOND);
    assert_eq!(questions(&mut bench)[0].spread, Duration::from_millis(300));
}

#[test]
fn where_echoes_take_long_answers_are_spread_longer_and_nobody_is_asked_again_before() {
    for (echo_ms, spread_ms, (least_ms, most_ms)) in [
        (1, 20, (30, 50)),
        (9, 90, (135, 225)),
        (15, 150, (225, 375)),
    ] {
        let others: Vec<Other> = (1..=40).map(Other::at).collect();
        let mut bench = Bench::new();
        for other in &others {
            bench.hear(other, alive());
            bench.pass(Duration::from_millis(echo_ms));
            bench.echo(&[other]);
            bench.pass(SECOND);
            bench.said();
        }
        bench.find("it", 5 * SECOND);
        let first = questions(&mut bench);
        assert_eq!(first[0].spread, Duration::from_millis(spread_ms));
        bench.pass(Duration::from_millis(least_ms - 1));
        assert_eq!(questions(&mut bench).len(), 0, "{echo_ms} ms: too soon");
        bench.pass(Duration::from_millis(most_ms - least_ms + 2));
        assert_eq!(questions(&mut bench).len(), 1, "{echo_ms} ms");
    }
}
