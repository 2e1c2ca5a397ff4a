//! The machine that plans a transfer.

mod assign;
mod blame;
mod hedge;
mod lists;
mod outcome;
mod wanted;
mod whole;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use zeroshare_proof::{FileProof, Party};

use crate::missing::{Missing, Ties};
use crate::provider::{Provider, ProviderStanding};
use crate::sliced::{Pin, SlicedFile, Tracked, UnitState};
use blame::Blame;
use lists::Asks;

pub use blame::{Probe, ProbeOutcome};
pub use lists::Ask;

use crate::{CallId, Event, Holding, ProviderId, Standing, Unit, UnitId, WrittenBefore};

/// The numbers by which a transfer decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Units in one call while several providers are there: cancelling must waste little.
    pub call_units: usize,
    /// Units in one call to a sole provider.
    pub sole_call_units: usize,
    /// Bytes after which a call takes no more units.
    pub call_bytes: u64,
    /// Bytes in a call to somebody whose speed is not known, while others may be there.
    pub first_call_bytes: u64,
    /// How long a provider is to be busy with what it is asked for at once.
    pub ahead: Duration,
    /// Content of so many bytes is begun anywhere: others may begin with it at the same moment.
    pub scatter_bytes: u64,
    /// Calls that a provider has at once: with two, the next one waits at its side.
    pub calls_per_provider: usize,
    /// Providers that are read at once.
    pub active_providers: usize,
    /// Calls in a row that may be lost.
    pub losses: u32,
    /// Stalls in all.
    pub stalls: u32,
    /// Busy answers in a row.
    pub busies: u32,
    /// Wrong entries in all, each sent right when asked again.
    pub wrongs: u32,
    /// Rest after the first lost call; doubled by each further one.
    pub rest: Duration,
    /// The longest rest, whoever asks for it.
    pub longest_rest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            call_units: 16,
            sole_call_units: 128,
            call_bytes: 64 * 1024 * 1024,
            first_call_bytes: 512 * 1024,
            ahead: Duration::from_millis(300),
            scatter_bytes: 16 * 1024 * 1024,
            calls_per_provider: 2,
            active_providers: 24,
            losses: 3,
            stalls: 3,
            busies: 20,
            wrongs: 3,
            rest: Duration::from_millis(200),
            longest_rest: Duration::from_secs(5),
        }
    }
}

/// Plans which unit is read from whom, until all are proven or nobody is left.
///
/// Invariants: a unit is asked of one provider at a time, but for a late one that may be asked of a second,
/// and of nobody once it is proven. A unit becomes free again only by the end of its call, so that the
/// writers of a call that was given up can finish first.
#[derive(Debug)]
pub struct Transfer {
    settings: Settings,
    units: Vec<Tracked>,
    missing: Missing,
    /// How many turns were given to what somebody waits for.
    turns: u32,
    files: BTreeMap<u32, SlicedFile>,
    /// Files that look for the one provider to be read from.
    unpinned: BTreeSet<u32>,
    providers: Vec<Provider>,
    /// Providers that may join at any moment, so that work is left for them.
    expected: usize,
    calls: BTreeMap<CallId, OpenCall>,
    next_call: u64,
    /// Late units, and the second call that was made for each.
    hedges: BTreeMap<UnitId, CallId>,
    /// How many units ever were.
    hedged: usize,
    times: hedge::UnitTimes,
    /// Whether it is so much that others may begin with it at the same moment.
    is_scattered: bool,
    /// Whether others are known to fetch the same.
    has_company: bool,
    random: fastrand::Rng,
    unproven: usize,
    /// Files that are being hashed.
    checking: usize,
    /// Slices that are being judged on the disk.
    judging: usize,
    asks: Asks,
    blame: Blame,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct OpenCall {
    provider: ProviderId,
    units: Vec<UnitId>,
    is_recheck: bool,
    is_cancelled: bool,
    began: Instant,
    /// When it last brought a unit; first, when it began.
    last: Instant,
    /// What it brought so far.
    bytes: u64,
}

impl Transfer {
    /// Begins with what [`crate::missing_units`] found; `seed` decides all that is left to chance.
    pub fn new(units: Vec<(Unit, WrittenBefore)>, settings: Settings, seed: u64) -> Self {
        let bytes: u64 = units.iter().map(|(unit, _)| unit.len).sum();
        let mut missing = Missing::new(units.iter().map(|(unit, _)| unit.piece).collect());
        let mut random = fastrand::Rng::with_seed(seed);
        let is_scattered = bytes >= settings.scatter_bytes && !units.is_empty();
        if is_scattered {
            missing.break_ties(Ties::From(random.usize(..units.len())));
        }
        let units: Vec<Tracked> = units
            .into_iter()
            .map(|(unit, before)| Tracked::new(unit, before == WrittenBefore::Yes))
            .collect();
        let mut transfer = Self {
            settings,
            missing,
            turns: 0,
            files: BTreeMap::new(),
            unpinned: BTreeSet::new(),
            providers: Vec::new(),
            expected: 0,
            calls: BTreeMap::new(),
            next_call: 0,
            hedges: BTreeMap::new(),
            hedged: 0,
            times: hedge::UnitTimes::default(),
            is_scattered,
            has_company: false,
            random,
            unproven: units.len(),
            checking: 0,
            judging: 0,
            asks: Asks::default(),
            blame: Blame::default(),
            events: VecDeque::new(),
            units,
        };
        transfer.index_units();
        transfer
    }

