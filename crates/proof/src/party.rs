use crate::ListDigest;

/// Names somebody who gives lists and slices of one file; numbered by the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(pub u32);

/// What one provider said of a file, on its own connection.
#[derive(Debug)]
pub(crate) struct Stand {
    /// It claims to hold the whole: only then it can win or lose a dispute.
    pub(crate) is_complete: bool,
    pub(crate) word: Word,
    pub(crate) presence: Presence,
    /// It was asked for the grain that decides the present dispute, and did not give it.
    pub(crate) has_failed: bool,
    /// It names no list, and what it sent did not hold by this one. Either may be wrong.
    pub(crate) differs_from: Option<ListDigest>,
}

/// Whether somebody can still be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Live,
    /// It is asked no more. What it stood by it still answers for.
    Gone,
    /// It lost a dispute.
    Convicted,
}

/// By which list somebody stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It was not heard yet.
    Awaited,
    /// It keeps none, or does not say.
    NoList,
    Named(ListDigest),
}

impl Stand {
    pub(crate) fn new() -> Self {
        Self {
            is_complete: false,
            word: Word::Awaited,
            presence: Presence::Live,
            has_failed: false,
            differs_from: None,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.presence == Presence::Live
    }

    pub(crate) fn stands_by(&self, list: &ListDigest) -> bool {
        self.word == Word::Named(*list)
    }

    /// Whether it takes part in disputes, on the side of this list.
    pub(crate) fn is_on_side(&self, list: &ListDigest) -> bool {
        self.is_complete && self.is_live() && self.stands_by(list)
    }
}
