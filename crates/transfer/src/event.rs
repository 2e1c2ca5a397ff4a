//! What a transfer tells its owner.

use std::fmt;
use std::time::Instant;

use crate::{CallId, ProviderId, UnitId};

/// Something the owner has to do or should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// All slices of a file are on the disk: hash it and report the verdict.
    CheckFile {
        /// The file.
        item: u32,
    },
    /// Every grain of a file holds by its lead, see [`crate::Transfer::lead`]: finish it, without hashing it again, and report the verdict.
    ProveFile {
        /// The file.
        item: u32,
    },
    /// A file is put together under another list, or under one at all: what is on the disk is judged anew.
    Lead {
        /// The file.
        item: u32,
    },
    /// Judge a slice that is on the disk by the lead, grain by grain.
    Judge {
        /// The slice.
        unit: UnitId,
    },
    /// Hang up; the end of the call is still to be reported.
    Cancel {
        /// Which call.
        call: CallId,
    },
    /// The provider is asked no more.
    Dropped {
        /// Who.
        provider: ProviderId,
        /// Why.
        reason: DropReason,
    },
}

/// What hashing a whole file said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileVerdict {
    /// It matches.
    Proven,
    /// It does not.
    Mismatch,
    /// Not all of it holds by the lead after all: it is judged again.
    Unlinked,
}

/// Why a provider is asked no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// It could not be reached, or failed, too often.
    Unreachable,
    /// It stalled too often.
    TooSlow,
    /// It was busy for too long.
    TooBusy,
    /// It holds nothing of the content.
    NotHolding,
    /// It does not let us read.
    Refused,
    /// It broke the protocol.
    Violation,
    /// It found its own disk at fault.
    Corrupt,
    /// A file that it sent alone did not match. That may be its disk, or ours.
    Mismatch,
    /// It sent wrong slices of a file that another provider sent right.
    WrongSlices,
    /// It sent several wrong entries, each right when it was asked to check it.
    OftenWrong,
    /// It sent wrong bytes, and again after it was asked to check them: an entry that does not match, or a grain that does not
    /// hold by its own list.
    WrongTwice,
    /// It says to have the whole, and gave a list of midstates that the bytes of another one refuted.
    LostDispute,
    /// It says to have the whole, and named one list of midstates and then another one.
    Renamed,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "failed or could not be reached too often",
            Self::TooSlow => "stalled too often",
            Self::TooBusy => "was busy for too long",
            Self::NotHolding => "does not hold it",
            Self::Refused => "does not let us read",
            Self::Violation => "broke the protocol",
            Self::Corrupt => "found its own disk at fault",
            Self::Mismatch => "sent a file that does not match",
            Self::WrongSlices => "sent wrong slices of a file",
            Self::OftenWrong => "sent wrong bytes too often",
            Self::WrongTwice => "sent wrong bytes, and again when asked to check them",
            Self::LostDispute => "gave midstates that the right bytes refute",
            Self::Renamed => "gave two different lists of midstates",
        })
    }
}

impl DropReason {
    /// Says whether bytes were wrong, rather than late or missing.
    pub fn is_wrong_bytes(self) -> bool {
        matches!(
            self,
            Self::Violation
                | Self::Corrupt
                | Self::Mismatch
                | Self::WrongSlices
                | Self::OftenWrong
                | Self::WrongTwice
                | Self::LostDispute
                | Self::Renamed
        )
    }
}

/// Where a transfer stands when it has neither call nor event to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All is proven.
    Done,
    /// Calls or checks are running.
    Working,
    /// Nothing runs; a provider may be asked again then.
    Waiting {
        /// When.
        until: Instant,
    },
    /// Nothing runs, and nobody is left who holds what is missing.
    Starved,
}
