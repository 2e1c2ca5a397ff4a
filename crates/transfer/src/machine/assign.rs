//! Who is asked for what.

use std::time::Instant;

use super::{OpenCall, Transfer, unit_id};
use crate::sliced::UnitState;
use crate::{Call, CallId, ProviderId, Standing, UnitId};

/// A call for less than this is not worth its round trip, however many could share the work.
const SMALL_CALL_BYTES: u64 = 128 * 1024;

impl Transfer {
    /// Gives a call to be made now, if any provider is free for one.
    pub fn poll_call(&mut self, now: Instant) -> Option<Call> {
        self.pin_files();
        let free = self.free_providers(now);
        let call = free
            .iter()
            .find_map(|provider| self.call_to(now, *provider));
        let call = call.or_else(|| self.hedge(now, &free));
        if call.is_none() && self.standing(now) == Standing::Starved && self.fall_back() {
            return self.poll_call(now);
        }
        call
    }

    /// Says whether a provider holds anything that is missing and may come from it.
    pub(super) fn could_help(&self, provider: ProviderId) -> bool {
        let claim = &self.providers[provider.index()].claim;
        let mut units = claim
            .held_of(self.missing.in_pieces())
            .flat_map(|piece| self.missing.in_piece(piece));
        units.any(|unit| self.may_come_from(unit, provider))
            || self
                .unpinned
                .iter()
                .any(|item| self.holds_whole(*item, provider))
    }

    /// Those that may be asked now, the least loaded first.
    fn free_providers(&mut self, now: Instant) -> Vec<ProviderId> {
        let active = self
            .providers
            .iter()
            .filter(|provider| provider.calls > 0)
            .count();
        let has_room = active < self.settings.active_providers;
        let is_free = |index: &usize| {
            let provider = &self.providers[*index];
            let is_recheck_open = provider.recheck.is_some() && provider.calls > 0;
            provider.is_ready(now)
                && !is_recheck_open
                && provider.calls < self.settings.calls_per_provider
                && (provider.calls > 0 || has_room)
        };
        let mut free: Vec<ProviderId> = (0..self.providers.len())
            .filter(is_free)
            .map(|index| ProviderId(unit_id(index).0))
            .collect();
        if self.has_company {
            // Else all would begin with the same one.
            self.random.shuffle(&mut free);
        }
        free.sort_by_key(|id| {
            let provider = &self.providers[id.index()];
            (
                provider.calls,
                provider.wrongs > 0,
                provider.losses,
                provider.busies,
                provider.speed.time_of(provider.asked_bytes),
            )
        });
        free
    }

    fn call_to(&mut self, now: Instant, provider: ProviderId) -> Option<Call> {
        let recheck = self.providers[provider.index()].recheck;
        let (units, is_recheck) = match recheck.filter(|unit| self.missing.contains(*unit)) {
            Some(unit) => (vec![unit], true),
            None => (self.choose_units(provider), false),
        };
        if !is_recheck {
            self.providers[provider.index()].recheck = None;
        }
        units.first()?;
        for unit in &units {
            self.fit_to(*unit, provider);
        }
        let call = self.open_call(now, provider, units, is_recheck);
        for unit in &call.units {
            self.missing.remove(*unit);
            self.units[unit.index()].state = UnitState::Asked(call.id);
        }
        Some(call)
    }

    pub(super) fn open_call(
        &mut self,
        now: Instant,
        provider: ProviderId,
        units: Vec<UnitId>,
        is_recheck: bool,
    ) -> Call {
        let id = CallId(self.next_call);
        self.next_call += 1;
        // A file that did not match is read again with a recheck, so that an honest provider can
        // notice that its disk is at fault.
        let file = units
            .first()
            .and_then(|first| self.units[first.index()].file());
        let is_pinned = file.is_some_and(|item| self.is_pinned(item));
        let state = &mut self.providers[provider.index()];
        state.calls += 1;
        state.asked_bytes += units
            .iter()
            .map(|unit| self.units[unit.index()].unit.len)
            .sum::<u64>();
        let open = OpenCall {
            provider,
            units: units.clone(),
            is_recheck,
            is_cancelled: false,
            began: now,
            last: now,
            bytes: 0,
        };
        self.calls.insert(id, open);
        Call {
            id,
            provider,
            units,
            recheck: is_recheck || is_pinned,
        }
    }

    /// Takes the rarest missing units that the provider may give, up to its fair share.
    fn choose_units(&self, provider: ProviderId) -> Vec<UnitId> {
        if !self.may_hold_missing(provider) {
            return Vec::new();
        }
        let (share, most_bytes) = (self.fair_share(), self.call_bytes(provider));
        let mut units: Vec<UnitId> = Vec::new();
        let mut bytes = 0;
        for unit in self.missing.iter() {
            if !self.may_come_from(*unit, provider) {
                continue;
            }
            // Rereads travel apart: they ask for a recheck, which costs the provider a hash.
            let is_pinned = |id: &UnitId| {
                self.units[id.index()]
                    .file()
                    .is_some_and(|item| self.is_pinned(item))
            };
            if units
                .first()
                .is_some_and(|first| is_pinned(first) != is_pinned(unit))
            {
                break;
            }
            let len = self.units[unit.index()].unit.len;
            // Never none, and rather a little less than what it has time for.
            if !units.is_empty() && bytes + len > most_bytes {
                break;
            }
            bytes += len;
            units.push(*unit);
            let is_enough = units.len() >= share && bytes >= SMALL_CALL_BYTES;
            if is_enough || units.len() >= self.most_units() {
                break;
            }
        }
        units
    }

    /// How many bytes one call may ask for: what the provider gives in its part of the time to be asked ahead.
    fn call_bytes(&self, provider: ProviderId) -> u64 {
        let settings = &self.settings;
        let speed = self.providers[provider.index()].speed;
        let bytes = match speed.bytes_in(settings.ahead) {
            Some(bytes) => bytes / settings.calls_per_provider.max(1) as u64,
            None if self.is_scattered => settings.first_call_bytes,
            None => settings.scatter_bytes,
        };
        bytes.min(settings.call_bytes)
    }

    fn may_hold_missing(&self, provider: ProviderId) -> bool {
        let claim = &self.providers[provider.index()].claim;
        claim.may_hold_any(self.missing.in_pieces())
    }

    fn fair_share(&self) -> usize {
        match self.sharers() {
            0 | 1 => self.settings.sole_call_units,
            sharers => self
                .missing
                .len()
                .div_ceil(sharers * self.settings.calls_per_provider),
        }
    }

    fn most_units(&self) -> usize {
        match self.sharers() {
            0 | 1 => self.settings.sole_call_units,
            _ => self.settings.call_units,
        }
    }

    /// How many providers share the work, or are about to.
    fn sharers(&self) -> usize {
        (self.live_providers() + self.expected).min(self.settings.active_providers)
    }
}
