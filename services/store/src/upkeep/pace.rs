//! Reading no faster than agreed.

use std::thread;
use std::time::{Duration, Instant};

/// A stop is noticed so soon.
const NAP: Duration = Duration::from_millis(100);

/// A number of bytes a second, kept by sleeping on the thread that reads.
#[derive(Debug)]
pub(super) struct Pace {
    rate_bytes: u64,
    started: Instant,
    done_bytes: u64,
}

impl Pace {
    pub(super) fn new(rate_bytes: u64) -> Self {
        Self {
            rate_bytes: rate_bytes.max(1),
            started: Instant::now(),
            done_bytes: 0,
        }
    }

    /// Waits until so many more bytes are due.
    pub(super) fn keep(&mut self, bytes: u64, is_stopping: &dyn Fn() -> bool) {
        self.done_bytes += bytes;
        let due = self.due_after();
        while !is_stopping() {
            let ahead = due.saturating_sub(self.started.elapsed());
            if ahead.is_zero() {
                return;
            }
            thread::sleep(ahead.min(NAP));
        }
    }

    /// How long what was read until now should have taken.
    fn due_after(&self) -> Duration {
        let whole = self.done_bytes / self.rate_bytes;
        let rest = self.done_bytes % self.rate_bytes;
        let nanos = u128::from(rest) * 1_000_000_000 / u128::from(self.rate_bytes);
        Duration::from_secs(whole) + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_take_so_long() {
        let mut pace = Pace::new(1 << 20);
        pace.keep(3 << 19, &|| true);
        assert_eq!(pace.due_after(), Duration::from_millis(1500));
        pace.keep(1, &|| true);
        assert!(pace.due_after() > Duration::from_millis(1500));
    }
}
