//! Who is taken to be wrong, and what follows.

use std::ops::Range;

use super::planning::{PIECE, runs, slices, write_all};
use super::start;
use crate::{
    CallEnd, DropReason, Event, FileVerdict, Holding, Settings, Span, Standing, Transfer,
    UnitOutcome, WrittenBefore, spans,
};

#[test]
fn a_wrong_entry_is_asked_for_again_with_a_recheck_and_insisting_drops() {
    let now = start();
    let mut transfer = Transfer::new(runs(3), Settings::default(), 1);
    let provider = transfer.add_provider(Holding::Complete);
    let call = transfer.poll_call(now).unwrap();
    let wrong = UnitOutcome::Wrong {
        proven_items: 1,
        proven_bytes: PIECE / 2,
    };
    transfer.handle_unit(now, call.id, call.units[0], wrong);
    transfer.handle_call_end(now, call.id, CallEnd::Wrong);
    while transfer.poll_event().is_some() {}

    let again = transfer.poll_call(now).unwrap();
    assert!(again.recheck);
    let asked = spans(again.units.iter().filter_map(|id| transfer.unit(*id)));
    assert_eq!(
        asked,
        [Span {
            first: 0,
            count: 1,
            skip: PIECE / 2,
            limit: PIECE / 2
        }]
    );
    assert_eq!(
        transfer.poll_call(now),
        None,
        "nothing else before that is clear"
    );
    let wrong = UnitOutcome::Wrong {
        proven_items: 0,
        proven_bytes: 0,
    };
    transfer.handle_unit(now, again.id, again.units[0], wrong);
    transfer.handle_call_end(now, again.id, CallEnd::Wrong);
    let events: Vec<_> = std::iter::from_fn(|| transfer.poll_event()).collect();
    assert!(events.contains(&Event::Dropped {
        provider,
        reason: DropReason::WrongTwice
    }));
}

#[test]
fn whoever_is_often_wrong_and_right_when_asked_again_does_not_count_as_insisting() {
    let now = start();
    let mut transfer = Transfer::new(runs(300), Settings::default(), 1);
    let provider = transfer.add_provider(Holding::Complete);
    let mut dropped = None;
    for _ in 0..Settings::default().wrongs {
        let call = transfer.poll_call(now).unwrap();
        let wrong = UnitOutcome::Wrong {
            proven_items: 0,
            proven_bytes: 0,
        };
        transfer.handle_unit(now, call.id, call.units[0], wrong);
        transfer.handle_call_end(now, call.id, CallEnd::Wrong);
        while let Some(event) = transfer.poll_event() {
            if let Event::Dropped { reason, .. } = event {
                dropped = Some(reason);
            }
        }
        let Some(again) = transfer.poll_call(now) else {
            break;
        };
        assert!(again.recheck);
        transfer.handle_unit(now, again.id, again.units[0], UnitOutcome::Proven);
        transfer.handle_call_end(now, again.id, CallEnd::Finished);
    }
    assert_eq!(dropped, Some(DropReason::OftenWrong));
    assert_eq!(transfer.live_providers(), 0, "{provider:?}");
}

#[test]
fn only_a_piece_that_is_still_missing_is_news() {
    let now = start();
    let mut transfer = Transfer::new(runs(10), Settings::default(), 1);
    let partial = transfer.add_provider(Holding::Partial(vec![3..4, 4..5]));
    let call = transfer.poll_call(now).unwrap();
    for unit in &call.units {
        transfer.handle_unit(now, call.id, *unit, UnitOutcome::Proven);
    }
    transfer.handle_call_end(now, call.id, CallEnd::Finished);
    let news = |transfer: &mut Transfer, range: Range<u32>| {
        transfer.handle_holding(partial, Holding::Partial([range].into()))
    };
    assert!(!news(&mut transfer, 3..5));
    assert!(!news(&mut transfer, 20..30));
    assert!(news(&mut transfer, 4..6));
    assert!(!news(&mut transfer, 4..6));
}

#[test]
fn the_sender_of_a_wrong_slice_is_named_once_another_one_gave_the_file_right() {
    let now = start();
    let mut transfer = Transfer::new(slices(8), Settings::default(), 1);
    let honest = transfer.add_provider(Holding::Complete);
    let liar = transfer.add_provider(Holding::Complete);
    let given = write_all(&mut transfer, now, |_| false);
    assert!(given.iter().any(|call| call.provider == liar));
    assert_eq!(transfer.poll_event(), Some(Event::CheckFile { item: 0 }));
    transfer.handle_file(0, FileVerdict::Mismatch);

    let reread = write_all(&mut transfer, now, |_| true);
    let sender = reread[0].provider;
    assert!(
        reread
            .iter()
            .all(|call| call.provider == sender && call.recheck)
    );
    assert_eq!(transfer.poll_event(), Some(Event::CheckFile { item: 0 }));
    transfer.handle_file(0, FileVerdict::Proven);
    let other = if sender == honest { liar } else { honest };
    let reason = DropReason::WrongSlices;
    assert_eq!(
        transfer.poll_event(),
        Some(Event::Dropped {
            provider: other,
            reason
        })
    );
    assert_eq!(transfer.standing(now), Standing::Done);
}

#[test]
fn a_file_that_one_provider_sent_alone_drops_it_and_names_nobody_else() {
    let now = start();
    let mut transfer = Transfer::new(slices(2), Settings::default(), 1);
    let first = transfer.add_provider(Holding::Complete);
    write_all(&mut transfer, now, |_| false);
    let second = transfer.add_provider(Holding::Complete);
    assert_eq!(transfer.poll_event(), Some(Event::CheckFile { item: 0 }));
    transfer.handle_file(0, FileVerdict::Mismatch);
    let reason = DropReason::Mismatch;
    assert_eq!(
        transfer.poll_event(),
        Some(Event::Dropped {
            provider: first,
            reason
        })
    );
    let reread = write_all(&mut transfer, now, |_| true);
    assert!(reread.iter().all(|call| call.provider == second));
}

#[test]
fn a_file_whose_slices_all_lay_there_is_checked_before_anything_is_asked() {
    let mut units = slices(3);
    for (_, before) in &mut units {
        *before = WrittenBefore::Yes;
    }
    let mut transfer = Transfer::new(units, Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    assert_eq!(transfer.poll_event(), Some(Event::CheckFile { item: 0 }));
    assert_eq!(transfer.poll_call(start()), None);
    transfer.handle_file(0, FileVerdict::Proven);
    assert_eq!(transfer.standing(start()), Standing::Done);
}
