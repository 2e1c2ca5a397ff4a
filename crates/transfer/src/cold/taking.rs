//! What is read from members.

use std::time::{Duration, Instant};

use super::{ColdAction, ColdDrop, ColdStart, MemberId, PieceDigest, TakeId};

/// Times that a member may send other bytes than it stated: its disk or memory may be at fault.
const MAX_BROKEN_WORDS: u32 = 2;

/// A call that runs.
#[derive(Debug)]
pub(super) struct Take {
    pub(super) member: MemberId,
    pieces: Vec<u32>,
    pub(super) since: Instant,
    /// What came by it since the givers were weighed last.
    pub(super) bytes: u64,
    pub(super) is_cancelled: bool,
    /// It was too slow.
    pub(super) is_late: bool,
}

/// How a call to a member ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeEnd {
    /// In order.
    Finished,
    /// It could not be reached, failed, or stalled.
    Lost,
    /// It has too much to do.
    Busy {
        /// When it says to come back.
        retry_after: Option<Duration>,
    },
    /// It does not hold this piece any more, or none of them.
    NotHeld {
        /// Which.
        piece: Option<u32>,
    },
    /// It broke the protocol.
    Violation,
    /// We hung up.
    Cancelled,
}

impl ColdStart {
    /// Takes in that a piece came from a member, lies there, and hashes to this.
    pub fn handle_taken(&mut self, now: Instant, take: TakeId, piece: u32, digest: PieceDigest) {
        let Some(open) = self.takes.get_mut(&take) else {
            return;
        };
        let member = open.member;
        let known = self.pieces.get_mut(piece as usize);
        let Some(known) = known.filter(|known| known.take == Some(take)) else {
            return;
        };
        known.take = None;
        open.bytes += known.bytes;
        self.givers.bytes += known.bytes;
        let word = self.origin_of(piece, digest);
        let stands_by_it = self.members[member.index()].proves;
        let origin = match word {
            Some(origin) => origin,
            None if stands_by_it => {
                // Its own word; should somebody else's differ, upstream decides.
                self.pieces[piece as usize].hear(member, digest);
                member
            }
            None => return self.break_word(member, piece),
        };
        self.members[member.index()].failures = 0;
        self.last_gain = now;
        self.hold(piece, digest, false);
        self.actions.push_back(ColdAction::State {
            piece,
            digest,
            origin: Some(origin),
        });
        self.judge(piece);
    }

    /// Takes in that a call is over, and that none of its bytes is written any more.
    pub fn handle_take_end(&mut self, now: Instant, take: TakeId, end: TakeEnd) {
        let Some(open) = self.takes.remove(&take) else {
            return;
        };
        let mut is_short = false;
        for number in &open.pieces {
            let piece = &mut self.pieces[*number as usize];
            if piece.take == Some(take) {
                piece.take = None;
                is_short = true;
            }
        }
        let rest = self.settings.rest;
        let longest = self.settings.longest_rest;
        let member = &mut self.members[open.member.index()];
        member.calls = member.calls.saturating_sub(1);
        match end {
            TakeEnd::Finished if !is_short => member.late_calls = 0,
            TakeEnd::Cancelled if open.is_late => {
                member.late_calls += 1;
                let late_calls = member.late_calls;
                let doubled = rest.saturating_mul(1 << (late_calls - 1).min(16));
                member.rests_until = Some(now + doubled.min(longest));
                if late_calls >= self.settings.failures {
                    self.drop_member(open.member, ColdDrop::Unreachable);
                }
            }
            TakeEnd::Cancelled => {}
            TakeEnd::Violation => self.drop_member(open.member, ColdDrop::Violation),
            TakeEnd::Busy { retry_after } => {
                let wish = retry_after.unwrap_or(rest).clamp(rest / 4, longest);
                member.rests_until = Some(now + wish);
            }
            TakeEnd::NotHeld { piece: Some(piece) } => self.lack(open.member, piece),
            TakeEnd::Finished | TakeEnd::Lost | TakeEnd::NotHeld { piece: None } => {
                member.failures += 1;
                let failures = member.failures;
                let doubled = rest.saturating_mul(1 << (failures - 1).min(16));
                member.rests_until = Some(now + doubled.min(longest));
                if failures >= self.settings.failures {
                    self.drop_member(open.member, ColdDrop::Unreachable);
                }
            }
        }
    }

