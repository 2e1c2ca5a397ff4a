//! How it looks for something.

use std::time::Duration;

use zeroshare_membership::{Claim, Destination, Event, Road, Search};
use zeroshare_wire::{
    AtMost,
    datagram::{Answer, Body, Day, GroupKey, Holding, HoldingState, Query, TraceContext, decode},
};

use crate::bench::{Bench, DAY, Other, SECOND, alive, alive_with, answer, content, query, tag};

/// The questions that it asked everybody by the first road.
pub(crate) fn questions(bench: &mut Bench) -> Vec<Query> {
    let said = bench.said().into_iter();
    said.filter_map(|said| match (said.to, said.datagram.body) {
        (
            Destination::Everybody {
                road: Road::Multicast4,
                ..
            },
            Body::Query(query),
        ) => Some(query),
        _ => None,
    })
    .collect()
}

pub(crate) fn found(events: &[Event]) -> Vec<(Claim, std::net::SocketAddr)> {
    let provider = |event: &Event| match event {
        Event::Found(_, provider) => Some((provider.claim, provider.peer.store_addresses[0])),
        Event::PeerUp(_)
        | Event::PeerDown(_)
        | Event::LookupEnded(_)
        | Event::Step(..)
        | Event::Probe(_)
        | Event::Asked(_)
        | Event::Checked(_) => None,
    };
    events.iter().filter_map(provider).collect()
}

#[test]
fn who_answers_is_told_of_only_after_its_echo() {
    let mut bench = Bench::new();
    bench.find("it", SECOND);
    let asked = questions(&mut bench);
    let holder = Other::at(1);
    bench.hear(&holder, answer(asked[0].nonce, "it"));
    assert!(found(&bench.events()).is_empty());
    bench.echo(&[&holder]);
    assert_eq!(found(&bench.events()), [(Claim::Stated, holder.store())]);
}

#[test]
fn an_echo_with_another_number_or_from_elsewhere_proves_nothing() {
    let mut bench = Bench::new();
    bench.find("it", SECOND);
    let asked = questions(&mut bench);
    let holder = Other::at(1);
    bench.hear(&holder, answer(asked[0].nonce, "it"));
    let said = bench.said();
    let Body::Echo(echo) = said[0].datagram.body else {
        panic!("{said:?}")
    };
    let reply = |nonce| Body::Echo(zeroshare_wire::datagram::Echo { nonce, reply: true });
    let guessed = holder.bytes(reply(echo.nonce ^ 1));
    bench.hear_bytes(holder.source, Road::Unicast, &guessed);
    let elsewhere = Other::at(2).source;
    let stolen = holder.bytes(reply(echo.nonce));
    bench.hear_bytes(elsewhere, Road::Unicast, &stolen);
    assert!(found(&bench.events()).is_empty());
    assert_eq!(bench.drops("unsolicited"), 2);
}

#[test]
fn a_filter_answers_first_and_the_question_comes_later() {
    let mut bench = Bench::new();
    // One that says nothing of what it holds.
    bench.meet(&Other::at(2));
    let holder = Other::at(1);
    bench.hear(&holder, alive_with("it"));
    bench.echo(&[&holder]);
    bench.pass(SECOND);
    bench.said();
    bench.events();
    bench.find("it", SECOND);
    assert_eq!(found(&bench.events()), [(Claim::Probable, holder.store())]);
    assert!(bench.said().is_empty(), "not a datagram");
    bench.pass(Duration::from_millis(300));
    let asked = questions(&mut bench);
    assert_eq!(asked.len(), 1);
    bench.hear(&holder, answer(asked[0].nonce, "it"));
    assert_eq!(found(&bench.events()), [(Claim::Stated, holder.store())]);
}

#[test]
fn where_all_filters_are_known_and_one_names_it_nobody_is_asked() {
    let mut bench = Bench::new();
    for (last, name) in [(1, "it"), (2, "other")] {
        let other = Other::at(last);
        bench.hear(&other, alive_with(name));
        bench.echo(&[&other]);
    }
    bench.pass(SECOND);
    bench.said();
    bench.find("it", 5 * SECOND);
    bench.pass(4 * SECOND);
    assert!(questions(&mut bench).is_empty());
}

#[test]
fn without_an_answer_it_asks_again_soon_and_in_rounds_only_later_then_ends() {
    let mut bench = Bench::new();
    bench.find("it", SECOND);
    bench.pass(Duration::from_millis(160));
    let early = questions(&mut bench);
    assert!((4..=6).contains(&early.len()), "{}", early.len());
    assert!(
        early.iter().all(|query| query.round == 0),
        "it may have been lost"
    );
    let mut nonces: Vec<u64> = early.iter().map(|query| query.nonce).collect();
    nonces.dedup();
    assert_eq!(
        nonces.len(),
        early.len(),
        "each question has a number of its own"
    );
    bench.pass(SECOND);
    let late = questions(&mut bench);
    assert!(late.len() <= 10, "the pauses grow");
    let last = late.last().unwrap().round;
    assert!(last > 0, "those who can answer may be silenced by lies");
    assert!(matches!(bench.events().as_slice(), [Event::LookupEnded(_)]));
    bench.pass(10 * SECOND);
    assert!(questions(&mut bench).is_empty());
}

