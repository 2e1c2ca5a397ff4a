//! Files that come in slices, and who sent what.

use std::ops::Range;

use zeroshare_content::GRAIN;
use zeroshare_proof::{FileProof, KnownList};

use crate::{Part, ProviderId, Unit};

/// Who sent a slice; `None` is somebody before this transfer.
pub(crate) type Source = Option<ProviderId>;

/// A unit and how far it is.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) unit: Unit,
    pub(crate) state: UnitState,
    /// All who sent exactly the slice that lies on the disk now.
    pub(crate) holders: Vec<Source>,
    /// All who sent the other bytes that lay there before.
    pub(crate) before: Vec<Source>,
    /// The bytes of the whole slice, of which the unit is what is missing.
    slice_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitState {
    Missing,
    Asked(crate::CallId),
    /// A slice that is on the disk, and proves nothing by itself.
    Written,
    /// A slice that is on the disk, and being judged there.
    Judging,
    Proven,
}

impl Tracked {
    pub(crate) fn new(unit: Unit, written: bool) -> Self {
        let (state, holders) = if written {
            (UnitState::Written, vec![None])
        } else {
            (UnitState::Missing, Vec::new())
        };
        Self {
            slice_bytes: unit.len,
            unit,
            state,
            holders,
            before: Vec::new(),
        }
    }

    /// Takes in that `source` sent the slice that lies there now.
    pub(crate) fn write(&mut self, source: ProviderId, differs: bool) {
        if differs {
            self.before = std::mem::take(&mut self.holders);
        }
        self.holders.push(Some(source));
        self.state = UnitState::Written;
    }

    pub(crate) fn is_held_by(&self, provider: ProviderId) -> bool {
        self.holders.contains(&Some(provider))
    }

    /// The grains of the whole slice, counted from the file's start; none for a run.
    pub(crate) fn grains(&self) -> Range<u32> {
        match self.unit.part {
            Part::Slice { offset, .. } => grains(offset, self.slice_bytes),
            Part::Items(_) => 0..0,
        }
    }

    /// The grains that are asked for, of a slice.
    pub(crate) fn asked_grains(&self) -> Range<u32> {
        match self.unit.part {
            Part::Slice { offset, .. } => grains(offset + self.unit.offset, self.unit.len),
            Part::Items(_) => 0..0,
        }
    }

    /// Where the slice ends in its file.
    pub(crate) fn end(&self) -> u64 {
        match self.unit.part {
            Part::Slice { offset, .. } => offset + self.slice_bytes,
            Part::Items(_) => 0,
        }
    }

    /// Asks for all of the slice.
    pub(crate) fn make_whole(&mut self) {
        if let Part::Slice { .. } = self.unit.part {
            self.unit.offset = 0;
            self.unit.len = self.slice_bytes;
            self.unit.whole = true;
        }
    }

    /// Asks for these grains of the slice only.
    pub(crate) fn fit(&mut self, run: Range<u32>) {
        let Part::Slice { offset, .. } = self.unit.part else {
            return;
        };
        let start = (u64::from(run.start) * GRAIN).saturating_sub(offset);
        let end = (u64::from(run.end) * GRAIN)
            .saturating_sub(offset)
            .min(self.slice_bytes);
        if start >= end {
            return;
        }
        self.unit.offset = start;
        self.unit.len = end - start;
        self.unit.whole = self.unit.len == self.slice_bytes;
    }

    /// The file whose slice it is.
    pub(crate) fn file(&self) -> Option<u32> {
        match self.unit.part {
            Part::Slice { item, .. } => Some(item),
            Part::Items(_) => None,
        }
    }
}

/// A file that comes in slices.
#[derive(Debug)]
pub(crate) struct SlicedFile {
    /// Its slices, which are neighbours.
    pub(crate) units: Range<usize>,
    /// How many of them are on the disk.
    pub(crate) written: usize,
    pub(crate) pin: Pin,
    /// Somebody hashes it now.
    pub(crate) is_checking: bool,
    /// What is known of its grains; `None` where it is proven as a whole only.
    pub(crate) proof: Option<FileProof>,
}

impl SlicedFile {
    /// The list that it is put together under.
    pub(crate) fn lead(&self) -> Option<&KnownList> {
        self.proof.as_ref()?.lead()
    }
}

fn grains(offset: u64, len: u64) -> Range<u32> {
    let index = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
    index(offset / GRAIN)..index((offset + len).div_ceil(GRAIN))
}

/// From whom the slices of a file may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pin {
    /// From anybody.
    Anybody,
    /// It did not match: from one provider, which has to be found.
    OneOf,
    /// From this one alone.
    One(ProviderId),
}
