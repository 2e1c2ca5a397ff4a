//! When a peer is too slow to wait for.

use std::time::{Duration, Instant};

/// What a peer must give to be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceRule {
    /// Something must come at least so often.
    pub silence: Duration,
    /// Within each window of this length …
    pub window: Duration,
    /// … at least so many bytes must come.
    pub window_bytes: u64,
}

impl Default for PaceRule {
    /// 5 s of silence, and 64 KiB in each 10 s: slower than any link worth using.
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(5),
            window: Duration::from_secs(10),
            window_bytes: 64 * 1024,
        }
    }
}

/// Watches over one call whether enough comes.
///
/// Time during which its owner did not listen is taken out by [`Self::handle_pause`]: a peer is not
/// to blame for our disk.
#[derive(Debug, Clone)]
pub struct Pace {
    rule: PaceRule,
    last_bytes: Instant,
    window_start: Instant,
    window_bytes: u64,
}

impl Pace {
    /// Begins to wait.
    pub fn new(rule: PaceRule, now: Instant) -> Self {
        Self {
            rule,
            last_bytes: now,
            window_start: now,
            window_bytes: 0,
        }
    }

    /// Says until when enough must have come.
    pub fn deadline(&self) -> Instant {
        (self.last_bytes + self.rule.silence).min(self.window_start + self.rule.window)
    }

    /// Takes in that content came; empty messages are no progress.
    pub fn handle_bytes(&mut self, now: Instant, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.last_bytes = now;
        self.window_bytes = self.window_bytes.saturating_add(bytes);
        if self.window_bytes >= self.rule.window_bytes {
            self.window_start = now;
            self.window_bytes = 0;
        }
    }

    /// Takes in that nobody listened for so long.
    pub fn handle_pause(&mut self, paused: Duration) {
        self.last_bytes += paused;
        self.window_start += paused;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::start;

    const RULE: PaceRule = PaceRule {
        silence: Duration::from_secs(5),
        window: Duration::from_secs(10),
        window_bytes: 1000,
    };

    #[test]
    fn silence_ends_a_call() {
        let start = start();
        let mut pace = Pace::new(RULE, start);
        assert_eq!(pace.deadline(), start + secs(5));
        pace.handle_bytes(start + secs(3), 1);
        assert_eq!(pace.deadline(), start + secs(8));
        pace.handle_bytes(start + secs(4), 0);
        assert_eq!(
            pace.deadline(),
            start + secs(8),
            "an empty message is no progress"
        );
    }

    #[test]
    fn a_trickle_ends_a_call() {
        let start = start();
        let mut pace = Pace::new(RULE, start);
        for second in 1..=9 {
            pace.handle_bytes(start + secs(second), 99);
        }
        assert_eq!(pace.deadline(), start + secs(10));
    }

    #[test]
    fn enough_bytes_open_a_new_window() {
        let start = start();
        let mut pace = Pace::new(RULE, start);
        pace.handle_bytes(start + secs(4), 1000);
        pace.handle_bytes(start + secs(8), 1);
        assert_eq!(pace.deadline(), start + secs(13));
    }

    #[test]
    fn a_pause_of_ours_is_not_held_against_the_peer() {
        let start = start();
        let mut pace = Pace::new(RULE, start);
        pace.handle_pause(secs(60));
        assert_eq!(pace.deadline(), start + secs(65));
    }

    fn secs(count: u64) -> Duration {
        Duration::from_secs(count)
    }
}
