//! What a peer says that it holds, in sum.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use zeroshare_wire::datagram::{Bloom, Day, FilterPart, Tag};

/// The filters of one peer's beacons.
///
/// Invariant: all parts are of one day and one count; the number of parts is at most that count.
#[derive(Debug, Default)]
pub(crate) struct PeerFilters {
    day: Option<Day>,
    count: u8,
    parts: BTreeMap<u8, Part>,
    /// When something took the place of what was said before, or contradicted it.
    disputed_at: Option<Instant>,
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
        if self.replaces_something(&part) {
            self.dispute(now);
        }
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

    /// Whether a part takes the place of one that summed up something else.
    fn replaces_something(&self, part: &FilterPart) -> bool {
        let says_something = |before: &Part| !before.filter.as_bytes().is_empty();
        if self.day != Some(part.day) || self.count != part.count {
            return self.parts.values().any(says_something);
        }
        let before = self.parts.get(&part.index);
        before.is_some_and(|before| says_something(before) && before.filter != part.bloom)
    }

    /// Whether a part is not what was taken under its sequence: one of the two is forged.
    pub(crate) fn contradicts(&self, sequence: u64, part: &FilterPart) -> bool {
        let taken = self.parts.get(&part.index);
        taken.is_some_and(|taken| taken.sequence == sequence && taken.filter != part.bloom)
    }

    /// Notes that somebody may have said some of it in the peer's name.
    pub(crate) fn dispute(&mut self, now: Instant) {
        self.disputed_at = Some(now);
    }

    /// Whether nothing was put in the place of what the peer said, for as long as several of its beacons take.
    pub(crate) fn are_settled(&self, now: Instant, several_beacons: Duration) -> bool {
        let is_over = |at| now.saturating_duration_since(at) >= several_beacons;
        self.disputed_at.is_none_or(is_over)
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

    /// When a part was last taken; `None` before the first.
    pub(crate) fn taken_at(&self) -> Option<Instant> {
        self.parts.values().map(|part| part.taken_at).max()
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
    fn what_takes_the_place_of_something_else_is_disputed_and_a_first_word_is_not() {
        let now = crate::testing::start();
        let minute = Duration::from_mins(1);
        let taken = |first: (u32, u64), second: (u32, u64)| {
            let mut filters = PeerFilters::default();
            for (sequence, (day, ids)) in (1..).zip([first, second]) {
                for part in parts(day, ids) {
                    filters.take(now, sequence, part);
                }
            }
            filters
        };
        for (first, second, settled) in [
            ((7, 3), (7, 3), true),
            ((7, 3), (7, 4), false),
            ((7, 3), (7, 0), false),
            ((7, 900), (7, 3), false),
            ((7, 0), (7, 3), true),
            ((7, 3), (8, 3), false),
        ] {
            let filters = taken(first, second);
            assert_eq!(
                filters.are_settled(now, minute),
                settled,
                "{first:?}, {second:?}"
            );
            assert!(filters.are_settled(now + minute, minute));
        }
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
