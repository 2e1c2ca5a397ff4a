//! Filters over tags.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::Tag;
use crate::FieldError;

/// How many tags one filter sums up.
pub const TAGS_PER_FILTER: usize = 480;

/// The longest filter.
pub const MAX_FILTER_BYTES: usize = TAGS_PER_FILTER * BYTES_PER_TAG;

/// How many filters one node may send: enough for 30,720 tags.
pub const MAX_FILTERS: u8 = 64;

/// 16 bits an id.
const BYTES_PER_TAG: usize = 2;

/// Shorter filters would by chance be more than 55 % full now and then.
const MIN_FILTER_BYTES: usize = 128;

/// The best number of bits for each tag at 16 bits an id: ln 2 × 16.
const BITS_PER_TAG: u64 = 11;

/// A filter more than 55 % full claims too much to be honest: a full one by the rule is half full.
const MAX_FILL: f64 = 0.55;

/// A Bloom filter over tags: never misses what is held, and names what is not with 0.05 %.
///
/// All of it is fixed by the format. A filter over n tags is max(128, 2·n) bytes long, at most
/// [`MAX_FILTER_BYTES`]; over none it is empty. With m its length in bits, a = the upper and b = the
/// lower 32 bits of the tag, the tag's bits are (a + i·b + (i³ − i)/6) mod m for i from 0 to 10. Bit
/// j is bit j mod 8, counted from the least significant one, of byte ⌊j/8⌋. Tags are keyed by the
/// day, so the filter needs no seed of its own. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Bloom(Arc<[u8]>);

impl Bloom {
    /// Sums up tags in as few filters as hold them.
    ///
    /// Duplicates count once. Always at least one filter; an empty one for no tags. More tags than
    /// [`MAX_FILTERS`] filters hold are left out, the largest first.
    pub fn summaries(tags: impl IntoIterator<Item = Tag>) -> Vec<Self> {
        let distinct: BTreeSet<Tag> = tags.into_iter().collect();
        let most = usize::from(MAX_FILTERS) * TAGS_PER_FILTER;
        let tags: Vec<Tag> = distinct.into_iter().take(most).collect();
        if tags.is_empty() {
            return vec![Self(Arc::default())];
        }
        // Parts of even size: a beacon of a few tags beside a full one would waste a datagram's room.
        let parts = tags.len().div_ceil(TAGS_PER_FILTER);
        let size = tags.len().div_ceil(parts);
        tags.chunks(size).map(Self::of).collect()
    }

    /// Takes a filter as it travels.
    pub(super) fn from_wire(field: &'static str, bytes: &[u8]) -> Result<Self, FieldError> {
        if !bytes.is_empty() && !(MIN_FILTER_BYTES..=MAX_FILTER_BYTES).contains(&bytes.len()) {
            return Err(FieldError::length(field, bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    /// Gives the filter as it travels.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the tag may be held; `false` is certain.
    pub fn contains(&self, tag: Tag) -> bool {
        !self.0.is_empty()
            && bits(tag, self.0.len()).all(|bit| self.0[bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// Which part of the bits is set, from 0 to 1.
    pub fn fill_ratio(&self) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        let ones: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        // At most MAX_FILTER_BYTES, so nothing is cut.
        let bytes = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        f64::from(ones) / (8.0 * f64::from(bytes))
    }

    /// Whether it is fuller than the format's rule makes it: such filters are dropped.
    pub fn is_overfull(&self) -> bool {
        self.fill_ratio() > MAX_FILL
    }

    /// About how many tags it sums up, as its fill tells; `None` for a filter without a zero.
    pub fn estimated_len(&self) -> Option<u32> {
        let bits = 8.0 * f64::from(u32::try_from(self.0.len()).ok()?);
        let estimate = -(bits / 11.0) * (1.0 - self.fill_ratio()).ln();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a finite number from 0 to some thousands"
        )]
        estimate.is_finite().then(|| estimate.round() as u32)
    }

    fn of(tags: &[Tag]) -> Self {
        let mut bytes = vec![0; MIN_FILTER_BYTES.max(tags.len() * BYTES_PER_TAG)];
        let len = bytes.len();
        for bit in tags.iter().flat_map(|&tag| bits(tag, len)) {
            bytes[bit / 8] |= 1 << (bit % 8);
        }
        Self(bytes.into())
    }
}

impl fmt::Debug for Bloom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bloom({} bytes)", self.0.len())
    }
}

/// The bits of one tag in a filter of `bytes` > 0 bytes.
fn bits(tag: Tag, bytes: usize) -> impl Iterator<Item = usize> {
    let (a, b) = (tag.bits() >> 32, tag.bits() & 0xffff_ffff);
    let modulus = 8 * bytes as u64;
    (0..BITS_PER_TAG).map(move |i| {
        let bit = (a + i * b + (i * i * i - i) / 6) % modulus;
        usize::try_from(bit).unwrap_or(0)
    })
}
