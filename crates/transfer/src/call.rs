//! Calls to providers and how they go.

use std::time::Duration;

use zeroshare_proof::ListDigest;

use crate::{ProviderId, Unit, UnitId};

/// Names a call of one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(crate) u64);

/// A call to be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name in all reports about it.
    pub id: CallId,
    /// Whom to ask.
    pub provider: ProviderId,
    /// What to ask for, in this order; never empty.
    pub units: Vec<UnitId>,
    /// Whether the provider is to hash what it sends against its own record first.
    pub recheck: bool,
}

/// What became of one unit of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitOutcome {
    /// Every entry of a run matched and is on the disk.
    Proven,
    /// A slice is on the disk.
    Written {
        /// It was there already, and with other bytes.
        differs: bool,
    },
    /// A slice was judged as it came, and what holds is on the disk.
    Judged {
        /// By which list.
        list: ListDigest,
        /// How many grains hold, from the first that was asked for.
        grains: u32,
        /// Whether it is the list that the header named; else it is the lead, since the header named none.
        is_own: bool,
        /// Whether the next grain does not hold; else the stream ended there.
        is_wrong: bool,
    },
    /// The stream ended inside a run, whose first entries did match and are on the disk.
    Part {
        /// How many.
        proven_items: u32,
        /// How many bytes they have.
        proven_bytes: u64,
    },
    /// An entry of a run did not match; the `proven_items` at its start did and are on the disk.
    Wrong {
        /// How many.
        proven_items: u32,
        /// How many bytes they have.
        proven_bytes: u64,
    },
}

/// How a call ended. Units without an outcome by then are asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// The provider ended the stream in order.
    Finished,
    /// The connection could not be made or broke, or the provider failed.
    Lost,
    /// Too little came, by the rule of [`crate::Pace`].
    Stalled,
    /// The provider has too much to do.
    Busy {
        /// When it says to come back.
        retry_after: Option<Duration>,
    },
    /// The provider does not hold this piece, or, without a piece, anything of it.
    NotHeld {
        /// Which.
        piece: Option<u32>,
    },
    /// The provider found its own disk at fault.
    Corrupt,
    /// The provider does not let us read.
    Refused,
    /// What came breaks the protocol: headers nobody asked for, too many bytes.
    Violation,
    /// An entry did not match, and the reader hung up.
    Wrong,
    /// We hung up.
    Cancelled,
}

/// Pieces in a row, or a part of one, as they are asked for on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first piece.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// Bytes to leave out, for a single piece.
    pub skip: u64,
    /// Bytes to send then; 0: the rest.
    pub limit: u64,
}

/// Puts units into as few spans as they allow, in the same order.
pub fn spans<'a>(units: impl IntoIterator<Item = &'a Unit>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for unit in units {
        match spans.last_mut() {
            Some(last)
                if unit.whole
                    && (last.skip, last.limit) == (0, 0)
                    && last.first.checked_add(last.count) == Some(unit.piece) =>
            {
                last.count += 1;
            }
            _ => spans.push(Span {
                first: unit.piece,
                count: 1,
                skip: unit.offset,
                limit: if unit.whole { 0 } else { unit.len },
            }),
        }
    }
    spans
}
