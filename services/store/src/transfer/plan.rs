//! What a request comes to.

use std::num::NonZeroU64;
use std::ops::Range;

use tonic::Status;
use zeroshare_api::errors;
use zeroshare_content::{ContentId, Layout};
use zeroshare_wire::convert::{Span, Wanted};

use super::LeastSent;
use crate::status;

/// A part of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Whole pieces in a row.
    Pieces(Range<u32>),
    /// Some bytes of one piece.
    Part { piece: u32, range: Range<u64> },
}

/// Decides which pieces are sent, before the first byte is: a request is honoured as a whole or refused.
///
/// `held` is sorted and joined.
pub(crate) fn plan(
    id: &ContentId,
    wanted: Wanted,
    layout: &Layout,
    held: &[Range<u32>],
    least_sent: &LeastSent,
) -> Result<Vec<Order>, Status> {
    match wanted {
        Wanted::Spans(spans) => {
            check_count(&spans, layout)?;
            let orders: Vec<Order> = spans
                .iter()
                .map(|span| order(id, span, layout, held))
                .collect::<Result<_, _>>()?;
            for order in &orders {
                least_sent.count(id, order.pieces());
            }
            Ok(orders)
        }
        Wanted::Chosen { at_most, have } => {
            let chosen = least_sent.choose(id, &without(held, &have), at_most);
            Ok(chosen
                .into_iter()
                .map(|piece| Order::Pieces(piece..piece + 1))
                .collect())
        }
        Wanted::AllIfAtMost(bytes) => {
            let count = layout.piece_count();
            let is_sent =
                layout.content_size() <= bytes.get() && first_missing(held, &(0..count)).is_none();
            if !is_sent || count == 0 {
                return Ok(Vec::new());
            }
            least_sent.count(id, 0..count);
            Ok(vec![Order::Pieces(0..count)])
        }
    }
}

/// What a request costs before a slot's bytes are sent does not grow with the product of its spans and the pieces.
fn check_count(spans: &[Span], layout: &Layout) -> Result<(), Status> {
    let whole = spans.iter().map(|span| match span {
        Span::Pieces(pieces) => u64::from(pieces.end.saturating_sub(pieces.start)),
        Span::Part { .. } => 0,
    });
    if whole.sum::<u64>() > u64::from(layout.piece_count()) {
        return Err(errors::malformed("spans", "more pieces than there are"));
    }
    Ok(())
}

impl Order {
    /// The pieces with the bytes of each that are wanted.
    pub(crate) fn parts(&self, layout: &Layout) -> impl Iterator<Item = (u32, Range<u64>)> {
        let part = match self {
            Self::Pieces(_) => None,
            Self::Part { range, .. } => Some(range.clone()),
        };
        self.pieces().map(move |piece| {
            let all = || 0..layout.piece_len(piece).unwrap_or(0);
            (piece, part.clone().unwrap_or_else(all))
        })
    }

    pub(crate) fn pieces(&self) -> Range<u32> {
        match self {
            Self::Pieces(pieces) => pieces.clone(),
            Self::Part { piece, .. } => *piece..*piece + 1,
        }
    }
}

fn order(
    id: &ContentId,
    span: &Span,
    layout: &Layout,
    held: &[Range<u32>],
) -> Result<Order, Status> {
    let past_the_end = || errors::malformed("spans", "a piece past the end");
    let order = match span {
        Span::Pieces(pieces) => Order::Pieces(pieces.clone()),
        Span::Part { piece, skip, limit } => {
            let size = layout.piece_len(*piece).ok_or_else(past_the_end)?;
            Order::Part {
                piece: *piece,
                range: part(size, *skip, *limit)?,
            }
        }
    };
    if order.pieces().end > layout.piece_count() {
        return Err(past_the_end());
    }
    match first_missing(held, &order.pieces()) {
        Some(piece) => Err(status::piece_not_held(id, piece)),
        None => Ok(order),
    }
}

fn part(size: u64, skip: u64, limit: Option<NonZeroU64>) -> Result<Range<u64>, Status> {
    if skip >= size {
        return Err(errors::malformed(
            "spans",
            format!("skips {skip} of a piece of {size} bytes"),
        ));
    }
    let end = limit.map_or(size, |limit| skip.saturating_add(limit.get()).min(size));
    Ok(skip..end)
}

fn first_missing(held: &[Range<u32>], pieces: &Range<u32>) -> Option<u32> {
    if pieces.is_empty() {
        return None;
    }
    let after = held.partition_point(|range| range.start <= pieces.start);
    let end = after
        .checked_sub(1)
        .and_then(|place| held.get(place))
        .map_or(0, |range| range.end);
    (end < pieces.end).then(|| end.max(pieces.start))
}

