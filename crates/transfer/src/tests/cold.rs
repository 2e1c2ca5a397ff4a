//! Many machines, one upstream, virtual time.

mod world;

use std::time::Duration;

use proptest::prelude::*;

use self::world::{Nature, Plan, run};
use crate::cold::*;

fn plan(pieces: u32, natures: &[Nature], origin: Origin) -> Plan {
    Plan {
        pieces,
        nodes: natures.iter().map(|nature| (0, *nature)).collect(),
        origin,
        discovery: 50,
    }
}

const H: Nature = Nature::Honest;

#[test]
fn one_alone_reads_all_of_it_once() {
    let outcome = run(plan(200, &[H], Origin::Ranges));
    assert_eq!(outcome.percent, 100);
    assert!(outcome.took < Duration::from_secs(3), "{:?}", outcome.took);
}

#[test]
fn sixteen_that_start_together_read_it_once_and_as_fast_as_upstream_sends() {
    let outcome = run(plan(1024, &[H; 16], Origin::Ranges));
    assert!(outcome.percent <= 102, "{}", outcome.percent);
    assert!(outcome.dropped.is_empty());
    assert!(
        outcome.took < Duration::from_millis(1024 * 10 * 5 / 4),
        "{:?}",
        outcome.took
    );
}

#[test]
fn those_that_come_one_after_the_other_read_little_twice() {
    let mut staggered = plan(512, &[H; 8], Origin::Ranges);
    for (index, (at, _)) in (0_u64..).zip(&mut staggered.nodes) {
        *at = index * 230;
    }
    staggered.discovery = 1000;
    let outcome = run(staggered);
    assert!(outcome.percent <= 105, "{}", outcome.percent);
}

#[test]
fn a_member_that_dies_is_replaced() {
    let natures = [H, H, H, H, Nature::Dies(1500), Nature::Dies(2000)];
    let outcome = run(plan(400, &natures, Origin::Ranges));
    assert!(outcome.percent <= 110, "{}", outcome.percent);
}

#[test]
fn who_claims_all_and_reads_nothing_holds_nobody_up_for_long() {
    for (origin, most) in [(Origin::Ranges, 110), (Origin::Whole, 300)] {
        let outcome = run(plan(200, &[H, H, H, Nature::Hoards], origin));
        assert!(outcome.percent <= most, "{}", outcome.percent);
        assert!(outcome.took < Duration::from_secs(20), "{:?}", outcome.took);
    }
}

#[test]
fn a_server_without_ranges_is_read_by_one() {
    let outcome = run(plan(200, &[H; 5], Origin::Whole));
    assert_eq!(outcome.percent, 100);
}

#[test]
fn who_comes_later_waits_for_who_reads_a_server_without_ranges() {
    let mut staggered = plan(200, &[H; 6], Origin::Whole);
    for (index, (at, _)) in (0_u64..).zip(&mut staggered.nodes) {
        *at = index * 400;
    }
    assert_eq!(run(staggered).percent, 100);
}

#[test]
fn when_the_one_dies_the_next_reads_a_server_without_ranges() {
    for dying in 0..4 {
        let mut natures = [H; 4];
        natures[dying] = Nature::Dies(1200);
        let outcome = run(plan(200, &natures, Origin::Whole));
        assert!(outcome.percent <= 200, "{}", outcome.percent);
    }
}

#[test]
fn a_poisoner_is_found_out_against_upstream() {
    for each in [1, 3, 10] {
        let outcome = run(plan(
            300,
            &[H, H, H, H, H, Nature::Poisons(each)],
            Origin::Ranges,
        ));
        for who in 0..5 {
            let found = outcome.dropped.contains(&(who, 5, ColdDrop::WrongWord));
            assert!(
                found || outcome.dropped.iter().all(|drop| drop.0 != who),
                "{:?}",
                outcome.dropped
            );
        }
        assert!(!outcome.dropped.is_empty());
        assert!(outcome.percent <= 250, "each {each}: {}", outcome.percent);
    }
}

#[test]
fn who_sends_other_bytes_than_it_states_is_dropped_for_that() {
    let outcome = run(plan(300, &[H, H, H, Nature::Contradicts], Origin::Ranges));
    assert!(
        outcome
            .dropped
            .iter()
            .any(|(_, whom, why)| *whom == 3 && *why == ColdDrop::BrokeItsWord)
    );
    assert!(outcome.percent <= 160, "{}", outcome.percent);
}

#[test]
fn who_gives_too_slowly_does_not_keep_upstream_unread() {
    for lies in [false, true] {
        for origin in [Origin::Ranges, Origin::Whole] {
            let outcome = run(plan(200, &[H, H, H, Nature::Trickles { lies }], origin));
            assert!(outcome.percent <= 400, "{}", outcome.percent);
            assert!(outcome.took < Duration::from_secs(40), "{:?}", outcome.took);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// With at least one honest node everybody honest ends with the right bytes, nobody honest is blamed, and upstream sends
    /// the content a small number of times.
    #[test]
    fn every_schedule_ends_in_success(
        pieces in 1_u32..100,
        honest in proptest::collection::vec(0_u64..3000, 1..6),
        others in proptest::collection::vec((0_u64..3000, nature()), 0..4),
        is_whole in any::<bool>(),
        discovery in 0_u64..1500,
    ) {
        let nodes: Vec<(u64, Nature)> = honest.iter().map(|at| (*at, H)).chain(others.iter().copied()).collect();
        let (count, liars) = (nodes.len(), others.len());
        let origin = if is_whole { Origin::Whole } else { Origin::Ranges };
        let outcome = run(Plan { pieces, nodes, origin, discovery });
        // Each liar may cost a round, and who is alone with liars reads all itself.
        let shared = if is_whole { count * (1 + liars) } else { 2 + 2 * liars + count.min(liars * count) };
        let most = 100 * shared as u64;
        prop_assert!(outcome.percent <= most, "{} of {most}", outcome.percent);
    }
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        (0_u64..4000).prop_map(Nature::Dies),
        Just(Nature::Hoards),
        any::<bool>().prop_map(|lies| Nature::Trickles { lies }),
        (1_u32..30).prop_map(Nature::Poisons),
        Just(Nature::Contradicts),
        Just(Nature::SpoilsRelayed),
    ]
}
