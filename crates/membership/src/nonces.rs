//! Which questions were seen already.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// As many questions as 4,000 lookups on the LAN ask within [`MEMORY`]; 130 kB.
const MOST: usize = 8_192;

/// Copies of one question by other roads come within a second or never.
const MEMORY: Duration = Duration::from_secs(10);

/// The nonces of questions heard lately: a copy by another road, or a replay, is not answered again.
#[derive(Debug, Default)]
pub(crate) struct SeenNonces {
    /// Each with when it was heard, until somebody asked for that.
    seen: BTreeMap<u64, Option<Instant>>,
    order: VecDeque<(Instant, u64)>,
}

impl SeenNonces {
    /// Notes a nonce, and says whether it is new.
    pub(crate) fn note(&mut self, now: Instant, nonce: u64) -> bool {
        while let Some(&(at, oldest)) = self.order.front() {
            if self.order.len() < MOST && now.saturating_duration_since(at) < MEMORY {
                break;
            }
            self.seen.remove(&oldest);
            self.order.pop_front();
        }
        if self.seen.contains_key(&nonce) {
            return false;
        }
        self.seen.insert(nonce, Some(now));
        self.order.push_back((now, nonce));
        true
    }

    /// When a question was heard; only the first time that this is asked.
    pub(crate) fn take_time_of(&mut self, nonce: u64) -> Option<Instant> {
        self.seen.get_mut(&nonce)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_counts_once_and_a_flood_of_them_stays_bounded() {
        let now = crate::testing::start();
        let mut seen = SeenNonces::default();
        assert!(seen.note(now, 1));
        assert!(!seen.note(now, 1));
        for nonce in 2..100_000 {
            assert!(seen.note(now, nonce));
        }
        assert!(seen.order.len() <= MOST && seen.seen.len() <= MOST);
        assert_eq!(seen.take_time_of(99_999), Some(now));
        assert_eq!(seen.take_time_of(99_999), None, "once");
        assert!(!seen.note(now, 99_999));
        assert!(seen.note(now + MEMORY, 99_999), "forgotten after its time");
    }
}
