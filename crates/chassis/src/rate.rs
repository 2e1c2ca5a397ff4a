//! So many bytes a second, shared by all who move any.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time;

/// What may pass at once after a pause, in time: more would be a burst that the limit is there to prevent, less would
/// leave the line idle while somebody wakes up.
const BURST: Duration = Duration::from_millis(50);

/// A token bucket, pure: the time is handed in.
///
/// Whoever takes bytes is told how long to wait before it moves them; takers are served in the order in which they
/// asked, whoever they are, so that one bucket is shared fairly by as many as there are.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    bytes_per_second: u64,
    /// When all that was taken so far will have been paid for.
    paid_until: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket; a rate of 0 counts as 1.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            paid_until: None,
        }
    }

    /// The limit.
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// Takes bytes, however many, and says how long to wait until they may move.
    pub fn take(&mut self, now: Instant, bytes: u64) -> Duration {
        let full = now.checked_sub(BURST).unwrap_or(now);
        let start = self.paid_until.map_or(full, |paid| paid.max(full));
        self.paid_until = start.checked_add(self.cost(bytes)).or(Some(start));
        start.saturating_duration_since(now)
    }

    /// The most that should be taken at once, so that a limit is kept evenly and its waits are short.
    pub fn portion(&self, most: usize) -> usize {
        const LEAST: usize = 4096;
        const PORTIONS_A_SECOND: u64 = 16;
        let portion = self.bytes_per_second / PORTIONS_A_SECOND;
        usize::try_from(portion).map_or(most, |portion| portion.clamp(LEAST.min(most), most))
    }

    fn cost(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A limit that tasks and threads of one process share, or none.
#[derive(Debug, Default)]
pub struct Throttle {
    bucket: Option<Mutex<TokenBucket>>,
}

impl Throttle {
    /// A limit in bytes a second; `None`: no limit.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bucket: bytes_per_second.map(|rate| Mutex::new(TokenBucket::new(rate))),
        }
    }

    /// The limit, if there is one.
    pub fn bytes_per_second(&self) -> Option<u64> {
        self.with(|bucket| bucket.bytes_per_second())
    }

    /// Takes bytes, and says how long whoever moves them has to wait first.
    pub fn take(&self, bytes: u64) -> Duration {
        self.with(|bucket| bucket.take(Instant::now(), bytes))
            .unwrap_or_default()
    }

    /// Waits until so many bytes may move; dropped midway, they count as moved.
    pub async fn pass(&self, bytes: u64) {
        let wait = self.take(bytes);
        if !wait.is_zero() {
            time::sleep(wait).await;
        }
    }

    /// The most that should be taken at once; see [`TokenBucket::portion`].
    pub fn portion(&self, most: usize) -> usize {
        self.with(|bucket| bucket.portion(most)).unwrap_or(most)
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut TokenBucket) -> T) -> Option<T> {
        let bucket = self.bucket.as_ref()?;
        // Each change is one step.
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        Some(use_it(&mut bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1_000_000;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn in_the_long_run_no_more_passes_than_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(RATE);
        let mut now = start;
        let mut moved = 0;
        for bytes in [1, 700, 65_536, 262_144, 9].into_iter().cycle().take(500) {
            now += bucket.take(now, bytes);
            moved += bytes;
            let allowed = RATE * u64::try_from((now - start + BURST).as_millis()).unwrap() / 1000;
            // What moves now is still to be paid for by whoever comes next.
            assert!(
                moved - bytes <= allowed + 1000,
                "{moved} after {:?}",
                now - start
            );
        }
        let expected = Duration::from_secs(moved / RATE);
        assert!((now - start).abs_diff(expected) <= SECOND);
    }

    #[test]
    fn a_pause_saves_no_more_than_a_burst() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(RATE);
        assert_eq!(bucket.take(start, RATE), Duration::ZERO);
        let later = start + SECOND * 100;
        assert_eq!(bucket.take(later, RATE), Duration::ZERO);
        assert_eq!(bucket.take(later, 1) + BURST, SECOND);
    }

    #[test]
    fn takers_wait_in_the_order_in_which_they_came() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(RATE);
        let waits: Vec<_> = (0..4).map(|_| bucket.take(now, RATE)).collect();
        assert!(waits.is_sorted());
        assert_eq!(waits[3] + BURST, SECOND * 3);
    }

    #[test]
    fn portions_fit_the_limit() {
        assert_eq!(TokenBucket::new(1 << 30).portion(1 << 18), 1 << 18);
        assert_eq!(TokenBucket::new(1 << 20).portion(1 << 18), 1 << 16);
        assert_eq!(TokenBucket::new(0).portion(1 << 18), 4096);
        assert_eq!(
            TokenBucket::new(u64::MAX).take(Instant::now(), u64::MAX),
            Duration::ZERO
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let before = time::Instant::now();
        let throttle = Throttle::new(None);
        throttle.pass(u64::MAX).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(throttle.portion(7), 7);
    }
}
