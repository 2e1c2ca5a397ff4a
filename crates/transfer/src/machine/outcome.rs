//! What follows from how calls and checks went.

use std::time::Instant;

use super::{OpenCall, Transfer, unit_id};
use crate::provider::ProviderStanding;
use crate::sliced::{Pin, UnitState};
use crate::{CallEnd, CallId, DropReason, Event, FileVerdict, ProviderId, UnitId, UnitOutcome};

impl Transfer {
    /// Takes in what became of one unit of a call; what the call was not asked for is ignored.
    pub fn handle_unit(&mut self, now: Instant, call: CallId, unit: UnitId, outcome: UnitOutcome) {
        let is_hedge = self.hedges.get(&unit) == Some(&call);
        let Some(open) = self.calls.get(&call) else {
            return;
        };
        let (provider, is_recheck) = (open.provider, open.is_recheck);
        let Some(tracked) = self.units.get_mut(unit.index()) else {
            return;
        };
        if tracked.state != UnitState::Asked(call) && !is_hedge {
            return;
        }
        let is_over = match outcome {
            UnitOutcome::Proven | UnitOutcome::Written { .. } => true,
            UnitOutcome::Judged { grains, .. } => grains as usize >= tracked.asked_grains().len(),
            UnitOutcome::Part { .. } | UnitOutcome::Wrong { .. } => false,
        };
        if is_over {
            self.take_time(now, call, unit);
            self.end_race(call, unit);
        }
        let Some(tracked) = self.units.get_mut(unit.index()) else {
            return;
        };
        match outcome {
            UnitOutcome::Proven => {
                tracked.state = UnitState::Proven;
                self.unproven -= 1;
                self.providers[provider.index()].gave();
                self.providers[provider.index()].is_tried = true;
            }
            UnitOutcome::Written { differs } => {
                tracked.write(provider, differs);
                let (item, grains) = (tracked.file(), tracked.asked_grains());
                self.providers[provider.index()].gave();
                if let Some(item) = item {
                    self.with_proof(item, |proof| proof.handle_unjudged(grains));
                }
                self.count_written(unit);
                self.refresh_unit(unit);
            }
            UnitOutcome::Judged { .. } => self.handle_judged(call, unit, outcome),
            UnitOutcome::Part {
                proven_items,
                proven_bytes,
            } => {
                tracked.unit.cut_front(proven_items, proven_bytes);
            }
            UnitOutcome::Wrong {
                proven_items,
                proven_bytes,
            } => {
                tracked.unit.cut_front(proven_items, proven_bytes);
                self.suspect(provider, unit, is_recheck);
            }
        }
    }

    /// Takes in that a call is over, and that none of its bytes is written any more.
    pub fn handle_call_end(&mut self, now: Instant, call: CallId, end: CallEnd) {
        let Some(open) = self.calls.remove(&call) else {
            return;
        };
        let provider = open.provider;
        let is_cut_short = self.free_units(call, &open);
        self.take_speed(now, &open);
        let state = &mut self.providers[provider.index()];
        // What a call does after we hung up is not the provider's fault.
        if open.is_cancelled || state.is_dropped() {
            return;
        }
        match end {
            CallEnd::Finished if !is_cut_short => {
                if open.is_recheck {
                    state.recheck = None;
                }
            }
            CallEnd::Finished | CallEnd::Lost | CallEnd::Stalled | CallEnd::Busy { .. } => {
                self.count_end(now, provider, end);
            }
            CallEnd::NotHeld { piece: Some(piece) } => {
                state.claim.lacks(piece);
                self.unpin_from(provider);
                self.handle_completeness(provider, false);
                self.lose(now, provider, DropReason::NotHolding);
            }
            CallEnd::NotHeld { piece: None } => {
                self.drop_provider(provider, DropReason::NotHolding);
            }
            CallEnd::Corrupt => self.drop_provider(provider, DropReason::Corrupt),
            CallEnd::Refused => self.drop_provider(provider, DropReason::Refused),
            CallEnd::Violation => self.drop_provider(provider, DropReason::Violation),
            CallEnd::Wrong | CallEnd::Cancelled => {}
        }
    }

    /// Counts a call that brought nothing, and lets the provider rest, or drops it.
    pub(super) fn count_end(&mut self, now: Instant, provider: ProviderId, end: CallEnd) {
        let state = &mut self.providers[provider.index()];
        match end {
            CallEnd::Finished | CallEnd::Lost => self.lose(now, provider, DropReason::Unreachable),
            CallEnd::Stalled => {
                state.stalls += 1;
                if state.stalls >= self.settings.stalls {
                    self.drop_provider(provider, DropReason::TooSlow);
                } else {
                    self.lose(now, provider, DropReason::TooSlow);
                }
            }
            CallEnd::Busy { retry_after } => {
                state.busies += 1;
                if state.busies >= self.settings.busies {
                    self.drop_provider(provider, DropReason::TooBusy);
                } else {
                    let wish = retry_after.unwrap_or(self.settings.rest);
                    let rest = wish.clamp(self.settings.rest, self.settings.longest_rest);
                    state.standing = ProviderStanding::Resting { until: now + rest };
                }
            }
            CallEnd::NotHeld { .. }
            | CallEnd::Corrupt
            | CallEnd::Refused
            | CallEnd::Violation
            | CallEnd::Wrong
            | CallEnd::Cancelled => {}
        }
    }

