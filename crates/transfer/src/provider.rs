//! What is known of one provider.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Instant;

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
    pub(crate) standing: ProviderStanding,
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
    pub(crate) fn new(holding: Holding) -> Self {
        Self {
            claim: Claim::new(holding),
            calls: 0,
            standing: ProviderStanding::Ready,
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

/// Which pieces a provider claims.
#[derive(Debug)]
pub(crate) struct Claim {
    complete: bool,
    /// Disjoint ranges by their start, with their end.
    ranges: BTreeMap<u32, u32>,
    /// What it turned out to lack.
    lacking: BTreeSet<u32>,
}

impl Claim {
    fn new(holding: Holding) -> Self {
        let mut claim = Self {
            complete: false,
            ranges: BTreeMap::new(),
            lacking: BTreeSet::new(),
        };
        claim.add(holding);
        claim
    }

    pub(crate) fn add(&mut self, holding: Holding) {
        match holding {
            Holding::Complete => self.complete = true,
            Holding::Partial(ranges) => ranges.into_iter().for_each(|range| self.add_range(range)),
        }
    }

    /// A piece once lacking counts as held again when it is announced anew.
    fn add_range(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        self.lacking.retain(|piece| !range.contains(piece));
        let (mut start, mut end) = (range.start, range.end);
        let touching: Vec<(u32, u32)> = self
            .ranges
            .range(..=end)
            .rev()
            .take_while(|(_, other_end)| **other_end >= start)
            .map(|(other_start, other_end)| (*other_start, *other_end))
            .collect();
        for (other_start, other_end) in touching {
            self.ranges.remove(&other_start);
            start = start.min(other_start);
            end = end.max(other_end);
        }
        self.ranges.insert(start, end);
    }

    pub(crate) fn forget_completeness(&mut self) {
        self.complete = false;
    }

    pub(crate) fn lacks(&mut self, piece: u32) {
        self.lacking.insert(piece);
    }

    pub(crate) fn holds(&self, piece: u32) -> bool {
        if self.lacking.contains(&piece) {
            return false;
        }
        self.complete
            || self
                .ranges
                .range(..=piece)
                .next_back()
                .is_some_and(|(_, end)| *end > piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut claim = Claim::new(Holding::Partial(vec![0..2, 6..8, 4..5]));
        claim.add(Holding::Partial(vec![2..4, 5..6]));
        assert_eq!(claim.ranges.into_iter().collect::<Vec<_>>(), [(0, 8)]);
    }

    #[test]
    fn a_claim_holds_what_was_announced_and_not_found_lacking() {
        let mut claim = Claim::new(Holding::Partial(vec![3..6, 9..10]));
        let held = |claim: &Claim| {
            (0..12)
                .filter(|piece| claim.holds(*piece))
                .collect::<Vec<_>>()
        };
        assert_eq!(held(&claim), [3, 4, 5, 9]);
        claim.lacks(4);
        assert_eq!(held(&claim), [3, 5, 9]);
        claim.add(Holding::Complete);
        assert_eq!(held(&claim), [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]);
        claim.add(Holding::Partial(vec![4..5, 8..9]));
        assert!(claim.holds(4));
    }
}
