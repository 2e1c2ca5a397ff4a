//! Stamps that are read of the index ahead of the files.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use crate::index::IndexError;
use crate::pieces::ReadError;
use crate::stamp::Stamp;

/// A query for a range of lines may read so many for each one that is wanted.
const SPARSE: usize = 8;

/// Lines that are read ahead of a reader that goes from line to line: each query costs as much as many lines.
const LINES_AHEAD: u32 = 512;

/// What was read of the index last.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    lines: Range<u32>,
    stamps: BTreeMap<u32, Stamp>,
}

impl Ahead {
    /// Gives the stamps of these lines, in ascending order; `read` reads those of a range.
    pub(super) fn stamps(
        &mut self,
        lines: &[u32],
        read: impl Fn(RangeInclusive<u32>) -> Result<BTreeMap<u32, Stamp>, IndexError>,
    ) -> Result<BTreeMap<u32, Stamp>, ReadError> {
        let (Some(first), Some(last)) = (lines.first().copied(), lines.last().copied()) else {
            return Ok(BTreeMap::new());
        };
        if self.lines.contains(&first) && self.lines.contains(&last) {
            return Ok(self.among(lines));
        }
        // One query where most lines between are wanted, else one for each.
        if (last - first) as usize > SPARSE * lines.len() {
            let mut stamps = BTreeMap::new();
            for line in lines {
                stamps.extend(read(*line..=*line)?);
            }
            return Ok(stamps);
        }
        let to = if self.leads_to(first) {
            last.saturating_add(LINES_AHEAD)
        } else {
            last
        };
        *self = Self {
            lines: first..to.saturating_add(1),
            stamps: read(first..=to)?,
        };
        Ok(self.among(lines))
    }

    /// Whether a line is the next one to be expected; directories have lines too.
    fn leads_to(&self, line: u32) -> bool {
        let gap = line.checked_sub(self.lines.end);
        let is_near = gap.is_some_and(|gap| gap as usize <= SPARSE);
        self.lines.contains(&line) || (is_near && !self.lines.is_empty())
    }

    fn among(&self, lines: &[u32]) -> BTreeMap<u32, Stamp> {
        let known = |line: &u32| Some((*line, *self.stamps.get(line)?));
        lines.iter().filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::stamp::Moment;

    #[test]
    fn whoever_goes_on_is_read_ahead_of_and_gets_what_is_there() {
        let asked = RefCell::new(Vec::new());
        // Every tenth line is a directory.
        let read = |lines: RangeInclusive<u32>| {
            asked.borrow_mut().push(lines.clone());
            let files = lines.filter(|line| line % 10 != 0 && *line < 3000);
            Ok(files.map(|line| (line, stamp(line))).collect())
        };
        let mut ahead = Ahead::default();
        for run in 0..300 {
            let lines: Vec<u32> = (run * 10 + 1..run * 10 + 10).collect();
            let stamps = ahead.stamps(&lines, read).unwrap();
            let expected = lines.iter().map(|line| (*line, stamp(*line)));
            assert_eq!(stamps, expected.collect());
        }
        let asked = asked.into_inner();
        assert!(asked.len() < 10, "{asked:?}");
        assert_eq!(
            asked[0],
            1..=9,
            "whoever wants one run only is not made to wait"
        );
    }

    #[test]
    fn whoever_jumps_is_not_read_ahead_of() {
        let asked = RefCell::new(Vec::new());
        let read = |lines: RangeInclusive<u32>| {
            asked.borrow_mut().push(lines.clone());
            Ok(lines.map(|line| (line, stamp(line))).collect())
        };
        let mut ahead = Ahead::default();
        for first in [500, 100, 900] {
            let stamps = ahead.stamps(&[first, first + 2], read).unwrap();
            assert_eq!(stamps.len(), 2);
        }
        let sparse = ahead.stamps(&[3, 4000], read).unwrap();
        assert_eq!(sparse.into_keys().collect::<Vec<_>>(), [3, 4000]);
        let expected = [500..=502, 100..=102, 900..=902, 3..=3, 4000..=4000];
        assert_eq!(asked.into_inner(), expected);
    }

    fn stamp(line: u32) -> Stamp {
        let moment = Moment {
            seconds: 0,
            nanoseconds: 0,
        };
        Stamp {
            device: 1,
            inode: u64::from(line),
            size: 1,
            mtime: moment,
            ctime: moment,
        }
    }
}
