//! Who is asked for what.

use std::time::Instant;

use super::{OpenCall, Transfer, unit_id};
use crate::provider::Provider;
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
        // What somebody waits for does not stand in line behind what nobody does.
        let extra = usize::from(self.missing.has_wanted());
        let is_free = |index: &usize| {
            let provider = &self.providers[*index];
            let is_recheck_open = provider.recheck.is_some() && provider.calls > 0;
            provider.is_ready(now)
                && !is_recheck_open
                && provider.calls < self.most_calls(provider) + extra
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

    /// How many calls somebody may have at once: whose first slice was not judged yet gets one, so that a liar wastes little.
    fn most_calls(&self, provider: &Provider) -> usize {
        let may_be_judged = || {
            let items = self.files.iter();
            items
                .filter(|(_, file)| file.proof.is_some())
                .any(|(item, file)| file.lead().is_some() || self.awaits_list(*item))
        };
        if provider.is_tried || self.sharers() <= 1 || !may_be_judged() {
            self.settings.calls_per_provider
        } else {
            1
        }
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
        let share = self.fair_share();
        let mut most_bytes = self.call_bytes(provider);
        let only_wanted = self.is_kept_for_wanted(provider);
        let mut units: Vec<UnitId> = Vec::new();
        let mut bytes = 0;
        for unit in self.missing.iter() {
            let is_wanted = self.missing.is_wanted(*unit);
            let follows_wanted = units
                .first()
                .is_some_and(|first| self.missing.is_wanted(*first));
            // What is wanted travels apart, so that nothing else delays it, nor what is wanted next.
            if !is_wanted && (only_wanted || follows_wanted) {
                break;
            }
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
            if units.is_empty() && self.is_trial(*unit, provider) {
                most_bytes = most_bytes.min(SMALL_CALL_BYTES);
            }
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

    /// Whether a slice is the first of somebody, or cannot be judged yet, while others have it too: little is asked for at once then.
    fn is_trial(&self, unit: UnitId, provider: ProviderId) -> bool {
        let Some(item) = self.units[unit.index()].file() else {
            return false;
        };
        let is_new = || !self.providers[provider.index()].is_tried && self.lead(item).is_some();
        self.sharers() > 1 && (self.awaits_list(item) || is_new())
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
