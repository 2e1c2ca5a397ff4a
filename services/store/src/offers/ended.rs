//! Lists of midstates that outlive their offers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zeroshare_content::ContentId;
use zeroshare_shelf::Audience;

use super::PartialList;

/// A list is kept for 60 s after anything was sent under it, and what was sent last may have been slow to arrive.
const KEPT: Duration = Duration::from_mins(2);

/// All of them together; the oldest give way.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Whole lists of offers that ended lately, the oldest first.
#[derive(Debug, Default)]
pub(super) struct EndedLists {
    lists: VecDeque<Ended>,
    bytes: usize,
}

#[derive(Debug)]
struct Ended {
    content: ContentId,
    line: u32,
    is_shared: bool,
    list: PartialList,
    at: Instant,
}

impl EndedLists {
    /// Keeps a list for a while; one that is not whole was named to nobody.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        of: (&ContentId, u32),
        is_shared: bool,
        list: PartialList,
    ) {
        self.forget(now);
        if list.digest.is_none() || list.midstates.len() > MAX_BYTES {
            return;
        }
        self.bytes += list.midstates.len();
        self.lists.push_back(Ended {
            content: *of.0,
            line: of.1,
            is_shared,
            list,
            at: now,
        });
        while self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    /// Finds the newest list of a file, or the one of this digest.
    pub(super) fn find(
        &mut self,
        now: Instant,
        of: (&ContentId, u32),
        digest: Option<[u8; 32]>,
        audience: Audience,
    ) -> Option<PartialList> {
        self.forget(now);
        let found = self.lists.iter().rev().find(|ended| {
            (&ended.content, ended.line) == of
                && (digest.is_none() || ended.list.digest == digest)
                && (ended.is_shared || audience == Audience::Local)
        });
        found.map(|ended| ended.list.clone())
    }

    fn forget(&mut self, now: Instant) {
        let is_over = |ended: &Ended| now.saturating_duration_since(ended.at) >= KEPT;
        while self.lists.front().is_some_and(is_over) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.lists.pop_front() {
            self.bytes -= oldest.list.midstates.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{BlobId, HashKind};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_list_is_found_by_its_digest_for_two_minutes_by_those_who_may_see_it() {
        let now = Instant::now();
        let id = id(1);
        let mut ended = EndedLists::default();
        ended.keep(now, (&id, 3), true, list(1, 64));
        ended.keep(now + SECOND, (&id, 3), true, list(2, 64));
        ended.keep(now + SECOND, (&id, 4), false, list(3, 64));
        let find = |ended: &mut EndedLists, after: u32, line, digest| {
            let found = ended.find(now + SECOND * after, (&id, line), digest, Audience::Peers);
            found.and_then(|list| list.digest)
        };
        assert_eq!(find(&mut ended, 2, 3, Some([1; 32])), Some([1; 32]));
        assert_eq!(find(&mut ended, 2, 3, None), Some([2; 32]));
        assert_eq!(find(&mut ended, 2, 3, Some([9; 32])), None);
        assert_eq!(find(&mut ended, 2, 4, None), None, "it was not shared");
        assert!(ended.find(now, (&id, 4), None, Audience::Local).is_some());
        assert_eq!(find(&mut ended, 119, 3, Some([1; 32])), Some([1; 32]));
        assert_eq!(find(&mut ended, 120, 3, Some([1; 32])), None);
        assert_eq!(find(&mut ended, 121, 3, None), None);
        assert_eq!(ended.bytes, 0);
    }

    #[test]
    fn the_oldest_give_way_and_what_is_not_whole_is_not_kept() {
        let now = Instant::now();
        let mut ended = EndedLists::default();
        for number in 0..5 {
            ended.keep(now, (&id(number), 0), true, list(number, MAX_BYTES / 4));
        }
        assert_eq!(ended.bytes, MAX_BYTES);
        assert!(
            ended
                .find(now, (&id(0), 0), None, Audience::Local)
                .is_none()
        );
        let partial = PartialList {
            digest: None,
            ..list(9, 64)
        };
        ended.keep(now, (&id(9), 0), true, partial);
        assert!(
            ended
                .find(now, (&id(9), 0), None, Audience::Local)
                .is_none()
        );
    }

    fn id(number: u8) -> ContentId {
        ContentId::Blob(BlobId::of(HashKind::Sha256, &[number]))
    }

    fn list(number: u8, bytes: usize) -> PartialList {
        PartialList {
            grains: 3,
            midstates: vec![number; bytes],
            digest: Some([number; 32]),
        }
    }
}
