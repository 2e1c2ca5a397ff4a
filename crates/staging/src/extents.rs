use std::collections::BTreeMap;
use std::ops::Range;

use crate::SourceId;

/// Which bytes of a file are there, and who sent them.
///
/// Invariant: no extent is empty, none overlaps another, and neighbours from one source are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extents(BTreeMap<u64, Extent>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    end: u64,
    source: Option<SourceId>,
}

impl Extents {
    /// Takes in bytes, whoever sent what was there before.
    pub(crate) fn insert(&mut self, range: Range<u64>, source: Option<SourceId>) {
        if range.is_empty() {
            return;
        }
        self.remove(range.clone());
        let mut merged = range;
        if let Some((start, before)) = self.0.range(..merged.start).next_back()
            && (before.end, before.source) == (merged.start, source)
        {
            merged.start = *start;
        }
        if let Some(after) = self.0.get(&merged.end).copied()
            && after.source == source
        {
            self.0.remove(&merged.end);
            merged.end = after.end;
        }
        let end = merged.end;
        self.0.insert(merged.start, Extent { end, source });
    }

    /// Forgets bytes.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.range(..=range.start).next_back();
        let from = first.map_or(range.start, |(start, _)| *start);
        let touched: Vec<(u64, Extent)> = self
            .0
            .range(from..range.end)
            .filter(|(_, extent)| extent.end > range.start)
            .map(|(start, extent)| (*start, *extent))
            .collect();
        for (start, extent) in touched {
            self.0.remove(&start);
            if start < range.start {
                let end = range.start;
                self.0.insert(start, Extent { end, ..extent });
            }
            if extent.end > range.end {
                self.0.insert(range.end, extent);
            }
        }
    }

    /// Where the bytes from a place on end that are there without a gap; the place itself when it is not there.
    pub(crate) fn end_of_run(&self, from: u64) -> u64 {
        let mut end = from;
        let first = self.0.range(..=from).next_back();
        let start = first.map_or(from, |(start, _)| *start);
        for (start, extent) in self.0.range(start..) {
            if *start > end {
                break;
            }
            end = end.max(extent.end);
        }
        end
    }

    /// Says whether all these bytes are there.
    pub(crate) fn cover(&self, range: &Range<u64>) -> bool {
        range.is_empty() || self.end_of_run(range.start) >= range.end
    }

    /// The first bytes of a file of this size that are not there.
    pub(crate) fn first_gap(&self, size: u64) -> Option<Range<u64>> {
        let start = self.end_of_run(0);
        if start >= size {
            return None;
        }
        let next = self.0.range(start..).next();
        Some(start..next.map_or(size, |(next, _)| *next))
    }

    /// Says whether any of these bytes is there.
    pub(crate) fn touch(&self, range: &Range<u64>) -> bool {
        let last = self.0.range(..range.end).next_back();
        !range.is_empty() && last.is_some_and(|(_, extent)| extent.end > range.start)
    }

    /// How many bytes are there.
    pub(crate) fn bytes(&self) -> u64 {
        self.iter().map(|(range, _)| range.end - range.start).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The end of the last byte that is there.
    pub(crate) fn end(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(_, extent)| extent.end)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Range<u64>, Option<SourceId>)> {
        self.0
            .iter()
            .map(|(start, extent)| (*start..extent.end, extent.source))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_of_one_source_are_one_extent() {
        let mut extents = Extents::default();
        extents.insert(0..10, Some(SourceId(1)));
        extents.insert(20..30, Some(SourceId(1)));
        extents.insert(10..20, Some(SourceId(1)));
        assert_eq!(
            extents.iter().collect::<Vec<_>>(),
            [(0..30, Some(SourceId(1)))]
        );
    }

    #[test]
    fn what_is_written_over_belongs_to_who_wrote_last() {
        let mut extents = Extents::default();
        extents.insert(0..30, Some(SourceId(1)));
        extents.insert(10..20, Some(SourceId(2)));
        let expected = [
            (0..10, Some(SourceId(1))),
            (10..20, Some(SourceId(2))),
            (20..30, Some(SourceId(1))),
        ];
        assert_eq!(extents.iter().collect::<Vec<_>>(), expected);
        assert!(extents.cover(&(5..25)));
    }

    #[derive(Debug, Clone)]
    enum Change {
        Insert(Range<u64>, u32),
        Remove(Range<u64>),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let range = || (0_u64..64, 0_u64..16).prop_map(|(start, len)| start..start + len);
        let change = prop_oneof![
            3 => (range(), 0_u32..3).prop_map(|(range, source)| Change::Insert(range, source)),
            1 => range().prop_map(Change::Remove),
        ];
        proptest::collection::vec(change, 0..40)
    }

    proptest! {
        #[test]
        fn extents_know_of_each_byte_what_a_table_knows(changes in changes()) {
            let mut extents = Extents::default();
            let mut table = [None; 80];
            for change in changes {
                match change {
                    Change::Insert(range, source) => {
                        extents.insert(range.clone(), Some(SourceId(source)));
                        for byte in range {
                            table[usize::try_from(byte).unwrap()] = Some(SourceId(source));
                        }
                    }
                    Change::Remove(range) => {
                        extents.remove(range.clone());
                        for byte in range {
                            table[usize::try_from(byte).unwrap()] = None;
                        }
                    }
                }
            }
            let mut seen = [None; 80];
            let mut last: Option<(u64, Option<SourceId>)> = None;
            for (range, source) in extents.iter() {
                prop_assert!(!range.is_empty());
                prop_assert!(last.is_none_or(|(end, before)| end < range.start
                    || end == range.start && before != source));
                last = Some((range.end, source));
                for byte in range {
                    seen[usize::try_from(byte).unwrap()] = source;
                }
            }
            prop_assert_eq!(seen, table);
            let held = table.iter().filter(|byte| byte.is_some()).count();
            prop_assert_eq!(extents.bytes(), held as u64);
            let gap = table.iter().position(Option::is_none).unwrap();
            let gap_end = table[gap..].iter().position(Option::is_some).map_or(80, |len| gap + len);
            prop_assert_eq!(extents.first_gap(80), Some(gap as u64..gap_end as u64));
            for start in 0..80_usize {
                for end in start..80 {
                    let range = start as u64..end as u64;
                    prop_assert_eq!(extents.cover(&range), table[start..end].iter().all(Option::is_some));
                    prop_assert_eq!(extents.touch(&range), table[start..end].iter().any(Option::is_some));
                }
            }
        }
    }
}