#[test]
fn a_machine_that_was_kept_from_running_does_not_take_that_for_silence() {
    let mut bench = Bench::new();
    let holder = Other::at(1);
    bench.meet(&holder);
    bench.find("it", SECOND);
    let asked = questions(&mut bench);
    bench.events();
    // Others had the processor; the answer waits in the socket.
    bench.now += 3 * SECOND;
    bench.machine.handle_timeout(bench.now);
    assert!(bench.events().is_empty(), "it did not look for a second");
    assert!(!questions(&mut bench).is_empty(), "the answer may be lost");
    bench.hear(&holder, answer(asked[0].nonce, "it"));
    assert_eq!(found(&bench.events()), [(Claim::Stated, holder.store())]);
    bench.pass(SECOND);
    assert!(matches!(bench.events().as_slice(), [Event::LookupEnded(_)]));
}

#[test]
fn a_machine_that_hardly_ever_runs_gives_up_all_the_same() {
    let mut bench = Bench::new();
    bench.find("it", SECOND);
    let mut turns = 0;
    while bench.events().is_empty() {
        turns += 1;
        assert!(turns < 9, "it has to end");
        bench.now += 3 * SECOND;
        bench.machine.handle_timeout(bench.now);
    }
}

#[test]
fn answers_of_which_none_is_usable_bring_rounds_at_once() {
    let mut bench = Bench::new();
    bench.find("it", SECOND);
    let first = questions(&mut bench);
    bench.hear(&Other::at(1), answer(first[0].nonce, "it"));
    bench.pass(Duration::from_millis(160));
    let rounds: Vec<u8> = questions(&mut bench)
        .iter()
        .map(|query| query.round)
        .collect();
    assert_eq!(rounds[..3], [0, 1, 2], "one was planned before");
}

#[test]
fn what_begins_together_is_asked_in_one_question_and_found_apart() {
    let mut bench = Bench::new();
    let holder = Other::at(1);
    bench.meet(&holder);
    let names = ["a", "b", "c"].map(|name| [content(name)]);
    let search = |contents| Search {
        contents,
        wait: SECOND,
        trace: None,
        enough: None,
        explained: false,
        askers: false,
    };
    let searches: Vec<_> = names.iter().map(|name| search(&name[..])).collect();
    let ids = bench.machine.search_all(bench.now, &searches);
    let asked = questions(&mut bench);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].tags.len(), 3);
    bench.hear(&holder, answer(asked[0].nonce, "b"));
    let found = bench.events().into_iter().find_map(|event| match event {
        Event::Found(lookup, provider) => Some((lookup, provider.content)),
        Event::PeerUp(_)
        | Event::PeerDown(_)
        | Event::LookupEnded(_)
        | Event::Step(..)
        | Event::Probe(_)
        | Event::Asked(_)
        | Event::Checked(_) => None,
    });
    assert_eq!(found, Some((ids[1].unwrap(), content("b"))));
    bench.pass(Duration::from_millis(60));
    let again = questions(&mut bench);
    let lens: Vec<usize> = again.iter().map(|query| query.tags.len()).collect();
    assert!(
        !lens.is_empty() && lens.iter().all(|len| *len <= 2),
        "{lens:?}"
    );
    let many: Vec<_> = (0..20)
        .map(|number| [content(&number.to_string())])
        .collect();
    let searches: Vec<_> = many.iter().map(|name| search(&name[..])).collect();
    bench.machine.search_all(bench.now, &searches);
    let lens: Vec<usize> = questions(&mut bench)
        .iter()
        .map(|query| query.tags.len())
        .collect();
    assert_eq!(lens, [16, 4]);
}

#[test]
fn after_an_answer_it_asks_once_more_and_excuses_who_answered() {
    let mut bench = Bench::new();
    let holder = Other::at(1);
    bench.meet(&holder);
    bench.meet(&Other::at(2));
    bench.find("it", 5 * SECOND);
    let first = questions(&mut bench);
    bench.hear(&holder, answer(first[0].nonce, "it"));
    bench.pass(4 * SECOND);
    let later = questions(&mut bench);
    assert_eq!(later.len(), 1);
    assert_eq!(*later[0].exclude, [holder.node().first_half()]);
    assert_eq!(later[0].round, 0);
}

#[test]
fn whoever_wants_many_asks_at_once_although_it_knows_some_and_until_it_has_them() {
    let mut bench = Bench::new();
    for last in 1..=4 {
        let other = Other::at(last);
        bench.hear(&other, alive_with("it"));
        bench.echo(&[&other]);
    }
    bench.pass(SECOND);
    bench.said();
    let mut ask = |enough| {
        let search = Search {
            contents: &[content("it")],
            wait: SECOND,
            trace: None,
            enough,
            explained: false,
            askers: false,
        };
        let lookup = bench.machine.search(bench.now, &search).unwrap();
        let asked = questions(&mut bench).len();
        bench.machine.cancel(lookup);
        asked
    };
    assert_eq!(ask(None), 0, "four are known, and three are enough");
    assert_eq!(ask(Some(4)), 0);
    assert_eq!(ask(Some(24)), 1);
    let search = Search {
        contents: &[content("it")],
        wait: SECOND,
        trace: None,
        enough: Some(24),
        explained: false,
        askers: false,
    };
    bench.machine.search(bench.now, &search).unwrap();
    let asked = questions(&mut bench);
    assert_eq!(
        asked[0].enough, 8,
        "nobody is asked for more answers at once"
    );
}

