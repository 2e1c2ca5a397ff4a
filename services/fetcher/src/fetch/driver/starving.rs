//! How long partial providers are waited for.

use std::time::{Duration, Instant};

/// Waits in a row, each for news that then brought nothing.
const MAX_WAITS: u32 = 12;

/// A patience that begins anew with news, and in all only with bytes that are proven.
#[derive(Debug)]
pub(super) struct Starving {
    patience: Duration,
    since: Option<Instant>,
    /// Time that was waited before, with nothing proven since.
    before: Duration,
}

impl Starving {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: None,
            before: Duration::ZERO,
        }
    }

    /// Says until when to wait; `None` if that is long enough.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Instant> {
        let left = (self.patience * MAX_WAITS).saturating_sub(self.before);
        let end = *self.since.get_or_insert(now) + self.patience.min(left);
        (now < end).then_some(end)
    }

    /// Takes in that somebody says to have what is missing.
    pub(super) fn handle_news(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.before += now.saturating_duration_since(since);
        }
    }

    /// Takes in that something was proven.
    pub(super) fn handle_progress(&mut self) {
        self.since = None;
        self.before = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn news_begins_the_wait_anew_and_silence_ends_it() {
        let start = Instant::now();
        let mut starving = Starving::new(PATIENCE);
        assert_eq!(starving.wait(start), Some(start + PATIENCE));
        starving.handle_news(start + PATIENCE / 2);
        let later = start + PATIENCE;
        assert_eq!(starving.wait(later), Some(later + PATIENCE));
        assert_eq!(starving.wait(later + PATIENCE), None);
    }

    #[test]
    fn news_that_bring_nothing_do_not_keep_a_fetch_alive_for_ever() {
        let mut now = Instant::now();
        let mut starving = Starving::new(PATIENCE);
        let mut waits = 0;
        while starving.wait(now).is_some() {
            waits += 1;
            assert!(waits < 100, "it has to end");
            now += PATIENCE * 3 / 4;
            starving.handle_news(now);
        }
        assert!(waits >= MAX_WAITS);
        starving.handle_progress();
        assert_eq!(starving.wait(now), Some(now + PATIENCE));
    }
}
