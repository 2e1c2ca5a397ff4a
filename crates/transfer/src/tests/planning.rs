//! Single decisions, one by one.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::start;
use crate::{
    Call, CallEnd, DropReason, Event, Holding, Part, Settings, Span, Standing, Transfer, Unit,
    UnitOutcome, WrittenBefore, spans,
};

pub(super) const PIECE: u64 = 1024 * 1024;

#[test]
fn a_sole_provider_is_asked_for_everything_at_once() {
    let mut transfer = Transfer::new(runs(100), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    let sizes: Vec<usize> = calls(&mut transfer)
        .iter()
        .map(|call| call.units.len())
        .collect();
    assert_eq!(
        sizes,
        [1, 1],
        "first little, until it is known how fast it is"
    );
    let mut transfer = Transfer::new(runs(15), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    assert_eq!(
        calls(&mut transfer)[0].units.len(),
        15,
        "little is asked for at once"
    );
}

#[test]
fn several_providers_get_at_most_sixteen_pieces_in_a_call() {
    let mut now = start();
    let mut transfer = Transfer::new(runs(2000), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    transfer.add_provider(Holding::Complete);
    let first = calls(&mut transfer);
    let sizes: Vec<usize> = first.iter().map(|call| call.units.len()).collect();
    assert_eq!(sizes, [1; 4], "how fast they are is not known yet");
    for call in first {
        now += Duration::from_millis(1);
        give(&mut transfer, now, &call);
    }
    let sizes: Vec<usize> = calls(&mut transfer)
        .iter()
        .map(|call| call.units.len())
        .collect();
    assert_eq!(sizes, [16; 4]);
}

#[test]
fn a_call_is_as_large_as_what_its_provider_gives_in_a_while() {
    let mut now = start();
    let mut transfer = Transfer::new(runs(200), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    let first = transfer.poll_call(now).unwrap();
    now += Duration::from_millis(50);
    give(&mut transfer, now, &first);
    // 20 MiB a second, of which a call has half of 300 ms.
    let sizes: Vec<usize> = calls(&mut transfer)
        .iter()
        .map(|call| call.units.len())
        .collect();
    assert_eq!(sizes, [3, 3]);
}

#[test]
fn the_rarest_are_asked_for_first_and_what_is_coming_counts() {
    let settings = Settings {
        call_units: 1,
        ..Settings::default()
    };
    let mut transfer = Transfer::new(runs(6), settings, 1);
    let ranges = |pieces: Range<u32>| vec![pieces];
    let part = |pieces| Holding::Partial(vec![pieces]);
    let first = transfer.add_provider(part(0..6));
    let second = transfer.add_provider(part(0..5));
    transfer.handle_claim(second, &ranges(5..6));
    transfer.handle_claim(first, &ranges(5..6));
    transfer.drop_provider(second, DropReason::TooSlow);
    let third = transfer.add_provider(part(0..4));
    transfer.handle_claim(third, &ranges(4..5));
    let open = calls(&mut transfer);
    assert_eq!(pieces(&transfer, &open)[0], 5);
    assert!(!transfer.is_rarest(open[0].units[0]));
}

#[test]
fn much_is_begun_anywhere_and_little_at_its_beginning() {
    let first_piece = |count, seed| {
        let mut transfer = Transfer::new(runs(count), Settings::default(), seed);
        transfer.add_provider(Holding::Complete);
        let open = calls(&mut transfer);
        pieces(&transfer, &open)[0]
    };
    assert!((0..9).all(|seed| first_piece(15, seed) == 0));
    let first: std::collections::BTreeSet<u32> =
        (0..9).map(|seed| first_piece(100, seed)).collect();
    assert!(first.len() > 5, "{first:?}");
}

#[test]
fn a_late_piece_is_asked_of_a_second_provider_and_the_loser_is_hung_up_on() {
    let mut now = start();
    let mut transfer = Transfer::new(runs(12), Settings::default(), 1);
    let slow = transfer.add_provider(Holding::Complete);
    let late = transfer.poll_call(now).unwrap();
    assert_eq!(late.units.len(), 12);
    for unit in &late.units[..10] {
        now += Duration::from_millis(10);
        transfer.handle_unit(now, late.id, *unit, UnitOutcome::Proven);
    }
    let quick = transfer.add_provider(Holding::Complete);
    assert_eq!(transfer.poll_call(now), None, "nothing is late yet");
    let when = transfer.poll_timeout(now).unwrap();
    let hedge = transfer.poll_call(when).unwrap();
    assert_eq!(
        (hedge.provider, &hedge.units[..]),
        (quick, &late.units[11..])
    );
    let second = transfer.poll_call(when).unwrap();
    assert_eq!(second.units, late.units[10..11]);
    assert_eq!(transfer.poll_call(when), None, "of two at most");

    now = when + Duration::from_millis(10);
    give(&mut transfer, now, &hedge);
    assert_eq!(
        transfer.poll_event(),
        None,
        "the slow one has another to bring"
    );
    give(&mut transfer, now, &second);
    assert_eq!(transfer.poll_event(), Some(Event::Cancel { call: late.id }));
    assert_eq!(transfer.standing(now), Standing::Working);
    transfer.handle_call_end(now, late.id, CallEnd::Cancelled);
    assert_eq!(transfer.standing(now), Standing::Done);
    assert_eq!(transfer.live_providers(), 2, "{slow:?} is not to blame");
}

#[test]
fn when_the_second_one_fails_the_first_one_goes_on_alone_and_the_other_way_round() {
    for first_fails in [false, true] {
        let mut now = start();
        let mut transfer = Transfer::new(runs(10), Settings::default(), 1);
        transfer.add_provider(Holding::Complete);
        let late = transfer.poll_call(now).unwrap();
        for unit in &late.units[..9] {
            transfer.handle_unit(now, late.id, *unit, UnitOutcome::Proven);
        }
        transfer.add_provider(Holding::Complete);
        now += Duration::from_secs(1);
        let hedge = transfer.poll_call(now).unwrap();
        let (lost, kept) = if first_fails {
            (&late, &hedge)
        } else {
            (&hedge, &late)
        };
        transfer.handle_call_end(now, lost.id, CallEnd::Lost);
        assert_eq!(transfer.unproven_units(), 1);
        transfer.handle_unit(now, kept.id, late.units[9], UnitOutcome::Proven);
        transfer.handle_call_end(now, kept.id, CallEnd::Finished);
        assert_eq!(transfer.standing(now), Standing::Done);
    }
}

#[test]
fn work_is_left_for_those_who_are_about_to_join() {
    let mut transfer = Transfer::new(runs(14), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    transfer.expect_providers(1);
    let sizes: Vec<usize> = calls(&mut transfer)
        .iter()
        .map(|call| call.units.len())
        .collect();
    assert_eq!(sizes, [4, 3]);
}

#[test]
fn a_provider_is_asked_only_for_what_it_holds() {
    let mut transfer = Transfer::new(runs(10), Settings::default(), 1);
    let partial = transfer.add_provider(Holding::Partial(vec![3..5, 20..30]));
    let open = calls(&mut transfer);
    let mut asked = pieces(&transfer, &open);
    asked.sort_unstable();
    assert_eq!(asked, [3, 4]);
    transfer.handle_holding(partial, Holding::Partial(vec![8..9, 30..31]));
    let open = calls(&mut transfer);
    assert_eq!(pieces(&transfer, &open), [8]);
}

#[test]
fn a_lost_call_frees_only_what_it_did_not_bring() {
    let now = start();
    let mut transfer = Transfer::new(runs(6), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    let call = transfer.poll_call(now).unwrap();
    for unit in &call.units[..4] {
        transfer.handle_unit(now, call.id, *unit, UnitOutcome::Proven);
    }
    transfer.handle_call_end(now, call.id, CallEnd::Lost);
    let second = transfer.add_provider(Holding::Complete);
    let open = calls(&mut transfer);
    assert_eq!(pieces(&transfer, &open), [4, 5]);
    assert!(
        open.iter().all(|call| call.provider == second),
        "the first one rests"
    );
}

#[test]
fn a_busy_provider_is_asked_again_when_it_said_so() {
    let now = start();
    let mut transfer = Transfer::new(runs(1), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    let call = transfer.poll_call(now).unwrap();
    let retry_after = Some(Duration::from_secs(2));
    transfer.handle_call_end(now, call.id, CallEnd::Busy { retry_after });
    assert_eq!(transfer.poll_call(now), None);
    let until = now + Duration::from_secs(2);
    assert_eq!(transfer.standing(now), Standing::Waiting { until });
    assert!(transfer.poll_call(until).is_some());
}

#[test]
fn a_busy_hint_of_an_hour_is_not_obeyed() {
    let now = start();
    let mut transfer = Transfer::new(runs(1), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    let call = transfer.poll_call(now).unwrap();
    let retry_after = Some(Duration::from_hours(1));
    transfer.handle_call_end(now, call.id, CallEnd::Busy { retry_after });
    let until = now + Settings::default().longest_rest;
    assert_eq!(transfer.standing(now), Standing::Waiting { until });
}

#[test]
fn a_provider_that_is_always_lost_is_given_up() {
    let mut now = start();
    let mut transfer = Transfer::new(runs(1), Settings::default(), 1);
    let provider = transfer.add_provider(Holding::Complete);
    for _ in 0..3 {
        let call = transfer.poll_call(now).unwrap();
        transfer.handle_call_end(now, call.id, CallEnd::Lost);
        now += Duration::from_secs(5);
    }
    let reason = DropReason::Unreachable;
    assert_eq!(
        transfer.poll_event(),
        Some(Event::Dropped { provider, reason })
    );
    assert_eq!(transfer.poll_call(now), None);
    assert_eq!(transfer.standing(now), Standing::Starved);
}

#[test]
fn whole_neighbours_become_one_span() {
    let mut units: Vec<Unit> = runs(5).into_iter().map(|(unit, _)| unit).collect();
    units.remove(3);
    let whole = |first, count| Span {
        first,
        count,
        skip: 0,
        limit: 0,
    };
    assert_eq!(spans(&units), [whole(0, 3), whole(4, 1)]);
}

pub(super) fn runs(count: u32) -> Vec<(Unit, WrittenBefore)> {
    (0..count)
        .map(|piece| {
            let part = Part::Items(piece * 2..piece * 2 + 2);
            (
                Unit {
                    piece,
                    offset: 0,
                    len: PIECE,
                    whole: true,
                    part,
                },
                WrittenBefore::No,
            )
        })
        .collect()
}

pub(super) fn slices(count: u32) -> Vec<(Unit, WrittenBefore)> {
    (0..count)
        .map(|piece| {
            let part = Part::Slice {
                item: 0,
                offset: u64::from(piece) * PIECE,
            };
            (
                Unit {
                    piece,
                    offset: 0,
                    len: PIECE,
                    whole: true,
                    part,
                },
                WrittenBefore::No,
            )
        })
        .collect()
}

/// Brings all that a call asks for, and ends it.
pub(super) fn give(transfer: &mut Transfer, now: Instant, call: &Call) {
    for unit in &call.units {
        transfer.handle_unit(now, call.id, *unit, UnitOutcome::Proven);
    }
    transfer.handle_call_end(now, call.id, CallEnd::Finished);
}

pub(super) fn calls(transfer: &mut Transfer) -> Vec<Call> {
    std::iter::from_fn(|| transfer.poll_call(start())).collect()
}

pub(super) fn pieces(transfer: &Transfer, calls: &[Call]) -> Vec<u32> {
    let units = calls.iter().flat_map(|call| &call.units);
    units
        .filter_map(|id| transfer.unit(*id))
        .map(|unit| unit.piece)
        .collect()
}

/// Lets every call succeed until none is left.
pub(super) fn write_all(
    transfer: &mut Transfer,
    now: Instant,
    differs: impl Fn(u32) -> bool,
) -> Vec<Call> {
    let mut made = Vec::new();
    loop {
        let open = calls(transfer);
        if open.is_empty() {
            return made;
        }
        for call in &open {
            for unit in &call.units {
                let piece = transfer.unit(*unit).unwrap().piece;
                let outcome = UnitOutcome::Written {
                    differs: differs(piece),
                };
                transfer.handle_unit(now, call.id, *unit, outcome);
            }
            transfer.handle_call_end(now, call.id, CallEnd::Finished);
        }
        made.extend(open);
    }
}