#[test]
fn while_only_members_are_found_it_goes_on_asking_and_excuses_them() {
    let mut bench = Bench::new();
    let member = Other::at(1);
    bench.meet(&member);
    bench.find("it", 5 * SECOND);
    let asked = questions(&mut bench);
    let said = |part, state| {
        Body::Answer(Answer {
            nonce: asked[0].nonce,
            day: Day::from_number(DAY),
            holdings: AtMost::first([Holding {
                tag: tag("it"),
                part,
                state,
            }]),
            held_back: None,
        })
    };
    bench.hear(&member, said(0, HoldingState::Member));
    assert_eq!(found(&bench.events()).len(), 1);
    bench.pass(SECOND);
    let further = questions(&mut bench);
    assert!(further.len() >= 5, "{}", further.len());
    assert_eq!(further[0].exclude.len(), 1);
    bench.hear(&member, said(0, HoldingState::Member));
    assert!(found(&bench.events()).is_empty(), "no news");
    bench.hear(&member, said(9, HoldingState::Held));
    assert_eq!(found(&bench.events()).len(), 1, "now it has something");
}

#[test]
fn whoever_is_getting_it_says_so_and_how_much_of_it_is_there() {
    let mut bench = Bench::new();
    let asker = Other::at(1);
    let states = [
        (0, HoldingState::OnItsWay),
        (0, HoldingState::Member),
        (17, HoldingState::Member),
    ];
    for (nonce, (part, state)) in (1..).zip(states) {
        bench
            .machine
            .handle_arriving(bench.now, content("it"), part, state);
        bench.pass(15 * SECOND);
        bench.said();
        let bytes = asker.bytes(Body::Query(query(nonce, "it")));
        bench.hear_bytes(asker.source, Road::Unicast, &bytes);
        let said = bench.said();
        let Body::Answer(answer) = &said[0].datagram.body else {
            panic!("{said:?}")
        };
        assert_eq!(
            (answer.holdings[0].part, answer.holdings[0].state),
            (part, state)
        );
    }
}

#[test]
fn a_cancelled_lookup_is_silent() {
    let mut bench = Bench::new();
    let lookup = bench.find("it", SECOND);
    bench.said();
    bench.machine.cancel(lookup);
    bench.pass(2 * SECOND);
    assert!(questions(&mut bench).is_empty() && bench.events().is_empty());
}

#[test]
fn a_question_carries_the_trace_and_is_long_enough_for_its_answer() {
    let mut bench = Bench::new();
    let trace = TraceContext::new([1; 16], [2; 8], 1).unwrap();
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, Some(trace))
        .unwrap();
    let said = bench.said();
    assert!(
        said.iter()
            .all(|said| said.datagram.trace == Some(trace) && said.len >= 448)
    );
}

#[test]
fn lookups_are_bounded() {
    let mut bench = Bench::new();
    let find = |bench: &mut Bench| {
        bench
            .machine
            .find(bench.now, &[content("it")], SECOND, None)
    };
    for _ in 0..256 {
        assert!(find(&mut bench).is_some());
    }
    assert!(find(&mut bench).is_none());
    bench.pass(2 * SECOND);
    assert!(find(&mut bench).is_some());
}

#[test]
fn its_own_words_are_its_own() {
    let mut bench = Bench::new();
    bench.find("it", SECOND);
    let transmit = bench.machine.poll_transmit().unwrap();
    decode(&transmit.payload, &GroupKey::none()).unwrap();
    bench.hear_bytes(
        "10.0.0.200:38339".parse().unwrap(),
        Road::Multicast4,
        &transmit.payload,
    );
    assert_eq!(bench.drops("own"), 1);
    bench.hear(&Other::at(1), alive());
    assert_eq!(bench.machine.live_peers(), 1);
}

#[test]
fn the_names_in_an_answer_are_those_of_its_day() {
    use zeroshare_wire::datagram::Answer;
    for (day, expected) in [(DAY, 1), (DAY + 1, 0), (DAY + 2, 0)] {
        let mut bench = Bench::new();
        let holder = Other::at(1);
        bench.meet(&holder);
        bench.find("it", SECOND);
        let asked = questions(&mut bench);
        let Body::Answer(said) = answer(asked[0].nonce, "it") else {
            panic!("an answer")
        };
        let day = Day::from_number(day);
        bench.hear(&holder, Body::Answer(Answer { day, ..said }));
        assert_eq!(found(&bench.events()).len(), expected, "{day:?}");
    }
}
