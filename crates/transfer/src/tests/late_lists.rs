//! Lists of midstates that come after the slices.

use std::time::Instant;

use zeroshare_proof::KnownList;

use super::start;
use super::world::{LargeFile, List};
use crate::{
    Ask, Call, CallEnd, Event, FileVerdict, Holding, Part, ProviderId, Settings, Standing,
    Transfer, Unit, UnitId, UnitOutcome, WrittenBefore,
};

const FILE: LargeFile = LargeFile {
    slices: 64,
    grains_in_slice: 1,
};

const ITEM: u32 = 0;

/// What is wrong.
const WRONG: UnitId = UnitId(40);

#[test]
fn a_file_that_does_not_match_waits_for_lists_that_are_asked_for_and_reads_again_what_is_wrong_only()
 {
    let (now, mut transfer, asks) = written();
    assert_eq!(
        transfer.poll_call(now),
        None,
        "a list will tell what is wrong"
    );
    assert_eq!(transfer.standing(now), Standing::Working);
    let list = FILE.list(List::True, 0).unwrap();
    for ask in &asks {
        answer(&mut transfer, now, ask, Some(&list));
    }
    judge_all(&mut transfer, &list);
    let again: Vec<Call> = std::iter::from_fn(|| transfer.poll_call(now)).collect();
    let units: Vec<UnitId> = again.iter().flat_map(|call| call.units.clone()).collect();
    assert_eq!(units, [WRONG]);
}

#[test]
fn when_nobody_gives_a_list_all_is_read_from_one() {
    let (now, mut transfer, asks) = written();
    for ask in &asks {
        answer(&mut transfer, now, ask, None);
    }
    while let Some(ask) = transfer.poll_ask(now) {
        answer(&mut transfer, now, &ask, None);
    }
    let again = transfer.poll_call(now).unwrap();
    assert!(again.recheck, "it may be its disk");
}

#[test]
fn who_was_not_judged_yet_is_asked_for_one_slice_at_a_time() {
    let now = start();
    let mut transfer = Transfer::new(units(), Settings::default(), 1);
    transfer.keep_lists(ITEM);
    let providers: [ProviderId; 3] =
        std::array::from_fn(|_| transfer.add_provider(Holding::Complete));
    let list = FILE.list(List::True, 0).unwrap();
    let first: Vec<Call> = std::iter::from_fn(|| transfer.poll_call(now)).collect();
    assert_eq!(first.len(), providers.len(), "one call for each");
    assert!(first.iter().all(|call| call.units.len() == 1));
    while let Some(ask) = transfer.poll_ask(now) {
        answer(&mut transfer, now, &ask, Some(&list));
    }
    while transfer.poll_event().is_some() {}
    let [call, ..] = &first[..] else {
        panic!("nobody is asked")
    };
    let outcome = UnitOutcome::Judged {
        list: *list.digest(),
        grains: 1,
        is_own: true,
        is_wrong: false,
    };
    transfer.handle_unit(now, call.id, call.units[0], outcome);
    transfer.handle_call_end(now, call.id, CallEnd::Finished);
    let more: Vec<Call> = std::iter::from_fn(|| transfer.poll_call(now)).collect();
    assert!(more.iter().all(|other| other.provider == call.provider));
    assert_eq!(more.len(), Settings::default().calls_per_provider);
    assert!(
        more.iter().any(|call| call.units.len() > 1),
        "it is believed now"
    );
}

/// Three providers gave everything, of which one slice is wrong, before any list came.
fn written() -> (Instant, Transfer, Vec<Ask>) {
    let now = start();
    let mut transfer = Transfer::new(units(), Settings::default(), 1);
    transfer.keep_lists(ITEM);
    let _three: [ProviderId; 3] = std::array::from_fn(|_| transfer.add_provider(Holding::Complete));
    let asks: Vec<Ask> = std::iter::from_fn(|| transfer.poll_ask(now)).collect();
    assert_eq!(asks.len(), 3);
    loop {
        // All three read at the same time, so that none of them sends all of it.
        let calls: Vec<Call> = std::iter::from_fn(|| transfer.poll_call(now)).collect();
        if calls.is_empty() {
            break;
        }
        for call in calls {
            for unit in &call.units {
                let outcome = UnitOutcome::Written { differs: false };
                transfer.handle_unit(now, call.id, *unit, outcome);
            }
            transfer.handle_call_end(now, call.id, CallEnd::Finished);
        }
    }
    assert_eq!(transfer.poll_event(), Some(Event::CheckFile { item: ITEM }));
    transfer.handle_file(ITEM, FileVerdict::Mismatch);
    (now, transfer, asks)
}

fn answer(transfer: &mut Transfer, now: Instant, ask: &Ask, list: Option<&KnownList>) {
    transfer.handle_completeness(ask.provider, true);
    if let Some(list) = list {
        if ask.whole.contains(&ITEM) {
            transfer.handle_list(ask.provider, ITEM, list.clone());
        } else {
            transfer.handle_list_named(ask.provider, ITEM, *list.digest());
        }
    }
    transfer.handle_ask_end(now, ask.provider, CallEnd::Finished);
}

/// Has every slice judged that is to be; one does not hold.
fn judge_all(transfer: &mut Transfer, list: &KnownList) {
    while let Some(event) = transfer.poll_event() {
        let Event::Judge { unit } = event else {
            assert_eq!(event, Event::Lead { item: ITEM });
            continue;
        };
        let whole = unit.0..unit.0 + 1;
        let linked = if unit == WRONG {
            Vec::new()
        } else {
            vec![whole]
        };
        transfer.handle_judged_on_disk(unit, *list.digest(), &linked);
    }
}

fn units() -> Vec<(Unit, WrittenBefore)> {
    let len = FILE.size() / u64::from(FILE.slices);
    let unit = |piece: u32| Unit {
        piece,
        offset: 0,
        len,
        whole: true,
        part: Part::Slice {
            item: ITEM,
            offset: u64::from(piece) * len,
        },
    };
    let units = (0..FILE.slices).map(unit);
    units.map(|unit| (unit, WrittenBefore::No)).collect()
}
