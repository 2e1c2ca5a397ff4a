//! Ranges of pieces.

use std::ops::Range;

use crate::{FieldError, field::within, pb::content::v1::PieceRange};

/// How many ranges one message may name.
pub const MAX_RANGES: usize = 16_384;

/// Reads ranges: sorted, merged, none empty. At most [`MAX_RANGES`] may come.
pub fn piece_ranges(
    field: &'static str,
    ranges: &[PieceRange],
) -> Result<Vec<Range<u32>>, FieldError> {
    piece_ranges_within(field, ranges, u32::MAX)
}

/// Reads ranges of content that has `piece_count` pieces; as [`piece_ranges`].
pub fn piece_ranges_within(
    field: &'static str,
    ranges: &[PieceRange],
    piece_count: u32,
) -> Result<Vec<Range<u32>>, FieldError> {
    if ranges.len() > MAX_RANGES {
        return Err(FieldError::too_many(field, ranges.len(), MAX_RANGES));
    }
    let ranges: Result<Vec<_>, _> = ranges
        .iter()
        .map(|range| piece_range(field, range.first, range.count, piece_count))
        .collect();
    Ok(merge_ranges(ranges?))
}

/// Sorts ranges, drops empty ones, and joins those that touch or overlap.
pub fn merge_ranges(mut ranges: Vec<Range<u32>>) -> Vec<Range<u32>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u32>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Writes ranges; empty ones are left out.
pub fn to_piece_ranges(ranges: &[Range<u32>]) -> Vec<PieceRange> {
    ranges
        .iter()
        .filter(|range| !range.is_empty())
        .map(|range| PieceRange {
            first: range.start,
            count: range.end - range.start,
        })
        .collect()
}

pub(super) fn piece_range(
    field: &'static str,
    first: u32,
    count: u32,
    piece_count: u32,
) -> Result<Range<u32>, FieldError> {
    let most = u64::from(piece_count.saturating_sub(first));
    let count: u32 = within(field, count, 1, most)?;
    Ok(first..first + count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::FieldFault;

    fn range(first: u32, count: u32) -> PieceRange {
        PieceRange { first, count }
    }

    #[test]
    fn ranges_are_sorted_and_joined() {
        let sent = [range(7, 2), range(0, 3), range(3, 1), range(8, 4)];
        assert_eq!(piece_ranges("have", &sent).unwrap(), [0..4, 7..12]);
    }

    #[test]
    fn empty_ranges_and_those_past_the_end_are_refused() {
        for (sent, pieces) in [
            (range(0, 0), 5),
            (range(4, 2), 5),
            (range(5, 1), 5),
            (range(u32::MAX, 1), u32::MAX),
            (range(1, u32::MAX), u32::MAX),
        ] {
            let error = piece_ranges_within("have", &[sent], pieces).unwrap_err();
            assert_eq!(error.field, "have");
            assert!(matches!(error.fault, FieldFault::OutOfRange { .. }));
        }
    }

    #[test]
    fn too_many_ranges_are_refused() {
        let sent = vec![range(1, 1); MAX_RANGES + 1];
        let error = piece_ranges("have", &sent).unwrap_err();
        assert!(matches!(error.fault, FieldFault::TooMany { .. }));
    }

    proptest! {
        #[test]
        fn merging_keeps_the_set_of_pieces(
            ranges in prop::collection::vec((0_u32..200, 1_u32..20), 0..30),
        ) {
            let sent: Vec<_> = ranges.iter().map(|&(first, count)| range(first, count)).collect();
            let merged = piece_ranges("have", &sent).unwrap();
            let pieces: BTreeSet<u32> = ranges.iter().flat_map(|&(first, count)| first..first + count).collect();
            prop_assert!(merged.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(merged.iter().cloned().flatten().collect::<BTreeSet<_>>(), pieces);
            prop_assert_eq!(piece_ranges("have", &to_piece_ranges(&merged)).unwrap(), merged);
        }
    }
}
