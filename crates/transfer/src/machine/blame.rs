//! Slices that do not hold: who is asked again, who is asked last, who is convicted.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use zeroshare_proof::{FileProof, GrainState, ListDigest, Party, WantedProbe};

use super::{Transfer, unit_id};
use crate::provider::ProviderStanding;
use crate::sliced::UnitState;
use crate::{CallEnd, CallId, DropReason, Event, ProviderId, UnitId, UnitOutcome};

/// How often somebody may fail to give the grain that decides a dispute, however well it does otherwise.
const MAX_FAILED_PROBES: u32 = 5;

/// One grain to be read now, beside all calls, judged by the list that its header names, and not written anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Whom to ask.
    pub provider: ProviderId,
    /// The file.
    pub item: u32,
    /// The grain, counted from the file's start.
    pub grain: u32,
    /// Whether the provider is to check it against its own list first.
    pub recheck: bool,
}

/// What came of a [`Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The grain came, and its header named this list, which it holds by.
    Linked(ListDigest),
    /// The grain came, and its header named this list, which it does not hold by.
    Broken(ListDigest),
    /// The grain came, and cannot be judged: it names no list, or one that is not known.
    Unnamed,
    /// It did not come.
    End(CallEnd),
}

/// Who has to explain itself.
#[derive(Debug, Default)]
pub(super) struct Blame {
    /// The grain that did not hold by the sender's own list, for those that were not asked again yet.
    suspects: BTreeMap<ProviderId, (u32, u32)>,
    probes: BTreeMap<ProviderId, Probe>,
    failed_probes: BTreeMap<ProviderId, u32>,
}

impl Blame {
    pub(super) fn is_probing(&self) -> bool {
        !self.probes.is_empty()
    }

    pub(super) fn is_suspect(&self, provider: ProviderId) -> bool {
        self.suspects.contains_key(&provider)
    }
}

impl Transfer {
    /// Whether somebody sent a wrong slice and was not heard yet: what came is proven without it, but not who lied.
    pub fn is_hearing(&self) -> bool {
        self.blame.is_probing()
            || self
                .blame
                .suspects
                .keys()
                .any(|provider| !self.providers[provider.index()].is_dropped())
    }

    /// Whether somebody sent bytes that did not match, explained or not.
    pub fn has_sent_wrong(&self, provider: ProviderId) -> bool {
        let state = self.providers.get(provider.index());
        state.is_some_and(|state| state.wrongs > 0)
    }

