//! How it looks for something.

use std::time::Duration;

use zeroshare_membership::{Claim, Destination, Event, Mercy, Report, Road, Search, Verdict};
use zeroshare_wire::{
    AtMost,
    datagram::{Answer, Body, Day, GroupKey, Holding, HoldingState, Query, TraceContext, decode},
};

use crate::bench::{Bench, DAY, Other, SECOND, alive, alive_with, answer, content, query, tag};

/// The questions that it asked everybody by the first road.
fn questions(bench: &mut Bench) -> Vec<Query> {
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
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], 5 * SECOND, None)
        .unwrap();
    bench.pass(4 * SECOND);
    assert!(questions(&mut bench).is_empty());
}

#[test]
fn without_an_answer_it_asks_again_soon_and_in_rounds_only_later_then_ends() {
    let mut bench = Bench::new();
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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

/// How long the next lookup stays open.
fn patience(bench: &mut Bench) -> Duration {
    bench.events();
    let start = bench.now;
    let lookup = bench
        .machine
        .find(bench.now, &[content("it")], 2 * SECOND, None);
    assert!(lookup.is_some());
    while !bench
        .events()
        .iter()
        .any(|event| matches!(event, Event::LookupEnded(_)))
    {
        bench.pass(Duration::from_millis(10));
    }
    bench.now - start
}

#[test]
fn nobody_is_remembered_for_seconds() {
    let mut bench = Bench::new();
    assert!(patience(&mut bench) >= 2 * SECOND);
    assert!(patience(&mut bench) <= SECOND / 4, "a short look is enough");
    bench.pass(4 * SECOND);
    assert!(patience(&mut bench) >= 2 * SECOND);
}

/// The first neighbour, with its next beacon.
fn next_beacon() -> Other {
    Other {
        sequence: 2,
        ..Other::at(1)
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
        bench
            .machine
            .find(bench.now, &[content("it")], wait, None)
            .unwrap();
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

#[test]
fn after_an_answer_it_asks_once_more_and_excuses_who_answered() {
    let mut bench = Bench::new();
    let holder = Other::at(1);
    bench.meet(&holder);
    bench.meet(&Other::at(2));
    bench
        .machine
        .find(bench.now, &[content("it")], 5 * SECOND, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], 5 * SECOND, None)
        .unwrap();
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
        bench
            .machine
            .find(bench.now, &[content(name)], wait, None)
            .unwrap();
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
        let looked = bench.machine.find(bench.now, &[content("it")], wait, None);
        looked.unwrap();
        let told = found(&bench.events()).len();
        assert_eq!(told, usize::from(!proven), "proven: {proven}");
        let mercy = Mercy::Node(liar.node());
        bench.machine.forgive(bench.now, mercy);
        let peers = bench.machine.peers(bench.now);
        assert!(peers.iter().all(|peer| peer.ban.is_none()), "{peers:?}");
    }
}

#[test]
fn a_cancelled_lookup_is_silent() {
    let mut bench = Bench::new();
    let lookup = bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], Duration::ZERO, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], 5 * SECOND, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], Duration::ZERO, None)
        .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
    let asked = questions(&mut bench);
    bench.hear(&after, answer(asked[0].nonce, "it"));
    assert!(found(&bench.events()).is_empty());
    bench.echo(&[&after]);
    assert_eq!(found(&bench.events()), [(Claim::Stated, after.store())]);
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
fn static_peers_are_asked_by_unicast_and_whom_they_know_is_sought() {
    let mut bench = Bench::new();
    let far = Other {
        source: "203.0.113.5:4000".parse().unwrap(),
        ..Other::at(5)
    };
    bench.machine.handle_static_peers(bench.now, &[far.source]);
    let rest = bench.echo(&[&far]);
    assert!(rest.is_empty(), "{rest:?}");
    let said = bench.said();
    let request = said.iter().find_map(|said| {
        let Body::PeersRequest(request) = &said.datagram.body else {
            return None;
        };
        Some((request.nonce, said.to, said.len))
    });
    let (nonce, to, len) = request.expect("whom does it know?");
    assert_eq!((to, len), (Destination::One(far.source), 1_200));
    let address = |text: &str, seed| zeroshare_wire::datagram::NodeAddress {
        node: Other::at(seed).node(),
        address: text.parse().unwrap(),
        unicast_port: 7,
        store_port: 8,
    };
    let peers = zeroshare_wire::datagram::Peers {
        nonce,
        nodes: AtMost::first([address("192.168.7.9", 6), address("198.51.100.1", 7)]),
        more: false,
    };
    bench.hear_bytes(far.source, Road::Unicast, &far.bytes(Body::Peers(peers)));
    bench.pass(Duration::from_millis(10));
    let said = bench.said().into_iter();
    let echoes = said.filter(|said| matches!(said.datagram.body, Body::Echo(_)));
    let sought: Vec<_> = echoes.map(|said| said.to).collect();
    let allowed = Destination::One("192.168.7.9:7".parse().unwrap());
    assert_eq!(sought, [allowed], "allowed networks only");
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
    let asked = bench.said();
    assert!(
        asked
            .iter()
            .any(|said| said.to == Destination::One(far.source))
    );
}

