//! Many machines fetch one blob at the same moment, and nobody has it.
//!
//! Each that was itself started with an upstream URL is a member. Members divide the pieces by rendezvous hashing over
//! (node, piece): each **claims** pieces, reads them from upstream, and **states** what they hash to; everybody takes them
//! from their origin, or from whoever got them since. A statement counts only on its origin's own connection. Whoever is done
//! with its own share takes pieces that others did not claim yet, so that slow members keep nobody waiting.
//!
//! Nothing proves a piece by itself. When all are there the blob is hashed; if it does not match, each piece is read from upstream
//! by one more member (a *round*), until somebody's word differs from another's: then upstream is asked, and decides. After
//! [`SHARED_ROUNDS`] rounds a member reads everything itself. Who passed wrong bytes on under somebody else's word is never blamed.
//!
//! [`ColdStart`] is one member's view. It knows no socket and no clock; its owner carries out its [`ColdAction`]s. Start reading at
//! [`ColdStart::poll_action`].

mod claiming;
mod givers;
mod judging;
mod member;
mod members;
mod piece;
mod rendezvous;
mod settings;
mod taking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Instant;

use zeroshare_content::{BlobId, Layout};

use givers::Givers;
use member::Member;
use piece::Piece;
use rendezvous::{Weights, order};

pub use member::{ColdDrop, MemberId, NodeName};
pub use settings::{ColdSettings, Origin};
pub use taking::TakeEnd;

/// SHA-256 of a piece.
pub type PieceDigest = [u8; 32];

/// Peers followed at a time in one cold start: a statement counts on its origin's own connection only.
pub const MAX_MEMBERS: usize = 64;

/// Rounds in which members read on each other's behalf; then each reads all itself.
pub const SHARED_ROUNDS: u32 = 3;

/// Names a range read from upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// Names a call to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TakeId(u64);

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColdAction {
    /// Tell others that these pieces are about to be read from upstream.
    Claim {
        /// Which.
        pieces: Range<u32>,
    },
    /// Read these pieces from upstream, in order.
    Read {
        /// Its name.
        request: RequestId,
        /// Which.
        pieces: Range<u32>,
    },
    /// Read pieces from a member, in this order.
    Take {
        /// Its name.
        take: TakeId,
        /// From whom.
        member: MemberId,
        /// Which; never empty.
        pieces: Vec<u32>,
    },
    /// Hang up; the end is still to be reported.
    CancelTake {
        /// On which.
        take: TakeId,
    },
    /// Tell others what a piece that is here hashes to.
    State {
        /// Which.
        piece: u32,
        /// Its SHA-256.
        digest: PieceDigest,
        /// Whose word it is; `None`: our own.
        origin: Option<MemberId>,
    },
    /// Hash the whole blob, and report the verdict.
    Check,
    /// The member is asked no more.
    Drop {
        /// Who.
        member: MemberId,
        /// Why.
        reason: ColdDrop,
    },
}

/// Where a cold start stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdStanding {
    /// The blob is proven.
    Done,
    /// It goes on.
    Working,
    /// All was read from upstream, and is not the blob.
    WrongUpstream,
    /// Nothing comes, and nothing can be read from upstream.
    Starved,
}

/// One member's view of a cold start.
///
/// Invariants: a piece is read by one request or take at a time; `wanted` are those not held.
#[derive(Debug)]
pub struct ColdStart {
    settings: ColdSettings,
    origin: Origin,
    me: NodeName,
    blob: BlobId,
    weights: Weights,
    pieces: Vec<Piece>,
    wanted: BTreeSet<u32>,
    members: Vec<Member>,
    requests: BTreeMap<RequestId, Request>,
    takes: BTreeMap<TakeId, taking::Take>,
    givers: Givers,
    next_id: u64,
    /// How many words a piece needs.
    round: u32,
    disputes: BTreeSet<u32>,
    /// Other bytes lie there than when the blob was hashed last.
    has_changed: bool,
    is_checking: bool,
    verdict: Option<bool>,
    start: Instant,
    last_join: Instant,
    /// The last time that anything was of use.
    last_gain: Instant,
    upstream: Upstream,
    actions: VecDeque<ColdAction>,
}

/// How upstream did so far.
#[derive(Debug)]
struct Upstream {
    failures: u32,
    rests_until: Option<Instant>,
    is_lost: bool,
    request_bytes: u64,
    read_bytes: u64,
    /// When the first request began, and the last piece came.
    read_from: Option<Instant>,
    read_until: Instant,
}

/// A range claimed, and then read.
#[derive(Debug, Clone)]
struct Request {
    pieces: Range<u32>,
    claimed: Instant,
    is_reading: bool,
    /// It is to write pieces that are still taken from members: these calls are being given up.
    is_clearing: bool,
}

