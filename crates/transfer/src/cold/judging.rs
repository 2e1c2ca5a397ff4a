//! Who said what of a piece, and who was wrong.

use std::ops::Range;
use std::time::Instant;

use super::member::MemberStanding;
use super::{ColdAction, ColdDrop, ColdStart, Member, MemberId, PieceDigest};

impl ColdStart {
    /// Takes in that a member can give pieces, by whosever word; `proven` if it stands by them itself.
    pub fn handle_held(&mut self, member: MemberId, pieces: Range<u32>, proven: bool) {
        let count = self.piece_count();
        let Some(state) = self.member_mut(member) else {
            return;
        };
        state.proves |= proven;
        let mut given = Vec::new();
        for number in pieces.start..pieces.end.min(count) {
            self.pieces[number as usize].holders |= member.bit();
            given.extend(self.wanted.contains(&number).then_some(number));
        }
        self.members[member.index()].gives.extend(given);
    }

    /// Takes in what a member says, on its own connection, that a piece hashes to which it read from upstream.
    pub fn handle_stated(
        &mut self,
        now: Instant,
        member: MemberId,
        piece: u32,
        digest: PieceDigest,
    ) {
        let is_known = |state: &&mut Member| state.id == member;
        let (Some(state), Some(known)) = (
            self.members.get_mut(member.index()).filter(is_known),
            self.pieces.get_mut(piece as usize),
        ) else {
            return;
        };
        let was_claimed = state.claims.remove(&piece).is_some();
        if was_claimed {
            state.claimed_bytes -= known.bytes;
        }
        state.takes_part = true;
        // Whoever repeats what others said, or it said itself, does not show that it reads.
        let is_unheard = known.words.is_empty() && !known.is_own();
        let is_asked_twice = self.round > 1 && known.word_of(member).is_none();
        if is_unheard || is_asked_twice {
            state.last_word = now;
            state.kept_bytes += if was_claimed { known.bytes } else { 0 };
            let earned = state.credit.saturating_add(known.bytes * 2);
            state.credit = earned.min(self.settings.claim_bytes);
        }
        let is_news = known.hear(member, digest);
        self.handle_held(member, piece..piece + 1, false);
        if is_news {
            self.judge(piece);
        }
    }

    /// Holds words of a piece against each other, and against what this machine read from upstream itself.
    pub(super) fn judge(&mut self, piece: u32) {
        let known = &self.pieces[piece as usize];
        let believed = |(id, _): &&(MemberId, PieceDigest)| self.members[id.index()].is_believed();
        let words: Vec<(MemberId, PieceDigest)> =
            known.words.iter().filter(believed).copied().collect();
        let own = known.held.filter(|held| held.is_own);
        if let Some(own) = own {
            self.disputes.remove(&piece);
            for (member, digest) in words {
                if digest != own.digest {
                    self.drop_member(member, ColdDrop::WrongWord);
                }
            }
            return;
        }
        let is_disputed = words.windows(2).any(|pair| pair[0].1 != pair[1].1);
        if is_disputed {
            self.disputes.insert(piece);
        } else {
            self.disputes.remove(&piece);
        }
        let stands =
            |digest: PieceDigest| words.is_empty() || words.iter().any(|(_, word)| *word == digest);
        if known.held.is_some_and(|held| !stands(held.digest)) {
            self.unhold(piece);
        }
    }

    /// Asks a member no more; what only it stood by is read again.
    pub fn drop_member(&mut self, member: MemberId, reason: ColdDrop) {
        let Some(state) = self.member_mut(member) else {
            return;
        };
        if matches!(state.standing, MemberStanding::Dropped(_)) {
            return;
        }
        state.standing = MemberStanding::Dropped(reason);
        state.claims.clear();
        state.claimed_bytes = 0;
        self.actions.push_back(ColdAction::Drop { member, reason });
        self.cancel_takes(|take| take.member == member);
        if !reason.is_wrong_bytes() {
            return;
        }
        for number in 0..self.piece_count() {
            let piece = &self.pieces[number as usize];
            let Some(word) = piece.word_of(member) else {
                continue;
            };
            let stood_by = piece
                .held
                .is_some_and(|held| !held.is_own && held.digest == word);
            if stood_by && !self.is_stood_by(number, word) {
                self.unhold(number);
            }
            self.judge(number);
        }
    }

    fn is_stood_by(&self, number: u32, digest: PieceDigest) -> bool {
        let words = &self.pieces[number as usize].words;
        words
            .iter()
            .any(|(id, word)| *word == digest && self.members[id.index()].is_believed())
    }

    pub(super) fn hold(&mut self, number: u32, digest: PieceDigest, is_own: bool) {
        self.has_changed |= self.pieces[number as usize].hold(digest, is_own);
        self.wanted.remove(&number);
        let holders = self.pieces[number as usize].holders;
        for member in &mut self.members {
            if holders & member.id.bit() != 0 {
                member.gives.remove(&number);
            }
        }
    }

    fn unhold(&mut self, number: u32) {
        let piece = &mut self.pieces[number as usize];
        piece.held = None;
        self.wanted.insert(number);
        for member in &mut self.members {
            if piece.holders & member.id.bit() != 0 {
                member.gives.insert(number);
            }
        }
    }
}
