//! The parts of pieces that are asked for one by one.

use std::ops::Range;

use zeroshare_content::{Layout, Piece};

/// Skipping fewer bytes than this inside a run costs more than reading them again.
const MERGE_GAP_BYTES: u64 = 4096;

/// Names a unit of one transfer; units are numbered in piece order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub(crate) u32);

impl UnitId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A piece, or the part of a run that is still wanted: what one header on the wire announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The piece it lies in.
    pub piece: u32,
    /// Where in the piece it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has; never 0.
    pub len: u64,
    /// Whether it reaches from the first to the last byte of its piece.
    pub whole: bool,
    /// What it consists of.
    pub part: Part,
}

/// What a unit consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Whole entries of a run, each of which proves itself.
    Items(Range<u32>),
    /// One slice of a large file.
    Slice {
        /// The file.
        item: u32,
        /// Where in the file the slice begins.
        offset: u64,
    },
}

impl Unit {
    /// Leaves out entries of a run that are proven; the last one always stays.
    pub(crate) fn cut_front(&mut self, items: u32, bytes: u64) {
        if let Part::Items(range) = &mut self.part
            && items > 0
            && items < range.end - range.start
            && bytes < self.len
        {
            range.start += items;
            self.offset += bytes;
            self.len -= bytes;
            self.whole = false;
        }
    }
}

/// Whether a slice was there before the transfer began, written but not proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenBefore {
    /// It has to be read.
    No,
    /// It lies there, and nobody knows any more who sent it.
    Yes,
}

/// Lists what a transfer has to care for.
///
/// That is every slice of a file that is not proven, whether it lies there or not, and of the runs
/// those entries that are not proven. `written` says whether a whole piece lies on the disk already.
pub fn missing_units(
    layout: &Layout,
    is_proven: impl Fn(u32) -> bool,
    written: impl Fn(u32) -> bool,
) -> Vec<(Unit, WrittenBefore)> {
    let mut units = Vec::new();
    for number in 0..layout.piece_count() {
        match layout.piece(number) {
            Some(Piece::Run { items }) => {
                let runs = missing_runs(layout, number, items, &is_proven);
                units.extend(runs.into_iter().map(|unit| (unit, WrittenBefore::No)));
            }
            Some(Piece::Slice { item, offset, len }) if !is_proven(item) => {
                let before = if written(number) {
                    WrittenBefore::Yes
                } else {
                    WrittenBefore::No
                };
                let part = Part::Slice { item, offset };
                units.push((
                    Unit {
                        piece: number,
                        offset: 0,
                        len,
                        whole: true,
                        part,
                    },
                    before,
                ));
            }
            Some(Piece::Slice { .. }) | None => {}
        }
    }
    units
}

fn missing_runs(
    layout: &Layout,
    piece: u32,
    items: Range<u32>,
    is_proven: &impl Fn(u32) -> bool,
) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut position = 0;
    for item in items {
        let size = layout
            .items()
            .get(item as usize)
            .map_or(0, |found| found.size);
        let start = position;
        position += size;
        if is_proven(item) {
            continue;
        }
        match units.last_mut() {
            Some(unit) if start - (unit.offset + unit.len) <= MERGE_GAP_BYTES => {
                unit.len = position - unit.offset;
                if let Part::Items(range) = &mut unit.part {
                    range.end = item + 1;
                }
            }
            _ => units.push(Unit {
                piece,
                offset: start,
                len: size,
                whole: false,
                part: Part::Items(item..item + 1),
            }),
        }
    }
    for unit in &mut units {
        unit.whole = unit.offset == 0 && unit.len == position;
    }
    units
}
