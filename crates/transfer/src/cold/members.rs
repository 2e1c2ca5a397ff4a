//! Who is followed, who left, and who came back.

use std::time::Instant;

use super::member::MemberStanding;
use super::{ColdStart, MAX_MEMBERS, Member, MemberId, NodeName};

/// Of the claims of a member that left some behind, this part is believed when it comes back.
const LEFT_CLAIMS: u64 = 4;

impl ColdStart {
    /// Takes in a peer that is followed from now on; `None` when there are too many.
    ///
    /// Who left makes room for it: what it said is forgotten then, and what was read by its word alone is nobody's.
    pub fn add_member(&mut self, now: Instant, node: NodeName) -> Option<MemberId> {
        let credit = self.settings.claim_bytes;
        let free = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let id = if self.members.len() < MAX_MEMBERS {
            let id = MemberId::first_at(free);
            self.members.push(Member::new(id, node, credit, now));
            id
        } else {
            let left = self.longest_left()?;
            self.forget(left);
            let id = left.next();
            self.members[id.index()] = Member::new(id, node, credit, now);
            id
        };
        self.weights.add(node);
        self.last_join = now;
        Some(id)
    }

    /// Takes in that a member that was gone is followed again, and says all that it has once more: it is trusted as it was. Says
    /// whether it may be followed; who sent wrong bytes may not.
    pub fn handle_back(&mut self, now: Instant, member: MemberId) -> bool {
        let Some(state) = self.member_mut(member) else {
            return false;
        };
        match state.standing {
            MemberStanding::Dropped(reason) if reason.is_wrong_bytes() => return false,
            MemberStanding::Live => return false,
            MemberStanding::Gone | MemberStanding::Dropped(_) => {}
        }
        state.standing = MemberStanding::Live;
        (state.is_known, state.failures) = (false, 0);
        self.last_join = now;
        true
    }

    /// Says whether a member is remembered, whether it is followed or not.
    pub fn remembers(&self, member: MemberId) -> bool {
        let state = self.members.get(member.index());
        state.is_some_and(|state| state.id == member)
    }

    /// Takes in that a member reads from upstream itself.
    pub fn handle_takes_part(&mut self, member: MemberId) {
        if let Some(state) = self.member_mut(member) {
            state.takes_part = true;
        }
    }

    /// Takes in that all that a member had when it was first followed was told.
    pub fn handle_known(&mut self, member: MemberId) {
        if let Some(state) = self.member_mut(member) {
            state.is_known = true;
        }
    }

    /// Takes in that a member is not followed any more: what it claimed is free.
    pub fn handle_gone(&mut self, member: MemberId) {
        if let Some(state) = self.member_mut(member) {
            if state.is_live() {
                state.standing = MemberStanding::Gone;
            }
            if !state.claims.is_empty() {
                // Whoever claims and goes, again and again, is believed less each time.
                state.credit /= LEFT_CLAIMS;
            }
            state.claims.clear();
            state.claimed_bytes = 0;
        }
    }

    pub(super) fn member_mut(&mut self, member: MemberId) -> Option<&mut Member> {
        let state = self.members.get_mut(member.index());
        state.filter(|state| state.id == member)
    }

    /// Who is not asked any more and may be forgotten first: who sent nothing wrong, and said nothing of any piece.
    fn longest_left(&self) -> Option<MemberId> {
        let left = self.members.iter();
        let left = left.filter(|member| !member.is_live() && member.calls == 0);
        let place = |member: &&Member| {
            let has_said = |id| self.pieces.iter().any(|piece| piece.word_of(id).is_some());
            (!member.is_believed(), has_said(member.id), member.last_word)
        };
        left.min_by_key(place).map(|member| member.id)
    }

    fn forget(&mut self, left: MemberId) {
        for number in 0..self.piece_count() {
            let piece = &mut self.pieces[number as usize];
            piece.holders &= !left.bit();
            if piece.word_of(left).is_some() {
                piece.words.retain(|(of, _)| *of != left);
                self.judge(number);
            }
        }
        let node = self.members[left.index()].node;
        let mut others = self.members.iter().filter(|member| member.id != left);
        if node != self.me && !others.any(|member| member.node == node) {
            self.weights.remove(node);
        }
    }
}
