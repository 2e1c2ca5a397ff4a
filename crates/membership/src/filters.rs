//! What a peer says that it holds, in sum.

use std::{collections::BTreeMap, time::Instant};

use zeroshare_wire::datagram::{Bloom, Day, FilterPart, Tag};

/// The filters of one peer's beacons.
///
/// Invariant: all parts are of one day and one count; the number of parts is at most that count.
#[derive(Debug, Default)]
pub(crate) struct PeerFilters {
    day: Option<Day>,
    count: u8,
    parts: BTreeMap<u8, Part>,
}

#[derive(Debug)]
struct Part {
    sequence: u64,
    taken_at: Instant,
    filter: Bloom,
}

impl PeerFilters {
    /// The sequence under which a part was last taken.
    pub(crate) fn sequence_of(&self, index: u8) -> Option<u64> {
        self.parts.get(&index).map(|part| part.sequence)
    }

    /// Takes a part; those of another day or another count are void then.
    pub(crate) fn take(&mut self, now: Instant, sequence: u64, part: FilterPart) {
        if self.day != Some(part.day) || self.count != part.count {
            self.parts.clear();
            self.day = Some(part.day);
            self.count = part.count;
        }
        let index = part.index;
        let part = Part {
            sequence,
            taken_at: now,
            filter: part.bloom,
        };
        self.parts.insert(index, part);
    }

    /// Drops what was said under a sequence that the peer, asked later, has not reached by its proven word.
    pub(crate) fn drop_forged(&mut self, sequence: u64, asked_at: Instant) {
        self.parts
            .retain(|_, part| part.sequence <= sequence || part.taken_at > asked_at);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether content may be held, given its tag of a day.
    pub(crate) fn may_hold(&self, tag_of: impl FnOnce(Day) -> Option<Tag>) -> bool {
        let Some(tag) = self.day.and_then(tag_of) else {
            return false;
        };
        self.parts.values().any(|part| part.filter.contains(tag))
    }

    /// How much memory the filters take.
    pub(crate) fn size_bytes(&self) -> usize {
        self.parts
            .values()
            .map(|part| part.filter.as_bytes().len())
            .sum()
    }

    /// About how many ids are summed up; `None` until every part was heard.
    pub(crate) fn held_ids(&self) -> Option<u32> {
        (self.count > 0 && self.parts.len() == usize::from(self.count)).then(|| {
            self.parts
                .values()
                .filter_map(|part| part.filter.estimated_len())
                .sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parts(day: u32, ids: u64) -> Vec<FilterPart> {
        let filters = Bloom::summaries(
            (0..ids).map(|bits| Tag::from_bits(bits.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        );
        let count = u8::try_from(filters.len()).unwrap();
        (0..count)
            .zip(filters)
            .map(|(index, filter)| FilterPart {
                day: Day::from_number(day),
                index,
                count,
                bloom: filter,
            })
            .collect()
    }

    #[test]
    fn a_filter_in_several_beacons_is_put_together() {
        let now = crate::testing::start();
        let mut filters = PeerFilters::default();
        let parts_of_today = parts(7, 900);
        assert_eq!(parts_of_today.len(), 2);
        filters.take(now, 1, parts_of_today[0].clone());
        assert_eq!(filters.held_ids(), None);
        filters.take(now, 2, parts_of_today[1].clone());
        let held = filters.held_ids().unwrap();
        assert!((870..=930).contains(&held), "{held}");
        assert!(filters.may_hold(|day| (day.number() == 7).then(|| Tag::from_bits(0))));
        assert!(!filters.may_hold(|_| None));
        filters.take(now, 3, parts(8, 1).remove(0));
        assert_eq!(filters.held_ids(), Some(1), "another day's parts are void");
    }

    #[test]
    fn what_was_said_under_a_sequence_never_reached_is_dropped() {
        let now = crate::testing::start() + Duration::from_mins(1);
        let taken = |asked_at: Instant, sequence| {
            let mut filters = PeerFilters::default();
            filters.take(now, 5, parts(7, 3).remove(0));
            filters.drop_forged(sequence, asked_at);
            filters.size_bytes() > 0
        };
        let second = Duration::from_secs(1);
        let earlier = now.checked_sub(second).unwrap();
        assert!(taken(now + second, 5));
        assert!(
            !taken(now + second, 4),
            "forged: asked later, the peer had not come so far"
        );
        assert!(
            taken(earlier, 4),
            "said after the question, and faster than the echo"
        );
    }
}
