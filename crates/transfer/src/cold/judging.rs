//! Who said what of a piece, and who was wrong.

use std::ops::Range;
use std::time::Instant;

use super::member::MemberStanding;
use super::{
    ColdAction, ColdDrop, ColdStart, MAX_MEMBERS, Member, MemberId, NodeName, PieceDigest,
};

impl ColdStart {
    /// Takes in a peer that is followed from now on; `None` when there are too many.
    pub fn add_member(&mut self, now: Instant, node: NodeName) -> Option<MemberId> {
        let id = u32::try_from(self.members.len())
            .ok()
            .filter(|_| self.members.len() < MAX_MEMBERS)?;
        self.members.push(Member::new(node, now));
        self.weights.add(node);
        self.last_join = now;
        Some(MemberId(id))
    }

    /// Takes in that a member reads from upstream itself.
    pub fn handle_takes_part(&mut self, member: MemberId) {
        if let Some(state) = self.members.get_mut(member.index()) {
            state.takes_part = true;
        }
    }

    /// Takes in that all that a member had when it was first followed was told.
    pub fn handle_known(&mut self, member: MemberId) {
        if let Some(state) = self.members.get_mut(member.index()) {
            state.is_known = true;
        }
    }

    /// Takes in that a member is not followed any more: what it claimed is free.
    pub fn handle_gone(&mut self, member: MemberId) {
        if let Some(state) = self.members.get_mut(member.index()) {
            if state.is_live() {
                state.standing = MemberStanding::Gone;
            }
            state.claims.clear();
            state.claimed_bytes = 0;
        }
    }

    /// Takes in that a member can give pieces, by whosever word; `proven` if it stands by them itself.
    pub fn handle_held(&mut self, member: MemberId, pieces: Range<u32>, proven: bool) {
        let count = self.piece_count();
        let Some(state) = self.members.get_mut(member.index()) else {
            return;
        };
        state.proves |= proven;
        for number in pieces.start..pieces.end.min(count) {
            self.pieces[number as usize].holders |= member.bit();
            if self.wanted.contains(&number) {
                state.gives.insert(number);
            }
        }
    }

    /// Takes in what a member says, on its own connection, that a piece hashes to which it read from upstream.
    pub fn handle_stated(
        &mut self,
        now: Instant,
        member: MemberId,
        piece: u32,
        digest: PieceDigest,
    ) {
        let (Some(state), Some(known)) = (
            self.members.get_mut(member.index()),
            self.pieces.get_mut(piece as usize),
        ) else {
            return;
        };
        if state.claims.remove(&piece).is_some() {
            state.claimed_bytes -= known.bytes;
        }
        state.takes_part = true;
        state.empty_claims = 0;
        state.last_word = now;
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
        let Some(state) = self.members.get_mut(member.index()) else {
            return;
        };
        if matches!(state.standing, MemberStanding::Dropped(_)) {
            return;
        }
        state.standing = MemberStanding::Dropped(reason);
        state.claims.clear();
        state.claimed_bytes = 0;
        self.actions.push_back(ColdAction::Drop { member, reason });
        let takes = self.takes.iter().filter(|(_, take)| take.member == member);
        self.actions
            .extend(takes.map(|(id, _)| ColdAction::CancelTake { take: *id }));
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
        for (id, member) in (0_u32..).zip(&mut self.members) {
            if holders & MemberId(id).bit() != 0 {
                member.gives.remove(&number);
            }
        }
    }

    fn unhold(&mut self, number: u32) {
        let piece = &mut self.pieces[number as usize];
        piece.held = None;
        self.wanted.insert(number);
        for (id, member) in (0_u32..).zip(&mut self.members) {
            if piece.holders & MemberId(id).bit() != 0 {
                member.gives.insert(number);
            }
        }
    }
}
