//! Noticing that the machine slept, or that this process was stopped.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How often to look: a nap is noticed this long after its end.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Looks that come so much later than meant tell of a nap; a busy machine delays them by less.
const LEAST_NAP: Duration = Duration::from_secs(10);

/// Compares with a clock that goes on while the machine sleeps: the others stand still then.
#[derive(Debug, Default)]
pub(super) struct Naps {
    last: Option<Duration>,
}

impl Naps {
    /// Looks at the clock, and says how long the machine slept since the last look, if it did.
    pub(super) fn look(&mut self) -> Option<Duration> {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        self.look_at(Duration::from_secs(seconds))
    }

    fn look_at(&mut self, now: Duration) -> Option<Duration> {
        let last = self.last.replace(now).unwrap_or(now);
        let late = now.saturating_sub(last + LOOK_INTERVAL);
        (late >= LEAST_NAP).then_some(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_gap_is_a_nap() {
        let mut naps = Naps::default();
        let mut look = |seconds| naps.look_at(Duration::from_secs(seconds));
        assert_eq!(look(1_000), None, "the first look");
        assert_eq!(look(1_002), None);
        assert_eq!(look(1_013), None, "a busy machine");
        assert_eq!(look(1_075), Some(Duration::from_mins(1)));
        assert_eq!(look(1_077), None);
    }
}