impl ColdStart {
    /// Begins with the pieces that `held` gives: read by this machine from upstream before, or left by an earlier fetch.
    ///
    /// `me` names this node; what it reads counts for others if they follow it.
    pub fn new(
        (me, blob): (NodeName, BlobId),
        layout: &Layout,
        origin: Origin,
        settings: ColdSettings,
        now: Instant,
    ) -> Self {
        let count = layout.piece_count();
        let len = |number| layout.piece_len(number).unwrap_or(0);
        let request_bytes = settings.first_request_bytes;
        Self {
            settings,
            origin,
            me,
            blob,
            weights: Weights::new(me, blob, count),
            pieces: (0..count).map(|number| Piece::new(len(number))).collect(),
            wanted: (0..count).collect(),
            members: Vec::new(),
            requests: BTreeMap::new(),
            takes: BTreeMap::new(),
            givers: Givers::new(now),
            next_id: 0,
            round: 1,
            disputes: BTreeSet::new(),
            has_changed: true,
            is_checking: false,
            verdict: None,
            start: now,
            last_join: now,
            last_gain: now,
            upstream: Upstream {
                failures: 0,
                rests_until: None,
                is_lost: false,
                request_bytes,
                read_bytes: 0,
                read_from: None,
                read_until: now,
            },
            actions: VecDeque::new(),
        }
    }

    /// Takes in that a piece lies there from before, with this hash. It is nobody's word: it is believed until the end.
    pub fn handle_found(&mut self, piece: u32, digest: PieceDigest) {
        if let Some(found) = self.pieces.get_mut(piece as usize) {
            found.hold(digest, false);
            self.wanted.remove(&piece);
        }
    }

    /// Gives the next thing to do.
    pub fn poll_action(&mut self, now: Instant) -> Option<ColdAction> {
        if self.actions.is_empty() {
            self.plan(now);
        }
        self.actions.pop_front()
    }

    /// Says when [`Self::poll_action`] must be called next, if nothing else happens before.
    pub fn poll_timeout(&self, now: Instant) -> Instant {
        let settled = self.start + self.settings.settle;
        let tick = now + self.settings.quiet;
        let claimed = self.requests.values().filter(|request| !request.is_reading);
        let started = claimed.map(|request| request.claimed + self.lead());
        let times = started
            .chain(self.upstream.rests_until)
            .chain(std::iter::once(settled));
        times
            .filter(|at| *at > now)
            .chain([tick])
            .min()
            .unwrap_or(tick)
    }

    /// Says where it stands, once no action is left to be polled.
    pub fn standing(&self, now: Instant) -> ColdStanding {
        match self.verdict {
            Some(true) => return ColdStanding::Done,
            Some(false) if self.is_all_own() && !self.has_changed => {
                return ColdStanding::WrongUpstream;
            }
            Some(false) | None => {}
        }
        let is_idle = self.requests.is_empty() && self.takes.is_empty() && !self.is_checking;
        let waited = now.saturating_duration_since(self.last_gain);
        if is_idle && !self.can_read() && waited >= self.settings.starved {
            return ColdStanding::Starved;
        }
        ColdStanding::Working
    }

    /// Counts the bytes that came from upstream.
    pub fn upstream_bytes(&self) -> u64 {
        self.upstream.read_bytes
    }

    /// Counts the bytes that are here, proven or not.
    pub fn held_bytes(&self) -> u64 {
        let held = self.pieces.iter().filter(|piece| piece.held.is_some());
        held.map(|piece| piece.bytes).sum()
    }

    /// Begins anew with another mirror, after [`ColdStanding::WrongUpstream`]: whoever was at odds with the one before is heard again.
    pub fn handle_other_mirror(&mut self, now: Instant) {
        for member in &mut self.members {
            member.forgive();
        }
        for piece in &mut self.pieces {
            piece.held = None;
        }
        self.wanted = (0..).take(self.pieces.len()).collect();
        self.disputes.clear();
        (self.round, self.verdict, self.last_gain) = (1, None, now);
        self.has_changed = true;
    }

    /// Takes in that upstream cannot be read any more.
    pub fn handle_upstream_lost(&mut self) {
        self.upstream.is_lost = true;
    }

    /// Takes in what hashing the whole blob said.
    pub fn handle_check(&mut self, now: Instant, matches: bool) {
        if !std::mem::take(&mut self.is_checking) {
            return;
        }
        self.verdict = Some(matches);
        self.last_gain = now;
        if !matches && self.round == 1 {
            self.round = 2;
        }
    }

    fn plan(&mut self, now: Instant) {
        if self.verdict == Some(true) || self.is_checking {
            return;
        }
        self.forget_old_claims(now);
        self.weigh_givers(now);
        self.plan_takes(now);
        self.plan_reads(now);
        self.plan_check();
    }

    fn plan_check(&mut self) {
        let is_idle = self.requests.is_empty() && self.takes.is_empty();
        if !self.wanted.is_empty() || !self.disputes.is_empty() || !is_idle {
            return;
        }
        if self.has_changed {
            self.has_changed = false;
            self.is_checking = true;
            self.actions.push_back(ColdAction::Check);
        } else if self.round <= SHARED_ROUNDS && self.is_round_over() {
            self.round += 1;
        }
    }

    fn is_all_own(&self) -> bool {
        self.pieces.iter().all(Piece::is_own)
    }

    /// Whether upstream can be read at all.
    fn can_read(&self) -> bool {
        self.origin != Origin::None && !self.upstream.is_lost
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The place of a node among all, where only one may read.
    fn order_of(&self, node: NodeName) -> (u64, NodeName) {
        (order(node, self.blob), node)
    }
}
