//! Files that come in slices, and who sent what.

use std::ops::Range;

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitState {
    Missing,
    Asked(crate::CallId),
    /// A slice that is on the disk, and proves nothing by itself.
    Written,
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
