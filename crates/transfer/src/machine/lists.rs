//! Lists of midstates: whom to ask for which, and what follows from them for the slices of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use zeroshare_proof::{FileProof, GrainState, KnownList, ListDigest, Party, ProofEvent};

use super::{Transfer, unit_id};
use crate::sliced::{Pin, UnitState};
use crate::{CallEnd, DropReason, Event, ProviderId, UnitId};

/// How often somebody is asked for one list, or for the names of its lists, when it does not answer.
const MAX_ASKS: u32 = 3;

/// A question for lists, to be put now: first whether the provider has the whole, then for the lists.
///
/// In this order, so that nobody who has a part, with somebody else's list, and then the whole, with the true one, seems to
/// stand by the wrong one for the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Whom to ask.
    pub provider: ProviderId,
    /// The files whose whole lists are wanted.
    pub whole: Vec<u32>,
    /// The files of which it is enough to name the list.
    pub named: Vec<u32>,
}

/// Who was asked for what.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// How often each was asked in vain; those that are not in it were not asked yet.
    tries: BTreeMap<ProviderId, u32>,
    /// Those that answered, or will not.
    done: BTreeSet<ProviderId>,
    running: BTreeMap<ProviderId, Ask>,
    /// How often a list was asked for after it was named.
    lists: BTreeMap<(ProviderId, u32), u32>,
}

impl Asks {
    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    pub(super) fn is_due(&self, provider: ProviderId) -> bool {
        !self.done.contains(&provider) && !self.running.contains_key(&provider)
    }
}

impl Transfer {
    /// Has a file judged grain by grain, if it comes in slices; its hash must be a SHA-256.
    pub fn keep_lists(&mut self, item: u32) {
        let files = self.files.len();
        let Some(file) = self.files.get_mut(&item) else {
            return;
        };
        let size = self.units[file.units.clone()]
            .iter()
            .map(crate::sliced::Tracked::end)
            .max();
        let Some(mut proof) = FileProof::among(size.unwrap_or(0), files) else {
            return;
        };
        for tracked in &self.units[file.units.clone()] {
            if tracked.state == UnitState::Written {
                proof.handle_unjudged(tracked.grains());
            }
        }
        for index in 0..self.providers.len() {
            proof.add_party(Party(unit_id(index).0));
        }
        file.proof = Some(proof);
    }

    /// Gives a question to be put now.
    pub fn poll_ask(&mut self, now: Instant) -> Option<Ask> {
        let ids = (0..self.providers.len()).map(|index| ProviderId(unit_id(index).0));
        let ready: Vec<ProviderId> = ids
            .filter(|id| self.providers[id.index()].is_ready(now))
            .filter(|id| !self.asks.running.contains_key(id))
            .collect();
        ready.into_iter().find_map(|id| self.ask(id))
    }

    fn ask(&mut self, provider: ProviderId) -> Option<Ask> {
        let party = Party(provider.0);
        let ask = if self.asks.done.contains(&provider) {
            let wanted = |(item, file): (&u32, &crate::sliced::SlicedFile)| {
                let is_wanted = file.proof.as_ref()?.wanted_list(party).is_some();
                let tries = self.asks.lists.get(&(provider, *item)).copied();
                (is_wanted && tries.unwrap_or(0) < MAX_ASKS).then_some(*item)
            };
            let whole: Vec<u32> = self.files.iter().filter_map(wanted).collect();
            let named = Vec::new();
            Ask {
                provider,
                whole,
                named,
            }
        } else {
            let is_asked = |item: &u32| {
                let mut running = self.asks.running.values();
                running.any(|ask| ask.whole.contains(item))
            };
            let kept = self.files.iter().filter(|(_, file)| file.proof.is_some());
            let (whole, named) = kept
                .map(|(item, file)| (*item, file))
                .partition::<Vec<_>, _>(|(item, file)| {
                    let has_lead = file.lead().is_some();
                    !has_lead && !is_asked(item)
                });
            let items = |files: Vec<(u32, _)>| files.into_iter().map(|(item, _)| item).collect();
            Ask {
                provider,
                whole: items(whole),
                named: items(named),
            }
        };
        if ask.whole.is_empty() && ask.named.is_empty() {
            return None;
        }
        for item in &ask.whole {
            *self.asks.lists.entry((provider, *item)).or_default() += 1;
        }
        self.asks.running.insert(provider, ask.clone());
        Some(ask)
    }

