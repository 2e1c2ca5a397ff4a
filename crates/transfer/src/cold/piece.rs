//! What is known of one piece.

use super::{MemberId, PieceDigest, RequestId, TakeId};

/// A piece, and who said what about it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: u64,
    pub(super) held: Option<Held>,
    /// What members said that it hashes to, each on its own connection; the last word of each.
    pub(super) words: Vec<(MemberId, PieceDigest)>,
    /// Who can give it, a bit for each.
    pub(super) holders: u64,
    pub(super) request: Option<RequestId>,
    pub(super) take: Option<TakeId>,
    /// Somebody gave it when the givers were weighed last.
    pub(super) was_given: bool,
    /// It is given, but does not come: upstream may be quicker.
    pub(super) is_overdue: bool,
}

/// The bytes that lie there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) digest: PieceDigest,
    /// This machine read them from upstream.
    pub(super) is_own: bool,
}

impl Piece {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            held: None,
            words: Vec::new(),
            holders: 0,
            request: None,
            take: None,
            was_given: false,
            is_overdue: false,
        }
    }

    /// Takes in what lies there now, and says whether it is something else than before.
    pub(super) fn hold(&mut self, digest: PieceDigest, is_own: bool) -> bool {
        let has_changed = self.held.is_none_or(|held| held.digest != digest);
        self.held = Some(Held { digest, is_own });
        (self.was_given, self.is_overdue) = (false, false);
        has_changed
    }

    pub(super) fn is_own(&self) -> bool {
        self.held.is_some_and(|held| held.is_own)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.request.is_none() && self.take.is_none()
    }

    pub(super) fn word_of(&self, member: MemberId) -> Option<PieceDigest> {
        let found = self.words.iter().find(|(of, _)| *of == member);
        found.map(|(_, digest)| *digest)
    }

    /// Takes in a word, and says whether it is news.
    pub(super) fn hear(&mut self, member: MemberId, digest: PieceDigest) -> bool {
        if let Some((_, known)) = self.words.iter_mut().find(|(of, _)| *of == member) {
            return std::mem::replace(known, digest) != digest;
        }
        self.words.push((member, digest));
        true
    }
}