    /// Takes in somebody who may hold the content.
    pub fn add_provider(&mut self, holding: Holding) -> ProviderId {
        let id = ProviderId(u32::try_from(self.providers.len()).unwrap_or(u32::MAX));
        self.providers.push(Provider::new(self.missing.bound()));
        self.take_holding(id, holding);
        for file in self.files.values_mut() {
            if let Some(proof) = &mut file.proof {
                proof.add_party(Party(id.0));
            }
        }
        id
    }

    /// Takes in how many further providers may join at any moment: work is left for them.
    pub fn expect_providers(&mut self, count: usize) {
        self.expected = count;
    }

    /// Takes in that a provider holds more than it did, and says whether it can help only now.
    pub fn handle_holding(&mut self, provider: ProviderId, holding: Holding) -> bool {
        let could_help = self.could_help(provider);
        if provider.index() >= self.providers.len() {
            return false;
        }
        self.take_holding(provider, holding);
        !self.providers[provider.index()].is_dropped() && !could_help && self.could_help(provider)
    }

    /// Takes in that a provider is about to hold pieces: others are asked for first.
    pub fn handle_claim(&mut self, provider: ProviderId, ranges: &[Range<u32>]) {
        let Some(state) = self.providers.get_mut(provider.index()) else {
            return;
        };
        let is_counted = state.is_counted();
        for piece in ranges.iter().flat_map(|range| state.claim.expect(range)) {
            if is_counted {
                self.missing.add_copy(piece);
            }
        }
        self.meet_company();
    }

    /// Takes in that a provider taken for complete holds only what it announces.
    pub fn handle_incomplete(&mut self, provider: ProviderId) {
        let Some(state) = self.providers.get_mut(provider.index()) else {
            return;
        };
        if state.claim.forget_completeness() && !state.is_dropped() {
            for piece in state.claim.announced() {
                self.missing.add_copy(piece);
            }
        }
        self.unpin_from(provider);
        self.handle_completeness(provider, false);
        self.meet_company();
    }

    /// Says whether no partial provider holds a unit or is about to: whoever asks for it should tell the others.
    pub fn is_rarest(&self, id: UnitId) -> bool {
        self.missing.copies(id) == 0
    }

    fn take_holding(&mut self, provider: ProviderId, holding: Holding) {
        match holding {
            Holding::Complete => {
                self.forget_copies_of(provider);
                self.providers[provider.index()].claim.complete();
            }
            Holding::Partial(ranges) => {
                let state = &mut self.providers[provider.index()];
                let is_counted = state.is_counted();
                for piece in ranges.iter().flat_map(|range| state.claim.add(range)) {
                    if is_counted {
                        self.missing.add_copy(piece);
                    }
                }
                self.meet_company();
            }
        }
    }