    /// Takes in what hashing a file said.
    pub fn handle_file(&mut self, item: u32, verdict: FileVerdict) {
        let Some(file) = self.files.get_mut(&item) else {
            return;
        };
        if !std::mem::take(&mut file.is_checking) {
            return;
        }
        self.checking -= 1;
        match verdict {
            FileVerdict::Proven => self.prove_file(item),
            FileVerdict::Mismatch if self.lead(item).is_some() => self.refresh_file(item),
            FileVerdict::Mismatch => self.doubt_file(item),
            FileVerdict::Unlinked => {
                self.with_proof(item, |proof| proof.handle_unjudged(0..proof.grains()));
                self.refresh_file(item);
            }
        }
    }

    /// Asks a provider no more, for a reason that its owner found outside of calls.
    pub fn drop_provider(&mut self, provider: ProviderId, reason: DropReason) {
        let Some(state) = self.providers.get_mut(provider.index()) else {
            return;
        };
        if state.is_dropped() {
            return;
        }
        self.forget_copies_of(provider);
        let state = &mut self.providers[provider.index()];
        state.standing = ProviderStanding::Dropped(reason);
        state.recheck = None;
        self.events.push_back(Event::Dropped { provider, reason });
        self.cancel_calls_of(provider);
        if reason.is_wrong_bytes() {
            self.distrust_slices_of(provider);
        }
        self.unpin_from(provider);
        self.release(provider);
    }

    fn count_written(&mut self, unit: UnitId) {
        let Some(item) = self.units[unit.index()].file() else {
            return;
        };
        if let Some(file) = self.files.get_mut(&item) {
            file.written += 1;
        }
        self.check_if_whole(item);
    }

    /// Frees what a call did not bring, and says whether there was any.
    fn free_units(&mut self, call: CallId, open: &OpenCall) -> bool {
        let mut is_cut_short = false;
        for unit in &open.units {
            if self.leave_race(call, *unit) {
                continue;
            }
            let tracked = &mut self.units[unit.index()];
            if tracked.state == UnitState::Asked(call) {
                tracked.state = UnitState::Missing;
                // Part of the slice may have been written over: whose it is nobody can say.
                tracked.holders.clear();
                tracked.before.clear();
                self.missing.insert(*unit);
                is_cut_short = true;
                let item = tracked.file();
                self.refresh_unit(*unit);
                if let Some(item) = item {
                    self.check_if_whole(item);
                }
            }
        }
        is_cut_short
    }

    pub(super) fn lose(&mut self, now: Instant, provider: ProviderId, reason: DropReason) {
        let state = &mut self.providers[provider.index()];
        state.losses += 1;
        if state.losses >= self.settings.losses {
            self.drop_provider(provider, reason);
            return;
        }
        let doubled = self
            .settings
            .rest
            .saturating_mul(1 << (state.losses - 1).min(16));
        let until = now + doubled.min(self.settings.longest_rest);
        state.standing = ProviderStanding::Resting { until };
    }

    /// Looks for another provider for the files that were to come from this one alone.
    pub(super) fn unpin_from(&mut self, provider: ProviderId) {
        for (item, file) in &mut self.files {
            if file.pin == Pin::One(provider) {
                file.pin = Pin::OneOf;
                self.unpinned.insert(*item);
            }
        }
    }

    fn suspect(&mut self, provider: ProviderId, unit: UnitId, is_recheck: bool) {
        let state = &mut self.providers[provider.index()];
        state.wrongs += 1;
        let is_often = state.wrongs >= self.settings.wrongs;
        if is_recheck || is_often {
            let reason = if is_recheck {
                DropReason::WrongTwice
            } else {
                DropReason::OftenWrong
            };
            self.drop_provider(provider, reason);
            return;
        }
        state.recheck = Some(unit);
        self.cancel_calls_of(provider);
    }

    pub(super) fn cancel_calls_of(&mut self, provider: ProviderId) {
        for (id, open) in &mut self.calls {
            if open.provider == provider && !open.is_cancelled {
                open.is_cancelled = true;
                self.events.push_back(Event::Cancel { call: *id });
            }
        }
    }

    /// Reads again what a provider whose bytes were wrong sent of files that are not proven.
    fn distrust_slices_of(&mut self, provider: ProviderId) {
        for file in self.files.values_mut().filter(|file| !file.is_checking) {
            for index in file.units.clone() {
                let tracked = &mut self.units[index];
                if tracked.state == UnitState::Written && tracked.holders == [Some(provider)] {
                    tracked.state = UnitState::Missing;
                    file.written -= 1;
                    self.missing.insert(unit_id(index));
                }
            }
        }
    }

    fn prove_file(&mut self, item: u32) {
        let Some(file) = self.files.remove(&item) else {
            return;
        };
        self.unpinned.remove(&item);
        let has_lead = file.lead().is_some();
        let mut wrong = Vec::new();
        for index in file.units {
            let tracked = &mut self.units[index];
            self.judging -= usize::from(tracked.state == UnitState::Judging);
            tracked.state = UnitState::Proven;
            self.unproven -= 1;
            tracked.holders = Vec::new();
            // Where slices are judged, who sent others is nobody's fault.
            if !has_lead {
                wrong.append(&mut tracked.before);
            }
        }
        for provider in wrong.into_iter().flatten() {
            self.drop_provider(provider, DropReason::WrongSlices);
        }
    }

    /// Whoever sent all of a file that does not match is dropped; when nobody did, one is to.
    fn doubt_file(&mut self, item: u32) {
        let Some(file) = self.files.get_mut(&item) else {
            return;
        };
        file.pin = Pin::OneOf;
        let units = file.units.clone();
        self.unpinned.insert(item);
        let tracked = &self.units[units.clone()];
        let mut sole: Vec<ProviderId> = tracked.first().map_or(Vec::new(), |first| {
            first.holders.iter().flatten().copied().collect()
        });
        sole.retain(|id| tracked.iter().all(|unit| unit.is_held_by(*id)));
        for provider in sole {
            self.drop_provider(provider, DropReason::Mismatch);
        }
    }
}
