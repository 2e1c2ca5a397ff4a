//! How it tells why it found somebody, or nobody.

use std::time::Duration;

use zeroshare_membership::{
    Claim, Destination, Ending, Event, LookupId, Reason, Refusal, Report, Road, Search, Step,
    Unasked, Verdict,
};
use zeroshare_wire::datagram::{Alive, Bloom, Body, Day, FilterPart, GroupKey, encode};

use crate::bench::{Bench, DAY, LAN, Other, SECOND, alive, answer, content, tag};

fn explain(bench: &mut Bench, name: &str) -> LookupId {
    let search = Search {
        contents: &[content(name)],
        wait: SECOND,
        trace: None,
        enough: None,
        explained: true,
        askers: false,
    };
    bench
        .machine
        .search(bench.now, &search)
        .expect("there is room")
}

fn steps(bench: &mut Bench) -> Vec<Step> {
    let told = bench.events().into_iter().filter_map(|event| match event {
        Event::Step(_, told) => Some(told.step),
        Event::Found(..)
        | Event::PeerUp(_)
        | Event::PeerDown(_)
        | Event::LookupEnded(_)
        | Event::Probe(_)
        | Event::Asked(_)
        | Event::Checked(_) => None,
    });
    told.collect()
}

fn ending(steps: &[Step]) -> Ending {
    let last = steps.last().and_then(|step| {
        let Step::Ended(ending) = step else {
            return None;
        };
        Some((**ending).clone())
    });
    last.expect("it has ended")
}

/// The nonce of the last question.
fn nonce(bench: &mut Bench) -> u64 {
    let said = bench.said().into_iter().rev();
    let mut nonces = said.filter_map(|said| {
        let Body::Query(query) = said.datagram.body else {
            return None;
        };
        Some(query.nonce)
    });
    nonces.next().expect("a question")
}

/// What it says to everybody comes back to it, as on a network that carries multicast.
fn hear_itself(bench: &mut Bench) {
    while let Some(transmit) = bench.machine.poll_transmit() {
        if let Destination::Everybody { road, .. } = transmit.destination {
            let own = "10.0.0.200:38339".parse().expect("an address");
            bench.hear_bytes(own, road, &transmit.payload);
        }
    }
}

fn alive_with(name: &str) -> Body {
    Body::Alive(Alive {
        ttl: Duration::from_mins(4),
        known_nodes: 1,
        filter: Some(FilterPart {
            day: Day::from_number(DAY),
            index: 0,
            count: 1,
            bloom: Bloom::summaries([tag(name)]).remove(0),
        }),
    })
}

#[test]
fn who_answers_and_echoes_is_told_step_by_step() {
    let mut bench = Bench::new();
    explain(&mut bench, "it");
    let nonce = nonce(&mut bench);
    bench.pass(Duration::from_millis(7));
    let holder = Other::at(1);
    bench.hear(&holder, answer(nonce, "it"));
    bench.pass(Duration::from_millis(3));
    bench.echo(&[&holder]);
    let steps = steps(&mut bench);
    let asked: Vec<Destination> = steps.iter().filter_map(destination).collect();
    let on = |road| Destination::Everybody {
        interface: LAN,
        road,
    };
    assert_eq!(asked, [on(Road::Multicast4), on(Road::Broadcast)]);
    let [Step::Began(beginning), .., answered, asked, echoed] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    assert_eq!((beginning.peers, beginning.interfaces), (0, 1));
    assert_eq!((beginning.roads, beginning.wait), (2, SECOND));
    let Step::Answered {
        node, road, part, ..
    } = answered
    else {
        panic!("{answered:?}")
    };
    assert_eq!(
        (*node, *road, *part),
        (holder.node(), Road::Multicast4, 255)
    );
    assert!(matches!(asked, Step::EchoAsked { node, .. } if *node == holder.node()));
    let Step::Echoed { took, .. } = echoed else {
        panic!("{echoed:?}")
    };
    assert_eq!(*took, Duration::from_millis(3));
}

fn destination(step: &Step) -> Option<Destination> {
    let Step::Asked { destination, .. } = step else {
        return None;
    };
    Some(*destination)
}

#[test]
fn a_filter_that_matches_is_told_and_why_nobody_is_asked() {
    let mut bench = Bench::new();
    let holder = Other::at(1);
    bench.hear(&holder, alive_with("it"));
    bench.echo(&[&holder]);
    bench.pass(SECOND);
    bench.said();
    bench.events();
    explain(&mut bench, "it");
    let steps = steps(&mut bench);
    let [Step::Began(beginning), on_record, not_asked] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    assert_eq!((beginning.peers, beginning.summed_up), (1, 1));
    let expected = Step::OnRecord {
        node: holder.node(),
        store: holder.store(),
        claim: Claim::Probable,
    };
    assert_eq!(*on_record, expected);
    assert_eq!(*not_asked, Step::NotAsked(Unasked::SummariesTellAll));
}