    /// Takes in whether a provider says, on its own connection, that it holds the whole.
    pub fn handle_completeness(&mut self, provider: ProviderId, is_complete: bool) {
        for item in self.judged_items() {
            self.with_proof(item, |proof| {
                proof.handle_claim(Party(provider.0), is_complete);
            });
        }
    }

    /// Takes in the list by which a provider asks to be judged, as it answered or as a header of its slices says.
    pub fn handle_list_named(&mut self, provider: ProviderId, item: u32, list: ListDigest) {
        self.with_proof(item, |proof| proof.handle_named(Party(provider.0), list));
    }

    /// Takes in a list that a provider gave.
    pub fn handle_list(&mut self, provider: ProviderId, item: u32, list: KnownList) {
        self.with_proof(item, |proof| proof.handle_list(Party(provider.0), list));
    }

    /// Takes in that a question was answered, or how it failed.
    pub fn handle_ask_end(&mut self, now: Instant, provider: ProviderId, end: CallEnd) {
        let Some(ask) = self.asks.running.remove(&provider) else {
            return;
        };
        let tries = self.asks.tries.entry(provider).or_default();
        *tries += 1;
        let is_passing = matches!(end, CallEnd::Lost | CallEnd::Stalled | CallEnd::Busy { .. });
        if is_passing {
            let may_again = *tries < MAX_ASKS;
            self.rest_after(now, provider, end);
            if may_again {
                return;
            }
        }
        self.asks.done.insert(provider);
        for item in ask.whole.into_iter().chain(ask.named) {
            self.with_proof(item, |proof| proof.handle_no_list(Party(provider.0)));
        }
    }

    /// The list that a file is put together under.
    pub fn lead(&self, item: u32) -> Option<&KnownList> {
        self.files.get(&item)?.lead()
    }

    /// The lists of a file that are known.
    pub fn lists(&self, item: u32) -> &[KnownList] {
        let proof = self.files.get(&item).and_then(|file| file.proof.as_ref());
        proof.map_or(&[], FileProof::lists)
    }

    /// Whether what is linked of a file may be passed on.
    pub fn may_pass_on(&self, item: u32) -> bool {
        let proof = self.files.get(&item).and_then(|file| file.proof.as_ref());
        proof.is_some_and(FileProof::may_pass_on)
    }

    /// Whether all of a piece's slice is on the disk, and holds by the lead.
    pub fn is_linked(&self, unit: UnitId) -> bool {
        let Some(tracked) = self.units.get(unit.index()) else {
            return false;
        };
        let file = tracked.file().and_then(|item| self.files.get(&item));
        let proof = file.and_then(|file| file.proof.as_ref());
        proof.is_some_and(|proof| {
            tracked
                .grains()
                .all(|grain| proof.state(grain) == GrainState::Linked)
        })
    }

    /// The pieces of a file all of whose grains hold by the lead.
    pub fn linked_pieces(&self, item: u32) -> Vec<u32> {
        let Some(file) = self.files.get(&item) else {
            return Vec::new();
        };
        let units = file.units.clone().map(unit_id);
        let linked = units.filter(|unit| self.is_linked(*unit));
        linked
            .map(|unit| self.units[unit.index()].unit.piece)
            .collect()
    }

    /// The files that are judged grain by grain and not proven yet.
    pub fn judged_items(&self) -> Vec<u32> {
        let files = self.files.iter();
        files
            .filter(|(_, file)| file.proof.is_some())
            .map(|(item, _)| *item)
            .collect()
    }

