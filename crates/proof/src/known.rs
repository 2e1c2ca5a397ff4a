use std::sync::Arc;

use crate::Midstates;

/// Names a list of midstates: SHA-256 over its bytes.
pub type ListDigest = [u8; 32];

/// A list of midstates with its name; cheap to hand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownList {
    digest: ListDigest,
    midstates: Arc<Midstates>,
}

impl KnownList {
    /// Takes a list, and names it.
    pub fn new(midstates: Midstates) -> Self {
        Self {
            digest: midstates.list_digest(),
            midstates: Arc::new(midstates),
        }
    }

    /// Its name, computed here.
    pub fn digest(&self) -> &ListDigest {
        &self.digest
    }

    /// The list.
    pub fn midstates(&self) -> &Midstates {
        &self.midstates
    }

    /// Whether both lead from the same state to the same state over a grain.
    ///
    /// Start value and hash, at the ends, are common to all lists of a file.
    pub(crate) fn agrees_at(&self, other: &Self, grain: u32) -> bool {
        self.border(grain) == other.border(grain)
            && self.border(grain + 1) == other.border(grain + 1)
    }

    /// The last border at which two lists of one length differ; `None` if they are equal.
    ///
    /// All behind it is common to both, so that whoever can give the grain there decides.
    pub(crate) fn last_difference(&self, other: &Self) -> Option<u32> {
        let (own, others) = (self.midstates.states(), other.midstates.states());
        let at = own
            .iter()
            .zip(others)
            .rposition(|(own, other)| own != other)?;
        u32::try_from(at + 1).ok()
    }

    /// The state before a grain, or `None` at the ends.
    fn border(&self, grain: u32) -> Option<&[u8; 32]> {
        let at = (grain as usize).checked_sub(1)?;
        self.midstates.states().get(at)
    }
}
