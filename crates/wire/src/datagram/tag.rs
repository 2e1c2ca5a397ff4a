//! Tags: how ids are named on UDP.

use zeroshare_content::ContentId;

use super::{GroupKey, group::hmac};

const SECONDS_PER_DAY: u64 = 86_400;

/// A day of UTC, counted from 1970-01-01; `key_epoch` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

/// What tags of one day are made with.
///
/// HMAC-SHA-256(the group's key for tags, or a public constant; the day's number as 4 bytes, big-endian).
#[derive(Clone)]
pub struct DayKey {
    day: Day,
    key: [u8; 32],
}

/// Names content for one day: the first 8 bytes, big-endian, of HMAC-SHA-256(key of the day,
/// [`ContentId::tag_input`]).
///
/// On the wire it is a `fixed64`, which is little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

/// Names content for one day; [`DayKey`] does it for many.
pub fn tag(day: Day, content: &ContentId, group: &GroupKey) -> Tag {
    DayKey::new(day, group).tag(content)
}

impl Day {
    /// The day in which a moment lies, in seconds since 1970.
    pub fn of_unix_seconds(seconds: u64) -> Self {
        Self(u32::try_from(seconds / SECONDS_PER_DAY).unwrap_or(u32::MAX))
    }

    /// The day by its number.
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The day's number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The day before, this one and the one after: whose tags are accepted while it is this day.
    pub fn accepted(self) -> [Self; 3] {
        [
            Self(self.0.saturating_sub(1)),
            self,
            Self(self.0.saturating_add(1)),
        ]
    }

    /// Whether tags of `other` are accepted while it is this day.
    pub fn accepts(self, other: Self) -> bool {
        self.0.abs_diff(other.0) <= 1
    }
}

impl DayKey {
    /// Derives the key of a day.
    pub fn new(day: Day, group: &GroupKey) -> Self {
        Self {
            day,
            key: hmac(group.tag_secret(), &day.0.to_be_bytes()),
        }
    }

    /// The day that it belongs to.
    pub fn day(&self) -> Day {
        self.day
    }

    /// Names content.
    pub fn tag(&self, content: &ContentId) -> Tag {
        let mut first = [0; 8];
        first.copy_from_slice(&hmac(&self.key, &content.tag_input())[..8]);
        Tag(u64::from_be_bytes(first))
    }
}

impl std::fmt::Debug for DayKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DayKey(of {:?})", self.day)
    }
}

impl Tag {
    /// Takes a tag as a number.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Gives the tag as a number.
    pub fn bits(self) -> u64 {
        self.0
    }
}
