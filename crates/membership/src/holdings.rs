//! What this node holds, under the names of the day.

use std::collections::BTreeMap;

use zeroshare_content::ContentId;
use zeroshare_wire::datagram::{Bloom, Day, DayKey, FilterPart, GroupKey, HoldingState, Tag};

/// A whole part, in 1/255.
pub(crate) const WHOLE: u8 = u8::MAX;

/// How much of something is here, and what this node has to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// In 1/255.
    pub(crate) part: u8,
    pub(crate) state: HoldingState,
}

impl Share {
    /// Whether filters name it: they cannot say how little it is.
    fn is_summed_up(self) -> bool {
        self.part > 0
    }
}

/// What this node offers to others.
#[derive(Debug)]
pub(crate) struct Holdings {
    group: GroupKey,
    day: Day,
    held: BTreeMap<ContentId, Share>,
    /// For the day before, this one and the one after.
    tags: BTreeMap<Day, BTreeMap<Tag, ContentId>>,
    /// Sums up what is held whole; made when first needed.
    summaries: Option<Vec<Bloom>>,
}

impl Holdings {
    pub(crate) fn new(group: GroupKey, day: Day) -> Self {
        let mut holdings = Self {
            group,
            day,
            held: BTreeMap::new(),
            tags: BTreeMap::new(),
            summaries: None,
        };
        holdings.rename();
        holdings
    }

    pub(crate) fn day(&self) -> Day {
        self.day
    }

    /// Takes in that it is another day, and says whether it is.
    pub(crate) fn set_day(&mut self, day: Day) -> bool {
        let changed = self.day != day;
        if changed {
            self.day = day;
            self.rename();
        }
        changed
    }

    /// Takes in how much of something is held; `None`: it is not here any more. Says whether filters change with it.
    pub(crate) fn set(&mut self, id: ContentId, share: Option<Share>) -> bool {
        let before = match share {
            None => self.held.remove(&id),
            Some(share) => self.held.insert(id, share),
        };
        if before.is_some() != share.is_some() {
            for day in self.day.accepted() {
                let tag = DayKey::new(day, &self.group).tag(&id);
                let tags = self.tags.entry(day).or_default();
                if share.is_none() {
                    tags.remove(&tag);
                } else {
                    tags.insert(tag, id);
                }
            }
        }
        // Filters say that it is here, not how much of it: else who fetches would speak all the time.
        let is_news =
            before.is_some_and(Share::is_summed_up) != share.is_some_and(Share::is_summed_up);
        if is_news {
            self.summaries = None;
        }
        is_news
    }

    /// What is held under a tag, and how much of it.
    pub(crate) fn find(&self, day: Day, tag: Tag) -> Option<(ContentId, Share)> {
        let id = self.tags.get(&day)?.get(&tag)?;
        self.held.get(id).map(|share| (*id, *share))
    }

    /// Whether all of something is held, and not only being got.
    pub(crate) fn is_whole(&self, id: &ContentId) -> bool {
        let whole = Share {
            part: WHOLE,
            state: HoldingState::Held,
        };
        self.held.get(id) == Some(&whole)
    }

    /// Whether something is only being got, and nothing of it is here.
    pub(crate) fn is_only_coming(&self, id: &ContentId) -> bool {
        let coming = Share {
            part: 0,
            state: HoldingState::OnItsWay,
        };
        self.held.get(id) == Some(&coming)
    }

    /// Whether anything is said of it.
    pub(crate) fn is_known(&self, id: &ContentId) -> bool {
        self.held.contains_key(id)
    }

