//! Units that are late, and asking a second provider for them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{OpenCall, Transfer};
use crate::sliced::UnitState;
use crate::{Call, CallId, Event, ProviderId, UnitId};

/// So many times are remembered, the latest ones.
const TIMES: usize = 64;

/// With fewer nothing is known of what is usual.
const FEWEST_TIMES: usize = 8;

/// Nothing is late sooner: a second answer costs a round trip too.
const LEAST_LATE: Duration = Duration::from_millis(200);

/// Of so many units one may be asked for twice, and a few more: what is sent twice is sent in vain.
const UNITS_FOR_ONE: usize = 64;

/// … so many.
const FEW: usize = 4;

/// How long units took lately, from the one before them or the beginning of their call.
#[derive(Debug, Default)]
pub(super) struct UnitTimes(VecDeque<Duration>);

impl UnitTimes {
    fn add(&mut self, time: Duration) {
        if self.0.len() == TIMES {
            self.0.pop_front();
        }
        self.0.push_back(time);
    }

    /// What nine of ten units kept within; `None` while too few were seen.
    fn usual(&self) -> Option<Duration> {
        if self.0.len() < FEWEST_TIMES {
            return None;
        }
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 9 / 10).copied()
    }
}

impl Transfer {
    /// Says when [`Self::poll_call`] may have something new to give although nothing happens.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let rests = (0..self.providers.len()).filter_map(|index| self.rest_of(index, now));
        let late = self.times.usual().map(|usual| usual.max(LEAST_LATE));
        let calls = self.calls.values().filter(|open| !open.is_cancelled);
        let lates = late
            .into_iter()
            .flat_map(|late| calls.clone().map(move |open| open.last + late));
        rests.chain(lates).filter(|at| *at > now).min()
    }

    /// Asks one of the free providers for a unit that another one is late with.
    pub(super) fn hedge(&mut self, now: Instant, free: &[ProviderId]) -> Option<Call> {
        if self.hedged >= self.units.len() / UNITS_FOR_ONE + FEW {
            return None;
        }
        let late = self.times.usual()?.max(LEAST_LATE);
        let mut slow: Vec<(Instant, CallId)> = self
            .calls
            .iter()
            .filter(|(_, open)| !open.is_cancelled && open.last + late <= now)
            .map(|(id, open)| (open.last, *id))
            .collect();
        slow.sort_unstable();
        let (provider, unit) = slow.iter().find_map(|(_, call)| {
            let open = self.calls.get(call)?;
            // Its last one is the farthest from being there.
            let mut units = open.units.iter().rev();
            let unit = *units.find(|unit| self.may_be_hedged(*call, **unit))?;
            let helper = free
                .iter()
                .find(|id| **id != open.provider && self.may_hedge(unit, **id))?;
            Some((*helper, unit))
        })?;
        let call = self.open_call(now, provider, vec![unit], false);
        self.hedges.insert(unit, call.id);
        self.hedged += 1;
        Some(call)
    }

    fn may_be_hedged(&self, call: CallId, unit: UnitId) -> bool {
        let tracked = &self.units[unit.index()];
        tracked.state == UnitState::Asked(call) && !self.hedges.contains_key(&unit)
    }

    /// Takes in that one of two calls brought a unit: the other one is hung up on, unless it has more to bring.
    pub(super) fn end_race(&mut self, winner: CallId, unit: UnitId) {
        let Some(hedge) = self.hedges.remove(&unit) else {
            return;
        };
        let loser = match self.units[unit.index()].state {
            UnitState::Asked(first) if first != winner => first,
            UnitState::Missing
            | UnitState::Asked(_)
            | UnitState::Written
            | UnitState::Judging
            | UnitState::Proven => hedge,
        };
        // From now on it is the winner's alone.
        self.units[unit.index()].state = UnitState::Asked(winner);
        let has_more = |open: &OpenCall| {
            open.units.iter().any(|other| {
                *other != unit && self.units[other.index()].state == UnitState::Asked(loser)
            })
        };
        if self
            .calls
            .get(&loser)
            .is_some_and(|open| !open.is_cancelled && !has_more(open))
            && let Some(open) = self.calls.get_mut(&loser)
        {
            open.is_cancelled = true;
            self.events.push_back(Event::Cancel { call: loser });
        }
    }

    /// Takes in that a call is over, and says whether a unit of it goes on in another call.
    pub(super) fn leave_race(&mut self, call: CallId, unit: UnitId) -> bool {
        let tracked = &mut self.units[unit.index()];
        match self.hedges.get(&unit) {
            Some(hedge) if *hedge == call => {
                self.hedges.remove(&unit);
                true
            }
            Some(hedge) if tracked.state == UnitState::Asked(call) => {
                tracked.state = UnitState::Asked(*hedge);
                self.hedges.remove(&unit);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Notes how long a unit took.
    pub(super) fn take_time(&mut self, now: Instant, call: CallId, unit: UnitId) {
        let len = self.units[unit.index()].unit.len;
        if let Some(open) = self.calls.get_mut(&call) {
            self.times.add(now.saturating_duration_since(open.last));
            open.last = now;
            open.bytes += len;
            let state = &mut self.providers[open.provider.index()];
            state.asked_bytes = state.asked_bytes.saturating_sub(len);
        }
    }

    /// Notes how fast a call was.
    pub(super) fn take_speed(&mut self, now: Instant, open: &OpenCall) {
        let asked: u64 = open
            .units
            .iter()
            .map(|unit| self.units[unit.index()].unit.len)
            .sum();
        let state = &mut self.providers[open.provider.index()];
        if open.bytes > 0 {
            let took = now.saturating_duration_since(open.began);
            state.speed.measure(open.bytes, took, state.calls);
        }
        state.calls = state.calls.saturating_sub(1);
        state.asked_bytes = state
            .asked_bytes
            .saturating_sub(asked.saturating_sub(open.bytes));
        if state.calls == 0 {
            state.asked_bytes = 0;
        }
    }
}