/// What remains of sorted ranges without other sorted ranges.
fn without(held: &[Range<u32>], have: &[Range<u32>]) -> Vec<Range<u32>> {
    let mut rest = Vec::new();
    for range in held {
        let mut start = range.start;
        let first = have.partition_point(|other| other.end <= range.start);
        for other in have.get(first..).unwrap_or_default() {
            if other.start >= range.end {
                break;
            }
            if start < other.start {
                rest.push(start..other.start);
            }
            start = start.max(other.end);
        }
        if start < range.end {
            rest.push(start..range.end);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use zeroshare_content::{BlobId, HashKind};
    use zeroshare_wire::convert::merge_ranges;

    use super::*;

    const SIZE: u64 = 10 * 128 * 1024 + 5;

    #[test]
    fn spans_keep_their_order_and_may_be_parts() {
        let part = |piece, skip, limit| Span::Part {
            piece,
            skip,
            limit: NonZeroU64::new(limit),
        };
        let spans = vec![
            Span::Pieces(3..5),
            part(10, 2, 0),
            part(0, 1, 7),
            part(10, 0, 99),
            Span::Pieces(0..1),
        ];
        let orders = check(Wanted::Spans(spans), &all()).unwrap();
        let order = |piece, range| Order::Part { piece, range };
        let expected = [
            Order::Pieces(3..5),
            order(10, 2..5),
            order(0, 1..8),
            order(10, 0..5),
            Order::Pieces(0..1),
        ];
        assert_eq!(orders, expected);
    }

    #[test]
    fn pieces_past_the_end_and_empty_parts_are_malformed() {
        let part = |piece, skip| Span::Part {
            piece,
            skip,
            limit: None,
        };
        for span in [
            Span::Pieces(10..12),
            Span::Pieces(11..12),
            part(11, 1),
            part(10, 5),
            part(10, u64::MAX),
        ] {
            let error = check(Wanted::Spans(vec![span]), &all()).unwrap_err();
            assert_eq!(
                errors::reason(&error),
                Some(errors::ErrorReason::MalformedRequest)
            );
        }
    }

    #[test]
    fn no_more_pieces_are_asked_for_than_there_are() {
        let spans = |times: usize| Wanted::Spans(vec![Span::Pieces(0..11); times]);
        assert_eq!(check(spans(1), &all()).unwrap(), [Order::Pieces(0..11)]);
        for times in [2, 4096] {
            let error = check(spans(times), &all()).unwrap_err();
            let malformed = Some(errors::ErrorReason::MalformedRequest);
            assert_eq!(errors::reason(&error), malformed);
        }
    }

    #[test]
    fn a_piece_that_is_not_held_is_named() {
        for (span, missing) in [
            (Span::Pieces(2..6), "4"),
            (Span::Pieces(5..6), "5"),
            (Span::Pieces(0..1), "0"),
        ] {
            let error = check(Wanted::Spans(vec![span]), &[1..4, 6..11]).unwrap_err();
            assert_eq!(
                errors::reason(&error),
                Some(errors::ErrorReason::PieceNotHeld)
            );
            assert_eq!(errors::metadata(&error)["piece"], missing);
        }
    }

    #[test]
    fn everything_is_sent_when_it_is_small_enough_and_all_there() {
        let wanted = |bytes| Wanted::AllIfAtMost(NonZeroU64::new(bytes).unwrap());
        assert_eq!(check(wanted(SIZE), &all()).unwrap(), [Order::Pieces(0..11)]);
        assert_eq!(check(wanted(SIZE - 1), &all()).unwrap(), []);
        assert_eq!(check(wanted(SIZE), &[0..5, 6..11]).unwrap(), []);
    }

    #[test]
    fn the_sender_chooses_what_the_reader_lacks() {
        let wanted = Wanted::Chosen {
            at_most: 3,
            have: vec![0..2, 3..4, 9..40],
        };
        let expected = [
            Order::Pieces(2..3),
            Order::Pieces(4..5),
            Order::Pieces(8..9),
        ];
        assert_eq!(check(wanted, &[0..5, 8..11]).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn ranges_without_ranges_are_sets_without_sets(
            held in proptest::collection::vec((0_u32..60, 0_u32..9), 0..9),
            have in proptest::collection::vec((0_u32..60, 0_u32..9), 0..9),
        ) {
            let ranges = |pairs: &[(u32, u32)]| {
                merge_ranges(pairs.iter().map(|(start, length)| *start..start + length).collect())
            };
            let set = |ranges: &[Range<u32>]| ranges.iter().cloned().flatten().collect::<BTreeSet<u32>>();
            let (held, have) = (ranges(&held), ranges(&have));
            let expected: BTreeSet<u32> = set(&held).difference(&set(&have)).copied().collect();
            prop_assert_eq!(set(&without(&held, &have)), expected);
        }
    }

    fn all() -> Vec<Range<u32>> {
        std::iter::once(0..11).collect()
    }

    fn check(wanted: Wanted, held: &[Range<u32>]) -> Result<Vec<Order>, Status> {
        let id = BlobId::of(HashKind::Sha256, b"x").into();
        plan(&id, wanted, &layout(), held, &LeastSent::default())
    }

    fn layout() -> Layout {
        Layout::of_blob(BlobId::of(HashKind::Sha256, b"x"), SIZE).unwrap()
    }
}