    /// The filters over all that is held, in part or whole.
    pub(crate) fn summary(&mut self) -> Vec<FilterPart> {
        let (day, tags, held) = (self.day, &self.tags, &self.held);
        let filters = self.summaries.get_or_insert_with(|| {
            let is_named = |id: &ContentId| held.get(id).is_some_and(|share| share.is_summed_up());
            let today = tags.get(&day).into_iter().flatten();
            let named = today.filter(|(_, id)| is_named(id));
            Bloom::summaries(named.map(|(tag, _)| *tag))
        });
        // At most MAX_FILTERS, which is a u8.
        let count = u8::try_from(filters.len()).unwrap_or(u8::MAX);
        (0..count)
            .zip(filters.iter())
            .map(|(index, filter)| FilterPart {
                day,
                index,
                count,
                bloom: filter.clone(),
            })
            .collect()
    }

    fn rename(&mut self) {
        self.summaries = None;
        self.tags = self
            .day
            .accepted()
            .into_iter()
            .map(|day| {
                let key = DayKey::new(day, &self.group);
                (day, self.held.keys().map(|id| (key.tag(id), *id)).collect())
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{BlobId, HashKind};

    use super::*;

    fn held(part: u8) -> Share {
        let state = HoldingState::Held;
        Share { part, state }
    }

    #[test]
    fn only_what_comes_or_goes_is_news_and_how_much_of_it_is_known() {
        let id = ContentId::Blob(BlobId::of(HashKind::Sha256, b"a"));
        let day = Day::from_number(20_000);
        let mut holdings = Holdings::new(GroupKey::none(), day);
        let tag = DayKey::new(day, &GroupKey::none()).tag(&id);
        assert!(!holdings.set(id, None));
        assert!(holdings.set(id, Some(held(1))));
        holdings.summary();
        for part in [2, 100, WHOLE] {
            assert!(!holdings.set(id, Some(held(part))));
            assert_eq!(holdings.find(day, tag), Some((id, held(part))));
        }
        assert!(holdings.summaries.is_some(), "not made anew");
        assert!(holdings.set(id, None));
        assert!(holdings.find(day, tag).is_none());
    }

    #[test]
    fn filters_do_not_name_what_is_not_there_yet() {
        let id = ContentId::Blob(BlobId::of(HashKind::Sha256, b"a"));
        let day = Day::from_number(20_000);
        let mut holdings = Holdings::new(GroupKey::none(), day);
        let tag = DayKey::new(day, &GroupKey::none()).tag(&id);
        let member = |part| {
            let state = HoldingState::Member;
            Some(Share { part, state })
        };
        assert!(!holdings.set(id, member(0)));
        assert!(!holdings.summary()[0].bloom.contains(tag));
        assert!(holdings.find(day, tag).is_some(), "whoever asks is told");
        assert!(holdings.set(id, member(1)));
        assert!(holdings.summary()[0].bloom.contains(tag));
        assert!(!holdings.set(id, Some(held(1))), "it was named before");
        assert!(holdings.set(id, None));
    }

    #[test]
    fn what_is_held_is_found_under_yesterdays_and_tomorrows_name_too() {
        let group = GroupKey::none();
        let id = ContentId::Blob(BlobId::of(HashKind::Sha256, b"a"));
        let today = Day::from_number(20_000);
        let mut holdings = Holdings::new(group.clone(), today);
        assert!(holdings.set(id, Some(held(WHOLE))));
        assert!(!holdings.set(id, Some(held(WHOLE))), "no news");
        let found = |holdings: &Holdings, number| {
            let day = Day::from_number(number);
            holdings
                .find(day, DayKey::new(day, &group).tag(&id))
                .is_some()
        };
        for (number, is_found) in [
            (19_998, false),
            (19_999, true),
            (20_000, true),
            (20_001, true),
        ] {
            assert_eq!(found(&holdings, number), is_found, "{number}");
        }
        assert!(holdings.set_day(Day::from_number(20_001)));
        assert!(found(&holdings, 20_002) && !found(&holdings, 19_999));
        let tag = DayKey::new(Day::from_number(20_001), &group).tag(&id);
        assert!(holdings.summary()[0].bloom.contains(tag));
        assert!(holdings.set(id, None));
        assert!(!found(&holdings, 20_001));
        assert!(!holdings.summary()[0].bloom.contains(tag));
    }
}
