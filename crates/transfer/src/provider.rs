//! What is known of one provider.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::pieces::PieceSet;
use crate::{DropReason, UnitId};

/// Names a provider of one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(pub(crate) u32);

impl ProviderId {
    /// Gives the number, from 0 in the order in which providers were added.
    pub fn number(self) -> u32 {
        self.0
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a provider says it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// All of it.
    Complete,
    /// These pieces so far.
    Partial(Vec<Range<u32>>),
}

/// A provider and how it did so far.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) claim: Claim,
    /// Calls that run.
    pub(crate) calls: usize,
    /// Bytes that they are to bring.
    pub(crate) asked_bytes: u64,
    pub(crate) speed: Speed,
    pub(crate) standing: ProviderStanding,
    /// It gave something that was judged, and held.
    pub(crate) is_tried: bool,
    /// Lost calls since it last gave something.
    pub(crate) losses: u32,
    /// Stalls, ever: one that gives a little before each is not worth waiting for.
    pub(crate) stalls: u32,
    /// Busy answers since it last gave something.
    pub(crate) busies: u32,
    /// It sent an entry that did not match, and has to send it again.
    pub(crate) recheck: Option<UnitId>,
    /// How often it did so: such a provider is asked last.
    pub(crate) wrongs: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProviderStanding {
    Ready,
    Resting { until: Instant },
    Dropped(DropReason),
}

impl Provider {
    /// Somebody who claims nothing yet, of content with so many pieces.
    pub(crate) fn new(pieces: u32) -> Self {
        Self {
            claim: Claim::new(pieces),
            calls: 0,
            asked_bytes: 0,
            speed: Speed::default(),
            standing: ProviderStanding::Ready,
            is_tried: false,
            losses: 0,
            stalls: 0,
            busies: 0,
            recheck: None,
            wrongs: 0,
        }
    }

    pub(crate) fn is_dropped(&self) -> bool {
        matches!(self.standing, ProviderStanding::Dropped(_))
    }

    /// Whether what it holds makes it less rare: who has everything adds to all pieces alike.
    pub(crate) fn is_counted(&self) -> bool {
        !self.is_dropped() && !self.claim.is_complete()
    }

    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        match self.standing {
            ProviderStanding::Ready => true,
            ProviderStanding::Resting { until } => until <= now,
            ProviderStanding::Dropped(_) => false,
        }
    }

    /// Takes in that it gave something useful.
    pub(crate) fn gave(&mut self) {
        self.losses = 0;
        self.busies = 0;
    }
}

/// How fast a provider gives.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Speed {
    /// Smoothed; 0 until the first measure.
    bytes_per_second: u64,
}

impl Speed {
    /// Takes in how long a call took, and what it brought while `calls` ran at once.
    pub(crate) fn measure(&mut self, bytes: u64, took: Duration, calls: usize) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let together = bytes.saturating_mul(calls.max(1) as u64);
        let now = together.saturating_mul(1_000_000) / micros;
        self.bytes_per_second = match self.bytes_per_second {
            0 => now,
            before => before / 4 * 3 + now / 4,
        };
    }

    /// How many bytes it gives in so long; `None` while nothing was measured.
    pub(crate) fn bytes_in(self, time: Duration) -> Option<u64> {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        (self.bytes_per_second > 0)
            .then(|| self.bytes_per_second.saturating_mul(micros) / 1_000_000)
    }

    /// How long it takes for so many bytes, as far as is known.
    pub(crate) fn time_of(self, bytes: u64) -> Duration {
        match self.bytes_per_second {
            0 => Duration::ZERO,
            speed => Duration::from_micros(bytes.saturating_mul(1_000_000) / speed),
        }
    }
}

/// Which pieces a provider claims.
#[derive(Debug)]
pub(crate) struct Claim {
    complete: bool,
    held: PieceSet,
    /// What it is about to hold.
    coming: PieceSet,
    /// What it turned out to lack.
    lacking: BTreeSet<u32>,
}

