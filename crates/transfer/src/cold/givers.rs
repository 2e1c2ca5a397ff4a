//! Whether what members give comes quickly enough to leave upstream alone.

use std::time::{Duration, Instant};

use super::{ColdAction, ColdStart, taking::Take};

/// What a member gives may come at a part of the rate at which upstream is read, before upstream is read instead.
const PART_OF_UPSTREAM: u64 = 4;

/// What came from members since they were weighed last.
#[derive(Debug)]
pub(super) struct Givers {
    since: Instant,
    pub(super) bytes: u64,
}

impl Givers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            bytes: 0,
        }
    }
}

impl ColdStart {
    /// Once in a while: where less comes from members than upstream would give, pieces are overdue that were given already when this was
    /// looked at before, and calls that brought less than their share are given up.
    pub(super) fn weigh_givers(&mut self, now: Instant) {
        let gives = self
            .members
            .iter()
            .any(|member| member.is_live() && !member.gives.is_empty());
        if !gives && self.takes.is_empty() {
            self.givers = Givers::new(now);
            return;
        }
        let time = now.saturating_duration_since(self.givers.since);
        let slowest = self.settings.slowest_rate.max(1);
        let window =
            self.settings.claim_patience + Duration::from_secs(self.piece_bytes() / slowest);
        if time < window {
            return;
        }
        let rate = self
            .upstream_rate()
            .map_or(slowest, |rate| rate / PART_OF_UPSTREAM);
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let wanted_bytes = rate.saturating_mul(millis) / 1000;
        let is_slow = self.can_read() && self.givers.bytes < wanted_bytes;
        let begun = std::mem::replace(&mut self.givers, Givers::new(now)).since;
        let wanted: Vec<u32> = self.wanted.iter().copied().collect();
        for number in wanted {
            let is_given = self.is_given(number);
            let piece = &mut self.pieces[number as usize];
            piece.is_overdue = is_slow && piece.was_given;
            piece.was_given = is_given;
        }
        let share = wanted_bytes / (self.takes.len() as u64).max(1);
        if is_slow {
            let is_late = |take: &Take| take.since <= begun && take.bytes < share;
            for take in self.takes.values_mut() {
                take.is_late |= is_late(take);
            }
            self.cancel_takes(|take| take.is_late);
        }
        for take in self.takes.values_mut() {
            take.bytes = 0;
        }
    }

    /// Hangs up where it was not done yet.
    pub(super) fn cancel_takes(&mut self, which: impl Fn(&Take) -> bool) {
        let open = self
            .takes
            .iter_mut()
            .filter(|(_, take)| !take.is_cancelled && which(take));
        for (take, open) in open {
            open.is_cancelled = true;
            self.actions
                .push_back(ColdAction::CancelTake { take: *take });
        }
    }
}
