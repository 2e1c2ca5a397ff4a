//! Files that are proven as a whole only: which provider one is read from alone after it did not match.

use zeroshare_proof::Party;

use super::{Transfer, unit_id};
use crate::sliced::{Pin, UnitState};
use crate::{ProviderId, UnitId};

impl Transfer {
    /// Whether a unit may be read from a provider now: it holds it, has nothing to explain, and what it sends can be of use.
    pub(super) fn may_come_from(&self, unit: UnitId, provider: ProviderId) -> bool {
        !self.is_suspended(provider)
            && self.can_give(unit, provider)
            && !self.is_last_resort(provider, unit)
    }

    /// The same, however the provider did so far.
    pub(super) fn can_give(&self, unit: UnitId, provider: ProviderId) -> bool {
        let tracked = &self.units[unit.index()];
        let file = tracked.file().and_then(|item| self.files.get(&item));
        if let Some(proof) = file.and_then(|file| file.proof.as_ref())
            && proof.lead().is_some()
        {
            return self.providers[provider.index()]
                .claim
                .holds(tracked.unit.piece)
                && proof.may_give_any(Party(provider.0), tracked.grains());
        }
        let pin = file.map(|file| file.pin);
        let is_allowed = match pin {
            None | Some(Pin::Anybody) => true,
            Some(Pin::OneOf) => false,
            Some(Pin::One(only)) => only == provider,
        };
        is_allowed
            && self.providers[provider.index()]
                .claim
                .holds(tracked.unit.piece)
    }

    /// Asks for what a provider may give of a slice.
    pub(super) fn fit_to(&mut self, unit: UnitId, provider: ProviderId) {
        let tracked = &mut self.units[unit.index()];
        let file = tracked.file().and_then(|item| self.files.get(&item));
        let Some(proof) = file.and_then(|file| file.proof.as_ref()) else {
            return;
        };
        if proof.lead().is_some()
            && let Some(run) = proof.first_given(Party(provider.0), tracked.grains())
        {
            tracked.fit(run);
        }
    }

    pub(super) fn is_pinned(&self, item: u32) -> bool {
        self.files
            .get(&item)
            .is_some_and(|file| file.pin != Pin::Anybody)
    }

    /// Finds for each file that did not match the provider it is read from alone.
    pub(super) fn pin_files(&mut self) {
        let is_checking = |item: &u32| self.files.get(item).is_some_and(|file| file.is_checking);
        let unpinned: Vec<u32> = self
            .unpinned
            .iter()
            .copied()
            .filter(|item| !is_checking(item) && !self.awaits_list(*item))
            .collect();
        for item in unpinned {
            if let Some(provider) = self.best_alone(item) {
                self.pin(item, provider);
            }
        }
    }

    /// The provider of whose slices the most lie there already.
    fn best_alone(&self, item: u32) -> Option<ProviderId> {
        let units = self.files.get(&item)?.units.clone();
        let held = |id: ProviderId| {
            self.units[units.clone()]
                .iter()
                .filter(|tracked| tracked.is_held_by(id))
                .count()
        };
        let ids = (0..self.providers.len()).map(|index| ProviderId(unit_id(index).0));
        ids.filter(|id| !self.providers[id.index()].is_dropped() && self.holds_whole(item, *id))
            .max_by_key(|id| {
                let is_trusted = self.providers[id.index()].wrongs == 0;
                (is_trusted, held(*id), std::cmp::Reverse(*id))
            })
    }

    pub(super) fn holds_whole(&self, item: u32, provider: ProviderId) -> bool {
        let claim = &self.providers[provider.index()].claim;
        self.files.get(&item).is_some_and(|file| {
            self.units[file.units.clone()]
                .iter()
                .all(|tracked| claim.holds(tracked.unit.piece))
        })
    }

    fn pin(&mut self, item: u32, provider: ProviderId) {
        self.unpinned.remove(&item);
        let Some(file) = self.files.get_mut(&item) else {
            return;
        };
        file.pin = Pin::One(provider);
        for index in file.units.clone() {
            let tracked = &mut self.units[index];
            if tracked.state == UnitState::Written && !tracked.is_held_by(provider) {
                tracked.state = UnitState::Missing;
                file.written -= 1;
                self.missing.insert(unit_id(index));
            }
        }
        self.check_if_whole(item);
    }
}
