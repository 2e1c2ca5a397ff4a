//! Who is asked for what.

use std::time::Instant;

use super::{OpenCall, Transfer, unit_id};
use crate::sliced::UnitState;
use crate::{Call, CallId, ProviderId, UnitId};

/// A call for less than this is not worth its round trip, however many could share the work.
const SMALL_CALL_BYTES: u64 = 512 * 1024;

impl Transfer {
    /// Gives a call to be made now, if any provider is free for one.
    pub fn poll_call(&mut self, now: Instant) -> Option<Call> {
        self.pin_files();
        let mut free: Vec<ProviderId> = self.free_providers(now);
        free.sort_by_key(|id| {
            let provider = &self.providers[id.index()];
            (
                provider.calls,
                provider.wrongs > 0,
                provider.losses,
                provider.busies,
                *id,
            )
        });
        free.into_iter().find_map(|provider| self.call_to(provider))
    }

    /// Says whether a provider holds anything that is missing and may come from it.
    pub(super) fn could_help(&self, provider: ProviderId) -> bool {
        self.missing
            .iter()
            .any(|unit| self.may_come_from(*unit, provider))
            || self
                .unpinned
                .iter()
                .any(|item| self.holds_whole(*item, provider))
    }

    fn free_providers(&self, now: Instant) -> Vec<ProviderId> {
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
        (0..self.providers.len())
            .filter(is_free)
            .map(|index| ProviderId(unit_id(index).0))
            .collect()
    }

    fn call_to(&mut self, provider: ProviderId) -> Option<Call> {
        let recheck = self.providers[provider.index()].recheck;
        let (units, is_recheck) = match recheck.filter(|unit| self.missing.contains(unit)) {
            Some(unit) => (vec![unit], true),
            None => (self.choose_units(provider), false),
        };
        if !is_recheck {
            self.providers[provider.index()].recheck = None;
        }
        let first = *units.first()?;
        let id = CallId(self.next_call);
        self.next_call += 1;
        for unit in &units {
            self.missing.remove(unit);
            self.units[unit.index()].state = UnitState::Asked(id);
        }
        // A file that did not match is read again with a recheck, so that an honest provider can
        // notice that its disk is at fault.
        let is_pinned = self.units[first.index()]
            .file()
            .is_some_and(|item| self.is_pinned(item));
        self.providers[provider.index()].calls += 1;
        let open = OpenCall {
            provider,
            units: units.clone(),
            is_recheck,
            is_cancelled: false,
        };
        self.calls.insert(id, open);
        Some(Call {
            id,
            provider,
            units,
            recheck: is_recheck || is_pinned,
        })
    }

    /// Takes the first missing units that the provider may give, up to its fair share.
    fn choose_units(&self, provider: ProviderId) -> Vec<UnitId> {
        let share = self.fair_share();
        let mut units: Vec<UnitId> = Vec::new();
        let mut bytes = 0;
        for unit in &self.missing {
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
            bytes += self.units[unit.index()].unit.len;
            units.push(*unit);
            let is_enough = units.len() >= share && bytes >= SMALL_CALL_BYTES;
            if is_enough || units.len() >= self.most_units() || bytes >= self.settings.call_bytes {
                break;
            }
        }
        units
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
