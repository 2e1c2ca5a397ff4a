//! What somebody waits for, ahead of everything else.

use std::time::{Duration, Instant};

use zeroshare_content::GRAIN;
use zeroshare_proof::{GrainHasher, KnownList, Midstates};

use super::start;
use crate::{Call, CallEnd, Holding, Part, Settings, Transfer, Unit, UnitOutcome, WrittenBefore};

const PIECE: u64 = 1024 * 1024;
const RUNS: u32 = 200;

#[test]
fn what_is_waited_for_is_asked_first_and_travels_alone() {
    let mut transfer = Transfer::new(runs(), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    transfer.want(150, 0);
    transfer.want(7, 0);
    let first = transfer.poll_call(start()).unwrap();
    assert_eq!(pieces(&transfer, &first), [150]);
    let second = transfer.poll_call(start()).unwrap();
    assert_eq!(pieces(&transfer, &second), [7]);
    assert_eq!(
        transfer.poll_call(start()),
        None,
        "it has two calls, and nobody waits"
    );
}

#[test]
fn what_is_waited_for_does_not_stand_in_line_behind_the_rest() {
    let mut transfer = Transfer::new(runs(), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    while transfer.poll_call(start()).is_some() {}
    transfer.want(180, 0);
    let urgent = transfer.poll_call(start()).unwrap();
    assert_eq!(pieces(&transfer, &urgent), [180]);
    transfer.want(181, 0);
    assert_eq!(
        transfer.poll_call(start()),
        None,
        "calls are not without bound"
    );
    give(&mut transfer, start(), &urgent);
    let next = transfer.poll_call(start()).unwrap();
    assert_eq!(pieces(&transfer, &next), [181]);
}

#[test]
fn who_cannot_give_what_is_waited_for_gives_something_else() {
    let mut transfer = Transfer::new(runs(), Settings::default(), 1);
    transfer.add_provider(Holding::Partial(std::iter::once(0..10).collect()));
    transfer.want(150, 0);
    let call = transfer.poll_call(start()).unwrap();
    assert!(pieces(&transfer, &call).iter().all(|piece| *piece < 10));
}

#[test]
fn a_lost_call_leaves_its_turn_to_what_it_was_to_bring() {
    let mut transfer = Transfer::new(runs(), Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    transfer.want(150, 0);
    let call = transfer.poll_call(start()).unwrap();
    transfer.handle_call_end(start(), call.id, CallEnd::Lost);
    let later = start() + Duration::from_secs(10);
    let again = transfer.poll_call(later).unwrap();
    assert_eq!(pieces(&transfer, &again), [150]);
}

#[test]
fn of_a_large_file_the_rest_is_wanted_after_all_that_is_small_and_from_its_end() {
    let mut units = runs();
    units.extend(slices(RUNS, 1000, 8));
    let mut transfer = Transfer::new(units, Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    transfer.want(1000, 5 * PIECE + 1);
    transfer.want(3, 0);
    let small = transfer.poll_call(start()).unwrap();
    assert_eq!(pieces(&transfer, &small), [3]);
    assert_eq!(asked(&mut transfer, 3), [RUNS + 7, RUNS + 6, RUNS + 5]);
}

#[test]
fn who_waits_for_the_end_of_a_file_does_not_wait_for_what_others_want_of_it_or_of_another() {
    let mut units = slices(0, 1000, 40);
    units.extend(slices(40, 1001, 20));
    let mut transfer = Transfer::new(units, Settings::default(), 1);
    transfer.add_provider(Holding::Complete);
    transfer.want(1000, 0);
    transfer.want(1001, 18 * PIECE);
    transfer.want(1000, 39 * PIECE);
    let asked = asked(&mut transfer, 42);
    let behind = asked.iter().map(|piece| (40 + 20 - 1 - piece) % 20);
    assert_eq!(&behind.collect::<Vec<_>>()[..4], [0, 0, 1, 1]);
    assert_eq!(asked[4..], (0..38).rev().collect::<Vec<_>>());
}

#[test]
fn a_large_file_is_proven_from_where_all_is_linked_to_its_end() {
    let bytes: Vec<u8> = (0..4 * PIECE).map(|at| (at % 251) as u8).collect();
    let list = list_of(&bytes);
    let grains = u32::try_from(PIECE / GRAIN).unwrap();
    let mut transfer = Transfer::new(slices(0, 0, 4), Settings::default(), 1);
    let provider = transfer.add_provider(Holding::Complete);
    transfer.keep_lists(0);
    assert_eq!(transfer.proven_from(0), None);
    transfer.handle_completeness(provider, true);
    transfer.handle_list(provider, 0, list.clone());
    let link = |transfer: &mut Transfer, piece: u32| {
        transfer.want(0, u64::from(piece) * PIECE);
        let call = transfer.poll_call(start()).unwrap();
        for unit in &call.units {
            let outcome = UnitOutcome::Judged {
                list: *list.digest(),
                grains,
                is_own: true,
                is_wrong: false,
            };
            transfer.handle_unit(start(), call.id, *unit, outcome);
        }
        transfer.handle_call_end(start(), call.id, CallEnd::Finished);
        pieces(transfer, &call)
    };
    assert_eq!(link(&mut transfer, 3), [3]);
    assert_eq!(transfer.proven_from(0).unwrap().0, 3 * PIECE);
    let linked = link(&mut transfer, 1);
    assert_eq!(linked, [2, 1]);
    let (from, by) = transfer.proven_from(0).unwrap();
    assert_eq!((from, by.digest()), (PIECE, list.digest()));
}

fn runs() -> Vec<(Unit, WrittenBefore)> {
    let run = |piece| Unit {
        piece,
        offset: 0,
        len: PIECE,
        whole: true,
        part: Part::Items(piece..piece + 1),
    };
    (0..RUNS)
        .map(|piece| (run(piece), WrittenBefore::No))
        .collect()
}

fn slices(first: u32, item: u32, count: u32) -> Vec<(Unit, WrittenBefore)> {
    let slice = |number: u32| Unit {
        piece: first + number,
        offset: 0,
        len: PIECE,
        whole: true,
        part: Part::Slice {
            item,
            offset: u64::from(number) * PIECE,
        },
    };
    (0..count)
        .map(|number| (slice(number), WrittenBefore::No))
        .collect()
}

fn list_of(bytes: &[u8]) -> KnownList {
    let mut hasher = GrainHasher::new();
    hasher.update(bytes);
    let (_, midstates): (_, Midstates) = hasher.finish();
    KnownList::new(midstates)
}

/// The pieces that are asked for next, each call given at once.
fn asked(transfer: &mut Transfer, count: usize) -> Vec<u32> {
    let mut asked = Vec::new();
    let mut now = start();
    while asked.len() < count {
        let call = transfer.poll_call(now).unwrap();
        asked.extend(pieces(transfer, &call));
        now += Duration::from_millis(1);
        give(transfer, now, &call);
    }
    asked
}

fn give(transfer: &mut Transfer, now: Instant, call: &Call) {
    for unit in &call.units {
        transfer.handle_unit(now, call.id, *unit, UnitOutcome::Proven);
    }
    transfer.handle_call_end(now, call.id, CallEnd::Finished);
}

fn pieces(transfer: &Transfer, call: &Call) -> Vec<u32> {
    let units = call.units.iter().filter_map(|id| transfer.unit(*id));
    units.map(|unit| unit.piece).collect()
}