    /// Whether somebody may still give a list of a file that has none to be put together under: with it only what does not
    /// hold is read again, and not all that others sent.
    pub(super) fn awaits_list(&self, item: u32) -> bool {
        let Some(proof) = self.files.get(&item).and_then(|file| file.proof.as_ref()) else {
            return false;
        };
        let ids = (0..self.providers.len()).map(|index| ProviderId(unit_id(index).0));
        let mut live = ids.filter(|id| !self.providers[id.index()].is_dropped());
        proof.lead().is_none()
            && live.any(|id| {
                let tries = self.asks.lists.get(&(id, item)).copied().unwrap_or(0);
                let is_named = proof.wanted_list(Party(id.0)).is_some() && tries < MAX_ASKS;
                self.asks.running.contains_key(&id) || self.asks.is_due(id) || is_named
            })
    }

    /// Changes what is known of a file, and does what follows.
    pub(super) fn with_proof(&mut self, item: u32, change: impl FnOnce(&mut FileProof)) {
        let Some(proof) = self
            .files
            .get_mut(&item)
            .and_then(|file| file.proof.as_mut())
        else {
            return;
        };
        change(proof);
        let events: Vec<ProofEvent> = std::iter::from_fn(|| proof.poll_event()).collect();
        for event in events {
            match event {
                ProofEvent::Convicted { party } => {
                    self.convict(ProviderId(party.0));
                }
                ProofEvent::Renamed { party } => {
                    self.drop_provider(ProviderId(party.0), DropReason::Renamed);
                }
                ProofEvent::Lead => {
                    if let Some(file) = self.files.get_mut(&item) {
                        file.pin = Pin::Anybody;
                    }
                    self.unpinned.remove(&item);
                    self.events.push_back(Event::Lead { item });
                    self.refresh_file(item);
                }
            }
        }
    }

    /// Has judged what was not, and read what is missing, of a file that has a lead.
    pub(super) fn refresh_file(&mut self, item: u32) {
        let Some(file) = self.files.get(&item) else {
            return;
        };
        for index in file.units.clone() {
            self.refresh_unit(unit_id(index));
        }
        self.check_if_whole(item);
    }

    pub(super) fn refresh_unit(&mut self, unit: UnitId) {
        let Some(item) = self.units[unit.index()].file() else {
            return;
        };
        let Some(file) = self.files.get_mut(&item) else {
            return;
        };
        let (Some(proof), Some(_)) = (&file.proof, file.lead()) else {
            return;
        };
        let tracked = &mut self.units[unit.index()];
        let is_busy = matches!(
            tracked.state,
            UnitState::Asked(_) | UnitState::Judging | UnitState::Proven
        );
        if is_busy {
            return;
        }
        let was_written = tracked.state == UnitState::Written;
        let grains = tracked.grains();
        if proof
            .first_run(grains.clone(), GrainState::Unjudged)
            .is_some()
        {
            tracked.state = UnitState::Judging;
            self.judging += 1;
            self.events.push_back(Event::Judge { unit });
        } else if let Some(run) = proof.first_run(grains, GrainState::Missing) {
            tracked.state = UnitState::Missing;
            tracked.fit(run);
        } else {
            tracked.state = UnitState::Written;
        }
        let is_written = tracked.state == UnitState::Written;
        if tracked.state == UnitState::Missing {
            self.missing.insert(unit);
        } else {
            self.missing.remove(unit);
        }
        match (was_written, is_written) {
            (true, false) => file.written -= 1,
            (false, true) => file.written += 1,
            (true, true) | (false, false) => {}
        }
    }

    /// Does without lists for a file of which somebody has what is missing, and may not give it under the lead: it is then
    /// proven as a whole. Says whether there was one.
    ///
    /// That is the last thing to do, when nobody is left who could go on under the lead.
    pub(super) fn fall_back(&mut self) -> bool {
        let is_kept_from = |unit: &UnitId| {
            let mut providers = self.providers.iter();
            let piece = self.units[unit.index()].unit.piece;
            providers.any(|provider| !provider.is_dropped() && provider.claim.holds(piece))
        };
        let item = self.missing.iter().find_map(|unit| {
            let item = self.units[unit.index()].file()?;
            (is_kept_from(unit) && self.lead(item).is_some()).then_some(item)
        });
        let Some(item) = item else { return false };
        if let Some(file) = self.files.get_mut(&item) {
            file.proof = None;
            for index in file.units.clone() {
                self.units[index].make_whole();
            }
        }
        self.events.push_back(Event::Lead { item });
        self.check_if_whole(item);
        true
    }
}