impl Claim {
    fn new(pieces: u32) -> Self {
        Self {
            complete: false,
            held: PieceSet::new(pieces),
            coming: PieceSet::new(pieces),
            lacking: BTreeSet::new(),
        }
    }

    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes in that pieces are held, and gives those that it was not even about to hold.
    ///
    /// A piece once lacking counts as held again when it is announced anew.
    pub(crate) fn add(&mut self, range: &Range<u32>) -> Vec<u32> {
        let range = self.held.within(range);
        self.lacking.retain(|piece| !range.contains(piece));
        let (held, coming) = (&mut self.held, &self.coming);
        range
            .filter(|piece| held.insert(*piece) && !coming.contains(*piece))
            .collect()
    }

    /// Takes in that it is about to hold pieces, and gives those that are news.
    pub(crate) fn expect(&mut self, range: &Range<u32>) -> Vec<u32> {
        let (held, coming) = (&self.held, &mut self.coming);
        let range = held.within(range);
        range
            .filter(|piece| coming.insert(*piece) && !held.contains(*piece))
            .collect()
    }

    /// All that it holds or is about to, said piece by piece.
    pub(crate) fn announced(&self) -> Vec<u32> {
        let all = self.held.iter().chain(self.coming.iter());
        let all: BTreeSet<u32> = all.collect();
        all.into_iter().collect()
    }

    /// Says whether it was taken for complete.
    pub(crate) fn forget_completeness(&mut self) -> bool {
        std::mem::replace(&mut self.complete, false)
    }

    pub(crate) fn lacks(&mut self, piece: u32) {
        self.lacking.insert(piece);
    }

    pub(crate) fn holds(&self, piece: u32) -> bool {
        (self.complete || self.held.contains(piece)) && !self.lacking.contains(&piece)
    }

    /// Whether it holds any of these, but for those that it turned out to lack.
    pub(crate) fn may_hold_any(&self, pieces: &PieceSet) -> bool {
        if self.complete {
            !pieces.is_empty()
        } else {
            !self.held.is_disjoint(pieces)
        }
    }

    /// Those of these pieces that it holds.
    pub(crate) fn held_of(&self, pieces: &PieceSet) -> impl Iterator<Item = u32> {
        let all = self.complete.then(|| pieces.iter());
        let some = (!self.complete).then(|| self.held.common(pieces));
        let held = all.into_iter().flatten().chain(some.into_iter().flatten());
        held.filter(|piece| !self.lacking.contains(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_what_was_announced_and_not_found_lacking() {
        let mut claim = Claim::new(12);
        assert_eq!(claim.add(&(3..6)), [3, 4, 5]);
        assert_eq!(claim.add(&(5..7)), [6]);
        assert_eq!(claim.add(&(11..40)), [11]);
        let held = |claim: &Claim| {
            (0..20)
                .filter(|piece| claim.holds(*piece))
                .collect::<Vec<_>>()
        };
        assert_eq!(held(&claim), [3, 4, 5, 6, 11]);
        claim.lacks(4);
        assert_eq!(held(&claim), [3, 5, 6, 11]);
        assert_eq!(claim.add(&(4..5)), [0; 0]);
        assert!(claim.holds(4), "it was announced anew");
        claim.complete();
        claim.lacks(0);
        assert_eq!(held(&claim), (1..20).collect::<Vec<_>>());
        assert!(claim.forget_completeness());
        assert_eq!(held(&claim), [3, 4, 5, 6, 11]);
    }

    #[test]
    fn what_is_about_to_be_held_is_news_once() {
        let mut claim = Claim::new(9);
        assert_eq!(claim.expect(&(2..4)), [2, 3]);
        assert_eq!(claim.expect(&(2..5)), [4]);
        assert!(!claim.holds(2));
        assert_eq!(claim.add(&(2..8)), [5, 6, 7]);
        assert_eq!(claim.expect(&(6..9)), [8]);
        assert_eq!(claim.announced(), [2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn speed_counts_what_runs_beside() {
        let mut speed = Speed::default();
        assert_eq!(speed.bytes_in(Duration::from_secs(1)), None);
        assert_eq!(speed.time_of(1000), Duration::ZERO);
        speed.measure(1000, Duration::from_millis(100), 2);
        assert_eq!(speed.bytes_in(Duration::from_secs(1)), Some(20_000));
        assert_eq!(speed.time_of(10_000), Duration::from_millis(500));
        speed.measure(1000, Duration::ZERO, 1);
        assert!(speed.bytes_in(Duration::from_secs(1)) > Some(20_000));
    }
}