    /// Gives a grain to be read now.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let probe = self
            .wanted_recheck(now)
            .or_else(|| self.wanted_decision(now))?;
        self.blame.probes.insert(probe.provider, probe);
        Some(probe)
    }

    /// Takes in what came of a probe.
    pub fn handle_probe(&mut self, now: Instant, provider: ProviderId, outcome: ProbeOutcome) {
        let Some(probe) = self.blame.probes.remove(&provider) else {
            return;
        };
        let Probe { item, grain, .. } = probe;
        let party = Party(provider.0);
        match outcome {
            ProbeOutcome::Linked(list) => {
                if probe.recheck {
                    self.blame.suspects.remove(&provider);
                }
                self.with_proof(item, |proof| {
                    proof.handle_named(party, list);
                    proof.handle_linked_probe(&list, grain);
                });
            }
            ProbeOutcome::Broken(list) => {
                self.with_proof(item, |proof| proof.handle_named(party, list));
                if probe.recheck {
                    self.drop_provider(provider, DropReason::WrongTwice);
                } else {
                    self.with_proof(item, |proof| proof.handle_failed_probe(party));
                    self.suspect_slice(provider, (item, grain));
                }
            }
            ProbeOutcome::Unnamed => {
                self.blame.suspects.remove(&provider);
                self.with_proof(item, |proof| proof.handle_failed_probe(party));
                self.count_wrong(provider);
            }
            ProbeOutcome::End(end) => self.handle_failed_probe(now, probe, end),
        }
    }

    fn handle_failed_probe(&mut self, now: Instant, probe: Probe, end: CallEnd) {
        let Probe { provider, item, .. } = probe;
        self.with_proof(item, |proof| proof.handle_failed_probe(Party(provider.0)));
        match end {
            CallEnd::Corrupt => self.drop_provider(provider, DropReason::Corrupt),
            CallEnd::Refused => self.drop_provider(provider, DropReason::Refused),
            CallEnd::Violation => self.drop_provider(provider, DropReason::Violation),
            CallEnd::NotHeld { piece: None } => {
                self.drop_provider(provider, DropReason::NotHolding);
            }
            CallEnd::NotHeld { piece: Some(piece) } => {
                // What it does not hold it cannot insist on.
                self.blame.suspects.remove(&provider);
                self.providers[provider.index()].claim.lacks(piece);
                self.handle_completeness(provider, false);
            }
            CallEnd::Lost
            | CallEnd::Stalled
            | CallEnd::Busy { .. }
            | CallEnd::Finished
            | CallEnd::Wrong
            | CallEnd::Cancelled => {
                let failed = self.blame.failed_probes.entry(provider).or_default();
                // Whoever is busy says so, and is waited for as in calls.
                *failed += u32::from(!matches!(end, CallEnd::Busy { .. }));
                if *failed >= MAX_FAILED_PROBES {
                    self.drop_provider(provider, DropReason::TooSlow);
                } else {
                    self.rest_after(now, provider, end);
                }
            }
        }
    }

    /// Takes in what came of a slice that was judged as it came.
    pub(super) fn handle_judged(&mut self, call: CallId, unit: UnitId, outcome: UnitOutcome) {
        let UnitOutcome::Judged {
            list,
            grains,
            is_own,
            is_wrong,
        } = outcome
        else {
            return;
        };
        let Some(provider) = self.calls.get(&call).map(|open| open.provider) else {
            return;
        };
        let tracked = &self.units[unit.index()];
        let Some(item) = tracked.file() else { return };
        let asked = tracked.asked_grains();
        let end = asked.start.saturating_add(grains).min(asked.end);
        let is_whole = end == asked.end;
        if end > asked.start {
            self.providers[provider.index()].gave();
            self.providers[provider.index()].is_tried |= !is_wrong;
        }
        if is_whole {
            self.units[unit.index()].state = UnitState::Missing;
        }
        self.with_proof(item, |proof| proof.handle_linked(&list, asked.start..end));
        if is_whole {
            self.refresh_unit(unit);
            self.check_if_whole(item);
        }
        match (is_wrong, is_own) {
            (true, true) => self.suspect_slice(provider, (item, end)),
            // It may be the list that is wrong.
            (true, false) => {
                self.with_proof(item, |proof| {
                    proof.handle_difference(Party(provider.0), list);
                });
                self.cancel_calls_of(provider);
            }
            (false, _) => {}
        }
    }

    /// Takes in what of a slice on the disk holds by a list; what was not judged by the lead then, and does not hold,
    /// is missing.
    pub fn handle_judged_on_disk(&mut self, unit: UnitId, list: ListDigest, linked: &[Range<u32>]) {
        let Some(tracked) = self.units.get_mut(unit.index()) else {
            return;
        };
        if tracked.state != UnitState::Judging {
            return;
        }
        // Written as long as the machine thinks over what it is.
        tracked.state = UnitState::Missing;
        self.judging -= 1;
        let Some(item) = tracked.file() else { return };
        let grains = tracked.grains();
        let source = match tracked.holders.as_slice() {
            [Some(source)] => Some(*source),
            _ => None,
        };
        tracked.holders.clear();
        tracked.before.clear();
        let mut broken = None;
        self.with_proof(item, |proof| {
            if proof.lead().is_none_or(|lead| *lead.digest() != list) {
                return;
            }
            for range in linked {
                proof.handle_linked(&list, range.clone());
            }
            while let Some(run) = proof.first_run(grains.clone(), GrainState::Unjudged) {
                broken.get_or_insert(run.start);
                proof.handle_missing(run);
            }
        });
        self.refresh_unit(unit);
        self.check_if_whole(item);
        let (Some(grain), Some(source)) = (broken, source) else {
            return;
        };
        match self.named_by(source, item) {
            Some(named) if named == list => self.suspect_slice(source, (item, grain)),
            Some(_) => {}
            None => self.with_proof(item, |proof| {
                proof.handle_difference(Party(source.0), list);
            }),
        }
    }

    /// Whether somebody is not to be asked as long as another one can give the same.
    pub(super) fn is_last_resort(&self, provider: ProviderId, unit: UnitId) -> bool {
        let file = self.units[unit.index()].file();
        let proof = file.and_then(|item| self.files.get(&item)?.proof.as_ref());
        let is_doubtful = |id: ProviderId| {
            let differs = proof.is_some_and(|proof| proof.is_doubtful(Party(id.0)));
            differs || self.providers[id.index()].wrongs > 0
        };
        if !is_doubtful(provider) {
            return false;
        }
        let others = (0..self.providers.len()).map(|index| ProviderId(unit_id(index).0));
        let mut others = others.filter(|id| *id != provider);
        others.any(|id| {
            let other = &self.providers[id.index()];
            !is_doubtful(id) && !other.is_dropped() && self.can_give(unit, id)
        })
    }

    /// Whether a unit may be asked of a second provider while one is asked already.
    ///
    /// Of a slice both must be judged as they come, so that what holds is never written over by what does not.
    pub fn may_hedge(&self, unit: UnitId, provider: ProviderId) -> bool {
        let Some(item) = self
            .units
            .get(unit.index())
            .and_then(crate::sliced::Tracked::file)
        else {
            return self.may_come_from(unit, provider);
        };
        let named = self.named_by(provider, item);
        let lead = self.lead(item).map(|lead| *lead.digest());
        lead.is_some() && named == lead && self.may_come_from(unit, provider)
    }

    pub(super) fn is_suspended(&self, provider: ProviderId) -> bool {
        self.blame.is_suspect(provider)
    }

    /// Reports that somebody lost a dispute, also if it is not asked any more.
    pub(super) fn convict(&mut self, provider: ProviderId) {
        let reason = DropReason::LostDispute;
        let Some(state) = self.providers.get(provider.index()) else {
            return;
        };
        if state.is_dropped() {
            self.events.push_back(Event::Dropped { provider, reason });
        } else {
            self.drop_provider(provider, reason);
        }
    }

    /// Forgets what a provider that is dropped had to explain.
    pub(super) fn release(&mut self, provider: ProviderId) {
        self.blame.suspects.remove(&provider);
        let items: Vec<u32> = self.files.keys().copied().collect();
        for item in items {
            self.with_proof(item, |proof| proof.handle_gone(Party(provider.0)));
        }
    }

    /// Lets a provider rest as after a call that ended so.
    pub(super) fn rest_after(&mut self, now: Instant, provider: ProviderId, end: CallEnd) {
        if self.providers[provider.index()].is_dropped() {
            return;
        }
        match end {
            CallEnd::Busy { .. } | CallEnd::Stalled => self.count_end(now, provider, end),
            CallEnd::Lost
            | CallEnd::Finished
            | CallEnd::NotHeld { .. }
            | CallEnd::Corrupt
            | CallEnd::Refused
            | CallEnd::Violation
            | CallEnd::Wrong
            | CallEnd::Cancelled => self.count_end(now, provider, CallEnd::Lost),
        }
    }

    pub(super) fn named_by(&self, provider: ProviderId, item: u32) -> Option<ListDigest> {
        let proof = self.files.get(&item)?.proof.as_ref()?;
        proof.named_by(Party(provider.0))
    }

    fn suspect_slice(&mut self, provider: ProviderId, place: (u32, u32)) {
        // What else of it was under way when it came under suspicion is one matter: it is heard first.
        if !self.blame.is_suspect(provider) && !self.count_wrong(provider) {
            self.blame.suspects.insert(provider, place);
            self.cancel_calls_of(provider);
        }
    }

    /// Counts bytes that were wrong, and says whether that was too often.
    fn count_wrong(&mut self, provider: ProviderId) -> bool {
        let state = &mut self.providers[provider.index()];
        state.wrongs += 1;
        if state.wrongs >= self.settings.wrongs {
            self.drop_provider(provider, DropReason::OftenWrong);
        }
        self.providers[provider.index()].is_dropped()
    }

    fn wanted_recheck(&self, now: Instant) -> Option<Probe> {
        let mut suspects = self.blame.suspects.iter();
        suspects.find_map(|(provider, (item, grain))| {
            let is_free = !self.blame.probes.contains_key(provider)
                && self.providers[provider.index()].is_ready(now);
            is_free.then_some(Probe {
                provider: *provider,
                item: *item,
                grain: *grain,
                recheck: true,
            })
        })
    }

    /// A grain that decides a dispute, of a side of which nobody is asked for it now.
    fn wanted_decision(&self, now: Instant) -> Option<Probe> {
        self.files.iter().find_map(|(item, file)| {
            let proof = file.proof.as_ref()?;
            let wanted: Vec<(WantedProbe, ListDigest)> = proof.wanted_probes().collect();
            let is_probed = |side: &ListDigest| {
                wanted.iter().any(|(probe, other)| {
                    let running = self.blame.probes.get(&ProviderId(probe.party.0));
                    other == side && running.is_some_and(|running| running.item == *item)
                })
            };
            let free = wanted.iter().filter(|(probe, side)| {
                let id = ProviderId(probe.party.0);
                let provider = &self.providers[id.index()];
                provider.is_ready(now)
                    && !self.blame.probes.contains_key(&id)
                    && !self.blame.is_suspect(id)
                    && !is_probed(side)
            });
            let failed = |id: &ProviderId| self.blame.failed_probes.get(id).copied();
            let probes = free.map(|(probe, _)| Probe {
                provider: ProviderId(probe.party.0),
                item: *item,
                grain: probe.grain,
                recheck: false,
            });
            probes.min_by_key(|probe| failed(&probe.provider))
        })
    }

    /// Whether a provider is resting that has something to explain, or to decide.
    pub(super) fn owes_probe(&self, provider: ProviderId) -> bool {
        let is_resting = matches!(
            self.providers[provider.index()].standing,
            ProviderStanding::Resting { .. }
        );
        let decides = || {
            let proofs = self.files.values().filter_map(|file| file.proof.as_ref());
            proofs
                .flat_map(FileProof::wanted_probes)
                .any(|(probe, _)| probe.party.0 == provider.0)
        };
        is_resting && (self.blame.is_suspect(provider) || decides())
    }
}