#[test]
fn peers_that_have_it_not_are_counted_and_nobody_is_remembered() {
    let mut bench = Bench::new();
    bench.meet(&Other::at(1));
    explain(&mut bench, "it");
    hear_itself(&mut bench);
    bench.pass(2 * SECOND);
    let told = ending(&steps(&mut bench));
    assert_eq!(told.reasons, [Reason::NoneHolds { peers: 1 }]);
    assert!(told.asked > 0 && told.heard_own > 0, "{told:?}");
    explain(&mut bench, "it");
    let Some(Step::Began(beginning)) = steps(&mut bench).into_iter().next() else {
        panic!("no beginning")
    };
    let since = beginning.absent_since.unwrap();
    assert_eq!(since, SECOND, "the first ended a second ago");
    assert!(beginning.wait < SECOND);
}

#[test]
fn a_network_that_brings_nothing_back_is_told_apart_from_an_empty_one() {
    for (comes_back, reasons) in [
        (true, vec![Reason::NobodyHeard]),
        (false, vec![Reason::OwnUnheard, Reason::NobodyHeard]),
    ] {
        let mut bench = Bench::new();
        explain(&mut bench, "it");
        if comes_back {
            hear_itself(&mut bench);
        }
        bench.pass(2 * SECOND);
        assert_eq!(ending(&steps(&mut bench)).reasons, reasons);
    }
}

#[test]
fn without_an_interface_that_is_the_reason() {
    let mut bench = Bench::fresh(zeroshare_membership::Presence::Announced);
    explain(&mut bench, "it");
    bench.pass(2 * SECOND);
    let reasons = ending(&steps(&mut bench)).reasons;
    assert_eq!(reasons[0], Reason::NoInterface);
}

#[test]
fn what_the_system_refuses_to_send_is_told() {
    let mut bench = Bench::new();
    explain(&mut bench, "it");
    while let Some(transmit) = bench.machine.poll_transmit() {
        bench.machine.handle_unsent(bench.now, transmit.destination);
    }
    for _ in 0..50 {
        bench.pass(Duration::from_millis(20));
        while let Some(transmit) = bench.machine.poll_transmit() {
            bench.machine.handle_unsent(bench.now, transmit.destination);
        }
    }
    let told = ending(&steps(&mut bench));
    assert_eq!(told.unsent, told.asked);
    assert_eq!(told.reasons[0], Reason::NothingSent);
}

#[test]
fn who_claims_it_and_does_not_echo_is_silent_and_who_is_banned_is_passed_over() {
    let mut bench = Bench::new();
    let banned = Other::at(1);
    bench.meet(&banned);
    let report = Report {
        address: banned.store(),
        node: None,
        content: Some(content("it")),
        verdict: Verdict::Convicted,
    };
    bench.machine.handle_report(bench.now, &report);
    bench.events();
    explain(&mut bench, "it");
    let nonce = nonce(&mut bench);
    bench.hear(&banned, answer(nonce, "it"));
    bench.hear(&banned, answer(nonce, "it"));
    bench.hear(&Other::at(2), answer(nonce, "it"));
    bench.pass(4 * SECOND);
    let steps = steps(&mut bench);
    let passed_over = steps.iter().filter_map(|step| {
        let Step::PassedOver { node, refusal, .. } = step else {
            return None;
        };
        Some((*node, *refusal))
    });
    let expected = [(banned.node(), Refusal::Banned)];
    assert_eq!(passed_over.collect::<Vec<_>>(), expected, "once");
    let told = ending(&steps);
    assert!(told.reasons.contains(&Reason::PassedOver { claimants: 1 }));
    assert!(
        told.reasons.contains(&Reason::Silent { claimants: 1 }),
        "{told:?}"
    );
}

#[test]
fn datagrams_of_another_group_are_a_reason() {
    let mut bench = Bench::new();
    explain(&mut bench, "it");
    let stranger = Other::at(1);
    let datagram = stranger.datagram(alive());
    let bytes = encode(&datagram, &GroupKey::from_keys([7; 32], [7; 32]), None);
    bench.hear_bytes(stranger.source, Road::Multicast4, &bytes);
    bench.pass(2 * SECOND);
    let reasons = ending(&steps(&mut bench)).reasons;
    assert!(
        reasons.contains(&Reason::OtherGroup { datagrams: 1 }),
        "{reasons:?}"
    );
}

#[test]
fn a_story_is_bounded_and_so_is_their_number() {
    let mut bench = Bench::new();
    for number in 0..8 {
        explain(&mut bench, &number.to_string());
    }
    let search = Search {
        contents: &[content("one more")],
        wait: SECOND,
        trace: None,
        enough: None,
        explained: true,
        askers: false,
    };
    assert_eq!(bench.machine.search(bench.now, &search), None);
    let nonce = nonce(&mut bench);
    bench.events();
    for number in 0..2_000_u16 {
        let last = u8::try_from(number % 200 + 1).unwrap();
        bench.hear(&Other::at(last), answer(nonce, "7"));
    }
    bench.pass(2 * SECOND);
    let of_first = steps(&mut bench);
    let endings = of_first.iter().filter_map(|step| {
        let Step::Ended(ending) = step else {
            return None;
        };
        Some(ending)
    });
    let untold: Vec<u32> = endings.map(|ending| ending.untold).collect();
    assert_eq!(untold.len(), 8, "each end is told");
    assert!(untold.iter().any(|untold| *untold > 1_000), "{untold:?}");
    assert!(of_first.len() < 8 * 257, "{}", of_first.len());
}