#[test]
fn pages_of_peers_are_no_longer_than_their_question() {
    let mut bench = Bench::new();
    for last in 1..=40 {
        bench.meet(&Other::at(last));
    }
    let asker = Other::at(99);
    let mut after = None;
    let mut seen = 0;
    loop {
        let request = zeroshare_wire::datagram::PeersRequest { nonce: 5, after };
        let question = asker.bytes(Body::PeersRequest(request));
        bench.hear_bytes(asker.source, Road::Unicast, &question);
        let said = bench.said();
        assert!(said[0].len <= question.len());
        let Body::Peers(page) = &said[0].datagram.body else {
            panic!("{said:?}")
        };
        seen += page.nodes.len();
        after = page.nodes.last().map(|node| node.node);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, 40);
}

#[test]
fn a_page_that_nobody_asked_for_is_dropped() {
    let mut bench = Bench::new();
    let peers = zeroshare_wire::datagram::Peers {
        nonce: 5,
        nodes: AtMost::default(),
        more: true,
    };
    bench.hear(&Other::at(1), Body::Peers(peers));
    assert_eq!(bench.drops("unsolicited"), 1);
    assert!(bench.said().is_empty());
}

#[test]
fn its_own_words_are_its_own() {
    let mut bench = Bench::new();
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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
        bench
            .machine
            .find(bench.now, &[content("it")], SECOND, None)
            .unwrap();
        let asked = questions(&mut bench);
        let Body::Answer(said) = answer(asked[0].nonce, "it") else {
            panic!("an answer")
        };
        let day = Day::from_number(day);
        bench.hear(&holder, Body::Answer(Answer { day, ..said }));
        assert_eq!(found(&bench.events()).len(), expected, "{day:?}");
    }
}

#[test]
fn answers_that_holders_hold_back_do_not_stretch_the_time_for_answers() {
    let others: Vec<Other> = (1..=40).map(Other::at).collect();
    let mut bench = Bench::new();
    for other in &others {
        bench.meet(other);
    }
    let mut spreads = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        bench
            .machine
            .find(bench.now, &[content(name)], SECOND, None)
            .unwrap();
        let asked = questions(&mut bench);
        spreads.push(asked[0].spread);
        bench.pass(Duration::from_millis(250));
        bench.hear(&others[0], answer(asked[0].nonce, name));
        bench.pass_echoing(2 * SECOND, &[]);
    }
    assert_eq!(spreads, [Duration::from_millis(20); 5]);
}

#[test]
fn whoever_is_asked_alone_is_asked_first() {
    let mut bench = Bench::new();
    let peer = Other::at(1);
    bench.machine.handle_static_peers(bench.now, &[peer.source]);
    bench.meet(&peer);
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
    let asked = bench.said();
    assert_eq!(asked[0].to, Destination::One(peer.source));
    assert!(asked.len() > 1);
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
            bench
                .machine
                .find(bench.now, &[content(name)], SECOND, None)
                .unwrap();
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
    bench
        .machine
        .find(bench.now, &[content("it")], SECOND, None)
        .unwrap();
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
        bench
            .machine
            .find(bench.now, &[content("it")], 5 * SECOND, None)
            .unwrap();
        let first = questions(&mut bench);
        assert_eq!(first[0].spread, Duration::from_millis(spread_ms));
        bench.pass(Duration::from_millis(least_ms - 1));
        assert_eq!(questions(&mut bench).len(), 0, "{echo_ms} ms: too soon");
        bench.pass(Duration::from_millis(most_ms - least_ms + 2));
        assert_eq!(questions(&mut bench).len(), 1, "{echo_ms} ms");
    }
}
