//! Who is answered, when, and how.

use std::time::Duration;

use zeroshare_membership::{Destination, Event, Presence, Road};
use zeroshare_wire::{
    AtMost,
    datagram::{Body, Day, Query},
};

use crate::bench::{Bench, LAN, Other, SECOND, answer, content, query, tag, waiting_answer};

const EVERYBODY: Destination = Destination::Everybody {
    interface: LAN,
    road: Road::Multicast4,
};

/// A machine that holds something.
fn holder() -> Bench {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    bench.pass(5 * SECOND);
    bench.said();
    bench
}

/// The destinations of the answers that it gave.
fn answers(bench: &mut Bench) -> Vec<Destination> {
    let said = bench.said().into_iter();
    let answers = said.filter(|said| matches!(said.datagram.body, Body::Answer(_)));
    answers.map(|said| said.to).collect()
}

#[test]
fn a_stranger_is_answered_to_everybodys_hearing_and_a_known_asker_alone() {
    let mut bench = holder();
    let asker = Other::at(1);
    bench.hear(&asker, Body::Query(query(1, "it")));
    assert_eq!(answers(&mut bench), [EVERYBODY]);
    bench.meet(&asker);
    bench.hear(&asker, Body::Query(query(2, "it")));
    assert_eq!(answers(&mut bench), [Destination::One(asker.source)]);
}

#[test]
fn whoever_asks_by_unicast_is_answered_there_and_with_no_more_than_was_asked() {
    let mut bench = holder();
    let asker = Other::at(1);
    let question = asker.bytes(Body::Query(query(1, "it")));
    bench.hear_bytes(asker.source, Road::Unicast, &question);
    let said = bench.said();
    let [answer] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert_eq!(answer.to, Destination::One(asker.source));
    assert!(answer.len <= question.len());
}

#[test]
fn what_is_not_held_is_not_answered() {
    let mut bench = holder();
    bench.hear(&Other::at(1), Body::Query(query(1, "else")));
    bench.machine.handle_holding(bench.now, content("it"), 0);
    bench.hear(&Other::at(1), Body::Query(query(2, "it")));
    assert!(answers(&mut bench).is_empty());
    assert!(bench.events().is_empty());
}

#[test]
fn a_question_is_answered_once_however_often_it_comes() {
    let mut bench = holder();
    let asker = Other::at(1);
    bench.hear(&asker, Body::Query(query(1, "it")));
    let again = asker.bytes(Body::Query(query(1, "it")));
    bench.hear_bytes(asker.source, Road::Broadcast, &again);
    bench.hear_bytes(asker.source, Road::Unicast, &again);
    assert_eq!(answers(&mut bench).len(), 1);
    assert_eq!(bench.drops("duplicate"), 2);
}

#[test]
fn whoever_is_excused_is_silent() {
    let mut bench = holder();
    let own = bench.machine.node_id().first_half();
    let question = Query {
        exclude: AtMost::first([own]),
        ..query(1, "it")
    };
    bench.hear(&Other::at(1), Body::Query(question));
    assert!(answers(&mut bench).is_empty());
}

