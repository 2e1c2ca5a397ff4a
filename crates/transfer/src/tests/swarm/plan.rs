//! What is varied in a swarm, and what comes of it.

use std::time::Duration;

use crate::Settings;

pub(super) const PIECE: u32 = 128 * 1024;

/// What one bare TCP stream brings over a link of 100 Mbit/s, in bytes a second.
pub(super) const UPLINK: u32 = 95_800_000 / 8;

/// What is varied.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) leechers: u32,
    pub(super) pieces: u32,
    /// Pieces that become known are told to others after so long, together.
    pub(super) event_delay: Duration,
    /// When members know of each other.
    pub(super) meeting: Duration,
    /// Calls that an uplink serves at once; others wait in line, …
    pub(super) served: usize,
    /// … so many of them; further ones are told to come back after so long.
    pub(super) queue: usize,
    pub(super) retry: Duration,
    /// How many others each member follows.
    pub(super) followed: usize,
    pub(super) claims: bool,
    /// Those who start so much later.
    pub(super) late: Vec<(usize, Duration)>,
    /// Those who vanish.
    pub(super) dying: Vec<(usize, Duration)>,
    /// Those who give nothing.
    pub(super) free_riders: Vec<usize>,
    pub(super) settings: Settings,
    pub(super) seed: u64,
}

impl Plan {
    pub(super) fn new(leechers: u32) -> Self {
        Self {
            leechers,
            pieces: 1024,
            event_delay: Duration::from_millis(20),
            meeting: Duration::from_millis(200),
            served: 4,
            queue: 64,
            retry: Duration::from_millis(100),
            followed: 64,
            claims: true,
            late: Vec::new(),
            dying: Vec::new(),
            free_riders: Vec::new(),
            settings: Settings::default(),
            seed: 1,
        }
    }

    /// The time below which nobody can be done.
    pub(super) fn bound(&self) -> Duration {
        let pieces = f64::from(self.pieces) + f64::from(self.leechers.ilog2());
        Duration::from_secs_f64(pieces * f64::from(PIECE) / f64::from(UPLINK))
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) last: Duration,
    /// By all, of all that was ever asked for.
    pub(super) sent_chunks: u32,
    pub(super) calls: u64,
    pub(super) events: u64,
}