    /// Asks members for what they have, the least busy first.
    pub(super) fn plan_takes(&mut self, now: Instant) {
        if self
            .requests
            .values()
            .any(|request| request.is_clearing && !request.is_reading)
        {
            return;
        }
        let ready = self.members.iter();
        let ready = ready.filter(|member| member.is_ready(now) && !member.gives.is_empty());
        let mut order: Vec<(usize, u32, MemberId)> = ready
            .map(|member| (member.calls, member.failures + member.late_calls, member.id))
            .collect();
        order.sort_unstable();
        for (_, _, member) in order {
            if self.takes.len() >= self.settings.calls {
                return;
            }
            if self.members[member.index()].calls >= self.settings.calls_per_member {
                continue;
            }
            let pieces = self.choose_from(member);
            if pieces.is_empty() {
                continue;
            }
            let take = TakeId(self.id());
            for number in &pieces {
                self.pieces[*number as usize].take = Some(take);
            }
            self.members[member.index()].calls += 1;
            let open = Take {
                member,
                pieces: pieces.clone(),
                since: now,
                bytes: 0,
                is_cancelled: false,
                is_late: false,
            };
            self.takes.insert(take, open);
            self.actions.push_back(ColdAction::Take {
                take,
                member,
                pieces,
            });
        }
    }

    fn choose_from(&mut self, member: MemberId) -> Vec<u32> {
        // From another place each time and on each machine, so that they have different pieces to give.
        let turn = u32::try_from(self.next_id).unwrap_or(0) % self.piece_count().max(1);
        let start = self.weights.of(self.me, turn).0 % self.piece_count().max(1);
        let gives = &self.members[member.index()].gives;
        let (mut chosen, mut bytes) = (Vec::new(), 0);
        for number in gives.range(start..).chain(gives.range(..start)) {
            let piece = &self.pieces[*number as usize];
            let is_free =
                piece.take.is_none() && piece.request.is_none_or(|id| self.is_only_claimed(id));
            if !is_free || !self.is_takeable(*number, member) {
                continue;
            }
            bytes += piece.bytes;
            if !chosen.is_empty() && bytes > self.settings.call_bytes {
                break;
            }
            chosen.push(*number);
            if chosen.len() >= self.settings.call_pieces {
                break;
            }
        }
        for number in &chosen {
            // It was claimed only: others have it now.
            self.pieces[*number as usize].request = None;
        }
        chosen
    }

    /// Whether a piece may come from a member: somebody's word is known by which to judge it, or it stands by it.
    fn is_takeable(&self, number: u32, member: MemberId) -> bool {
        let has_word = || {
            let mut words = self.pieces[number as usize].words.iter();
            words.any(|(id, _)| self.members[id.index()].is_believed())
        };
        self.members[member.index()].proves || has_word()
    }

    /// Whether somebody who can be asked gives a piece.
    pub(super) fn is_given(&self, number: u32) -> bool {
        let holders = self.pieces[number as usize].holders;
        self.members.iter().any(|member| {
            let holds = holders & member.id.bit() != 0;
            holds && member.is_live() && self.is_takeable(number, member.id)
        })
    }

    /// Whose word these bytes are.
    fn origin_of(&self, number: u32, digest: PieceDigest) -> Option<MemberId> {
        let believed = |id: MemberId| self.members[id.index()].is_believed();
        let words = self.pieces[number as usize].words.iter();
        words
            .filter(|(id, word)| *word == digest && believed(*id))
            .map(|(id, _)| *id)
            .next()
    }

    /// What came is nobody's word. Only who gave its own is to blame; others may have been lied to.
    fn break_word(&mut self, member: MemberId, piece: u32) {
        let is_own = self.pieces[piece as usize].word_of(member).is_some();
        if !is_own {
            self.lack(member, piece);
            return;
        }
        let state = &mut self.members[member.index()];
        state.broken_words += 1;
        if state.broken_words >= MAX_BROKEN_WORDS {
            self.drop_member(member, ColdDrop::BrokeItsWord);
        }
    }

    fn lack(&mut self, member: MemberId, piece: u32) {
        if let Some(known) = self.pieces.get_mut(piece as usize) {
            known.holders &= !member.bit();
            self.members[member.index()].gives.remove(&piece);
        }
    }
}