#[test]
fn it_says_who_asked_for_what() {
    let mut bench = holder();
    let asker = Other::at(1);
    bench.hear(&asker, Body::Query(query(1, "it")));
    let events = bench.events();
    let [Event::Asked(asked)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(asked.contents, [content("it")]);
    assert_eq!((asked.source, asked.node), (asker.source, asker.node()));
}

#[test]
fn enough_answers_from_different_addresses_silence_a_holder() {
    for (addresses, expected) in [([1_u8, 2, 3], 0), ([1, 1, 2], 1)] {
        let mut bench = holder();
        let question = Query {
            spread: Duration::from_millis(200),
            known_nodes: 1_000,
            ..query(1, "it")
        };
        bench.hear(&Other::at(9), Body::Query(question));
        for (at, last) in addresses.into_iter().enumerate() {
            let mut other = Other::at(last);
            // Different ids of one address count once.
            other.key = Other::at(u8::try_from(at).unwrap() + 50).key;
            bench.hear(&other, answer(1, "it"));
        }
        bench.pass(SECOND);
        assert_eq!(answers(&mut bench).len(), expected, "{addresses:?}");
    }
}

#[test]
fn answers_about_something_else_silence_nobody() {
    let mut bench = holder();
    let question = Query {
        spread: Duration::from_millis(200),
        known_nodes: 1_000,
        tags: AtMost::first([tag("it"), tag("other")]),
        ..query(1, "it")
    };
    bench.hear(&Other::at(9), Body::Query(question));
    for last in 1..=5 {
        bench.hear(&Other::at(last), answer(1, "other"));
    }
    bench.pass(SECOND);
    assert_eq!(answers(&mut bench).len(), 1);
}

#[test]
fn those_who_are_only_getting_it_silence_nobody() {
    let mut bench = holder();
    let question = Query {
        spread: Duration::from_millis(200),
        known_nodes: 1_000,
        ..query(1, "it")
    };
    bench.hear(&Other::at(9), Body::Query(question));
    for last in 1..=5 {
        bench.hear(&Other::at(last), waiting_answer(1, "it"));
    }
    bench.pass(SECOND);
    assert_eq!(answers(&mut bench).len(), 1);
}

#[test]
fn in_a_round_nobody_listens_and_chance_decides() {
    let mut rounds = Vec::new();
    for round in [1, 20] {
        let mut bench = holder();
        let mut count = 0;
        for nonce in 0..60 {
            let question = Query {
                round,
                known_nodes: 1_000,
                spread: Duration::from_millis(20),
                ..query(nonce, "it")
            };
            bench.hear(&Other::at(9), Body::Query(question));
            for last in 1..=8 {
                bench.hear(&Other::at(last), answer(nonce, "it"));
            }
            bench.pass(SECOND);
            count += answers(&mut bench).len();
        }
        rounds.push(count);
    }
    assert!(rounds[0] <= 10, "32 of 1,000 answer: {rounds:?}");
    assert_eq!(rounds[1], 60, "everybody answers in the end");
}

#[test]
fn an_asker_cannot_make_anybody_wait_for_long() {
    let mut bench = holder();
    let question = Query {
        spread: Duration::from_secs(10),
        known_nodes: u32::MAX,
        ..query(1, "it")
    };
    bench.hear(&Other::at(9), Body::Query(question));
    bench.pass(Duration::from_millis(301));
    assert_eq!(answers(&mut bench).len(), 1);
}

#[test]
fn names_of_yesterday_and_tomorrow_are_known_and_no_others() {
    for (day, expected) in [(19_998, 0), (19_999, 1), (20_001, 1), (20_002, 0)] {
        let mut bench = holder();
        let key = zeroshare_wire::datagram::DayKey::new(
            Day::from_number(day),
            &zeroshare_wire::datagram::GroupKey::none(),
        );
        let question = Query {
            day: Day::from_number(day),
            tags: AtMost::first([key.tag(&content("it"))]),
            ..query(1, "it")
        };
        bench.hear(&Other::at(9), Body::Query(question));
        assert_eq!(answers(&mut bench).len(), expected, "{day}");
    }
}

#[test]
fn a_flood_of_questions_is_answered_at_a_bounded_rate() {
    let mut bench = holder();
    for nonce in 0..5_000 {
        bench.hear(&Other::at(1), Body::Query(query(nonce, "it")));
    }
    let given = answers(&mut bench).len();
    assert!((1..=400).contains(&given), "{given}");
    assert!(bench.drops("rate_limited") >= 4_600);
    bench.pass(SECOND);
    bench.hear(&Other::at(1), Body::Query(query(9_999, "it")));
    assert_eq!(
        answers(&mut bench).len(),
        1,
        "and later questions are answered again"
    );
}

#[test]
fn who_is_hidden_answers_nothing() {
    let mut bench = Bench::fresh(Presence::Hidden);
    bench.join_lan();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    bench.hear(&Other::at(1), Body::Query(query(1, "it")));
    let echo = zeroshare_wire::datagram::Echo {
        nonce: 1,
        reply: false,
    };
    let question = Other::at(1).bytes(Body::Echo(echo));
    bench.hear_bytes(Other::at(1).source, Road::Unicast, &question);
    bench.machine.leave(bench.now);
    bench.pass(Duration::from_mins(10));
    assert!(bench.said().is_empty());
}

#[test]
fn an_answer_says_how_long_it_was_held_back() {
    let mut bench = holder();
    let question = Query {
        spread: Duration::from_millis(300),
        known_nodes: 1_000,
        ..query(1, "it")
    };
    let asked_at = bench.now;
    bench.hear(&Other::at(9), Body::Query(question));
    let due = bench.machine.poll_timeout().unwrap();
    bench.pass(due - asked_at);
    let said = bench.said();
    let Body::Answer(answer) = &said[0].datagram.body else {
        panic!("{said:?}")
    };
    let micros = |time: Duration| time.as_micros();
    assert_eq!(answer.held_back.map(micros), Some(micros(due - asked_at)));
    assert!(!due.duration_since(asked_at).is_zero());
}
