//! Whom a cold start follows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

/// Names a peer of one cold start, also when its place is somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    place: u32,
    /// How many had the place before.
    before: u32,
}

impl MemberId {
    pub(super) fn first_at(place: u32) -> Self {
        Self { place, before: 0 }
    }

    /// Names who has the place from now on.
    pub(super) fn next(self) -> Self {
        let before = self.before.wrapping_add(1);
        Self { before, ..self }
    }

    pub(super) fn index(self) -> usize {
        self.place as usize
    }

    pub(super) fn bit(self) -> u64 {
        1_u64.checked_shl(self.place).unwrap_or(0)
    }
}

/// What a node calls itself: a hint, by which shares are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName([u8; 16]);

impl NodeName {
    /// Takes the bytes of a node id.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why a member is asked no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdDrop {
    /// It said of a piece that it read from upstream something that upstream does not say.
    WrongWord,
    /// What it sent is not what it said, again when asked again.
    BrokeItsWord,
    /// It broke the protocol.
    Violation,
    /// It failed too often.
    Unreachable,
}

impl fmt::Display for ColdDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongWord => "stated a piece that upstream has otherwise",
            Self::BrokeItsWord => "sent other bytes than it stated",
            Self::Violation => "broke the protocol",
            Self::Unreachable => "failed or could not be reached too often",
        })
    }
}

impl ColdDrop {
    /// Says whether bytes were wrong, rather than late or missing.
    pub fn is_wrong_bytes(self) -> bool {
        !matches!(self, Self::Unreachable)
    }
}

/// Whether a peer can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberStanding {
    Live,
    /// It is not followed any more.
    Gone,
    Dropped(ColdDrop),
}

/// A peer and how it did so far.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) node: NodeName,
    /// It was itself started with an upstream.
    pub(super) takes_part: bool,
    pub(super) standing: MemberStanding,
    /// What it had before it was followed is known.
    pub(super) is_known: bool,
    /// Pieces it is about to read from upstream, since when, and their bytes.
    pub(super) claims: BTreeMap<u32, Instant>,
    pub(super) claimed_bytes: u64,
    /// Since when it has claimed something without a break, and bytes of claims that it made good since.
    pub(super) claiming_since: Instant,
    pub(super) kept_bytes: u64,
    /// Bytes of its claims that are believed at a time.
    pub(super) credit: u64,
    /// When it came, began to claim, or said last what nobody had said before.
    pub(super) last_word: Instant,
    /// Pieces that it gives, and that are wanted.
    pub(super) gives: BTreeSet<u32>,
    /// It says that it proved what it has, and stands by it.
    pub(super) proves: bool,
    pub(super) calls: usize,
    pub(super) failures: u32,
    /// Calls in a row that were given up because they were too slow.
    pub(super) late_calls: u32,
    pub(super) broken_words: u32,
    pub(super) rests_until: Option<Instant>,
}

impl Member {
    pub(super) fn new(id: MemberId, node: NodeName, credit: u64, now: Instant) -> Self {
        Self {
            id,
            node,
            takes_part: false,
            standing: MemberStanding::Live,
            is_known: false,
            claims: BTreeMap::new(),
            claimed_bytes: 0,
            claiming_since: now,
            kept_bytes: 0,
            credit,
            last_word: now,
            gives: BTreeSet::new(),
            proves: false,
            calls: 0,
            failures: 0,
            late_calls: 0,
            broken_words: 0,
            rests_until: None,
        }
    }

    /// Whether it can be asked, and reads from upstream.
    pub(super) fn is_live(&self) -> bool {
        self.standing == MemberStanding::Live
    }

    /// Whether its word counts: also when it can be asked no more, since it read from upstream what it said.
    pub(super) fn is_believed(&self) -> bool {
        !matches!(self.standing, MemberStanding::Dropped(why) if why.is_wrong_bytes())
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.is_live() && self.rests_until.is_none_or(|until| until <= now)
    }

    /// It said otherwise than an upstream that turned out wrong.
    pub(super) fn forgive(&mut self) {
        if self.standing == MemberStanding::Dropped(ColdDrop::WrongWord) {
            self.standing = MemberStanding::Live;
        }
    }
}
