//! What a peer can do wrong.

use std::time::Duration;

use bytes::Bytes;

/// One way to misbehave; several may be combined.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Each of these pieces has one wrong byte.
    WrongBytes(Which),
    /// These pieces have one wrong byte, as from a disk gone bad: whoever asks for a recheck learns that.
    BadDisk(Which),
    /// It gives lists of midstates of which one state is wrong, and right bytes.
    WrongMidstates,
    /// The first byte of every large file is wrong, and the lists of midstates agree with that, but not with the file's hash.
    ConsistentFake,
    /// It keeps no midstates.
    NoMidstates,
    /// It does not answer whoever asks for midstates.
    StallMidstates,
    /// The last byte of each manifest is wrong.
    WrongManifest,
    /// Every manifest is this instead, whatever id was asked for.
    ManifestInstead(Bytes),
    /// Every manifest is 10 GiB of zeros; `announced` says so up front.
    EndlessManifest {
        /// Whether head and stat give that size.
        announced: bool,
    },
    /// These pieces never end.
    EndlessPiece(Which),
    /// Nothing comes, not even an answer.
    StallBeforeAnswer,
    /// The answer begins, and nothing comes, not even a head.
    StallBeforeHead,
    /// Half of the first such piece comes, then nothing.
    StallInPiece(Which),
    /// Before each of these pieces it waits so long.
    Slow(Which, Duration),
    /// The stream ends in the middle of the first such piece, as if all were well.
    EndInPiece(Which),
    /// The call fails in the middle of the first such piece.
    FailInPiece(Which),
    /// All connections are reset in the middle of the first such piece.
    CutInPiece(Which),
    /// Before the first such piece the peer says goodbye (GOAWAY), and serves this call to its end.
    LeaveBefore(Which),
    /// The headers of these pieces lie.
    WrongHeader(Which, HeaderLie),
    /// One byte more comes than the header of these pieces says.
    OneByteMore(Which),
    /// These pieces come twice each.
    Twice(Which),
    /// Data comes in messages of 8 MiB.
    HugeMessages(Which),
    /// The head says that the content is twice as large as it is.
    WrongHead,
    /// No head is sent.
    NoHead,
    /// It says that it holds everything it is asked about, and then has nothing of it.
    LacksContent,
    /// It says that it holds everything, and does not have these pieces.
    LacksPieces(Which),
    /// It gives this feed and key, whatever address was asked for.
    Feed {
        /// The feed as it is sent.
        feed: Bytes,
        /// The key as it is sent.
        key: Bytes,
    },
    /// It is always too busy, and says when to come back.
    Busy(Duration),
}

/// Which pieces are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Runs of small files and of links.
    Runs,
    /// Slices of large files.
    Slices,
    /// This one.
    Number(u32),
    /// The n-th piece of each call, and all after it; counted from 0.
    FromNth(usize),
}

/// How the header of a piece can lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderLie {
    /// It names the piece after it.
    NextPiece,
    /// It names a piece past every end.
    NoPiece,
    /// It begins a byte further on.
    Offset,
    /// It is a byte shorter.
    Shorter,
    /// It is 2⁶⁴ − 1 bytes long.
    Huge,
}

/// A piece at hand, for telling whether a fault concerns it.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) number: u32,
    pub(super) nth: usize,
    pub(super) is_slice: bool,
}

impl Which {
    pub(super) fn concerns(self, at: At) -> bool {
        match self {
            Self::All => true,
            Self::Runs => !at.is_slice,
            Self::Slices => at.is_slice,
            Self::Number(number) => at.number == number,
            Self::FromNth(nth) => at.nth >= nth,
        }
    }
}