    /// What one provider holds makes nothing less rare any more: it is gone, or holds everything.
    fn forget_copies_of(&mut self, provider: ProviderId) {
        let state = &self.providers[provider.index()];
        if state.is_counted() {
            for piece in state.claim.announced() {
                self.missing.remove_copy(piece);
            }
        }
    }

    /// From the first moment in which others are known to fetch the same, equals are asked for by chance.
    fn meet_company(&mut self) {
        if !std::mem::replace(&mut self.has_company, true) {
            self.missing.break_ties(Ties::Random(&mut self.random));
        }
    }

    /// Gives a unit of this transfer.
    pub fn unit(&self, id: UnitId) -> Option<&Unit> {
        self.units.get(id.index()).map(|tracked| &tracked.unit)
    }

    /// Says whether other bytes may lie where the unit goes, to be compared with what comes.
    pub fn is_reread(&self, id: UnitId) -> bool {
        self.units.get(id.index()).is_some_and(|tracked| {
            let is_judged = tracked.file().is_some_and(|item| self.lead(item).is_some());
            !is_judged && !tracked.holders.is_empty()
        })
    }

    /// Counts the units that are not proven yet.
    pub fn unproven_units(&self) -> usize {
        self.unproven
    }

    /// Counts the providers that are still asked.
    pub fn live_providers(&self) -> usize {
        self.providers
            .iter()
            .filter(|provider| !provider.is_dropped())
            .count()
    }

    /// Gives the next thing to do or to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Says whether there is something to do or to know.
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Says where the transfer stands, once neither an event nor a call is left to be polled.
    pub fn standing(&self, now: Instant) -> Standing {
        if self.unproven == 0 && self.calls.is_empty() {
            return Standing::Done;
        }
        let is_thinking = self.checking > 0 || self.judging > 0 || !self.events.is_empty();
        let is_asking = self.asks.is_running() || self.blame.is_probing();
        if is_thinking || is_asking || !self.calls.is_empty() {
            return Standing::Working;
        }
        let rests = (0..self.providers.len()).filter_map(|index| self.rest_of(index, now));
        match rests.min() {
            Some(until) => Standing::Waiting { until },
            None => Standing::Starved,
        }
    }

    /// When a resting provider that could help is ready again.
    fn rest_of(&self, index: usize, now: Instant) -> Option<Instant> {
        let id = ProviderId(u32::try_from(index).ok()?);
        match self.providers[index].standing {
            ProviderStanding::Resting { until }
                if until > now
                    && (self.could_help(id)
                        || self.owes_probe(id)
                        || self.asks.is_due(id) && self.unproven > 0) =>
            {
                Some(until)
            }
            ProviderStanding::Ready
            | ProviderStanding::Resting { .. }
            | ProviderStanding::Dropped(_) => None,
        }
    }

    fn index_units(&mut self) {
        for (index, tracked) in self.units.iter().enumerate() {
            let is_written = tracked.state == UnitState::Written;
            if !is_written {
                self.missing.insert(unit_id(index));
            }
            let Some(item) = tracked.file() else { continue };
            let file = self.files.entry(item).or_insert_with(|| SlicedFile {
                units: index..index,
                written: 0,
                pin: Pin::Anybody,
                is_checking: false,
                proof: None,
            });
            file.units.end = index + 1;
            file.written += usize::from(is_written);
        }
        let items: Vec<u32> = self.files.keys().copied().collect();
        for item in items {
            self.check_if_whole(item);
        }
    }

    fn check_if_whole(&mut self, item: u32) {
        let Some(file) = self.files.get_mut(&item) else {
            return;
        };
        let has_lead = file.lead().is_some();
        let is_proven = file.proof.as_ref().is_some_and(FileProof::is_proven);
        let is_there = file.written == file.units.len();
        if file.is_checking || !is_there || (has_lead && !is_proven) {
            return;
        }
        file.is_checking = true;
        self.checking += 1;
        self.events.push_back(if has_lead {
            Event::ProveFile { item }
        } else {
            Event::CheckFile { item }
        });
    }
}

/// Units are bounded by the pieces and entries of one layout, far below 2³².
fn unit_id(index: usize) -> UnitId {
    UnitId(u32::try_from(index).unwrap_or(u32::MAX))
}
