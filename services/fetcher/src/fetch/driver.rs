//! Reading all that is missing: carries out what the transfer machine decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span, warn};
use zeroshare_chassis::Lifetime;
use zeroshare_content::TreeId;
use zeroshare_staging::{PutError, SourceId, Staged};
use zeroshare_transfer::{
    Call, CallEnd, CallId, DropReason, Event, FileVerdict, Holding, ProviderId, Standing, Transfer,
    UnitId, UnitOutcome,
};

use super::failure::FetchFailure;
use super::locate::{Found, Locator};
use super::offer::{self, Offer};
use super::reader::{Reader, Report, Surroundings, WantedUnit};
use super::report::{Deed, fault_of, report};
use super::tally::Tally;
use super::view::Rate;
use super::watch_pieces::watch_pieces;
use crate::peers::{Candidate, Peer};
use crate::registry::Entry;
use crate::shared::Shared;

/// Reports that wait for the driver; readers wait when there are more.
const REPORTS: usize = 256;

/// Addresses that one fetch ever tries: whoever invents peers is not followed for ever.
const MAX_ADDRESSES: usize = 1024;

/// Providers that one fetch ever reads from, counted anew each time they come back.
const MAX_PROVIDERS: usize = 1024;

/// Candidates that wait to be connected to.
const MAX_QUEUE: usize = 64;

/// Rounds of looking for providers after all were given up, without anything new between them.
const MAX_ROUNDS: u32 = 2;

/// What a driver begins with.
pub(crate) struct Beginning {
    pub(crate) shared: Arc<Shared>,
    pub(crate) entry: Arc<Entry>,
    pub(crate) tasks: Lifetime,
    pub(crate) staged: Arc<Staged>,
    pub(crate) locator: Locator,
    /// Those that gave the manifest, and those that were not asked yet.
    pub(crate) first: Option<Peer>,
    pub(crate) candidates: Vec<Candidate>,
    /// Those whose bytes were wrong already.
    pub(crate) liars: BTreeSet<SocketAddr>,
    pub(crate) tally: Tally,
    pub(crate) offer: Option<Offer>,
}

/// Reads all that is missing.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    tree: TreeId,
    tasks: Lifetime,
    staged: Arc<Staged>,
    locator: Locator,
    machine: Transfer,
    around: Surroundings,
    reports: mpsc::Receiver<Report>,
    peers: BTreeMap<ProviderId, Provider>,
    calls: BTreeMap<CallId, OpenCall>,
    queue: VecDeque<Candidate>,
    seen: BTreeSet<SocketAddr>,
    /// Those that may be tried again in the next round.
    second_chance: BTreeSet<SocketAddr>,
    connecting: usize,
    rounds: u32,
    starving_since: Option<Instant>,
    tally: Tally,
    offer: Option<Offer>,
    last_fault: Option<String>,
}

struct Provider {
    peer: Peer,
    rate: Rate,
    watches: bool,
}

struct OpenCall {
    provider: ProviderId,
    cancel: CancellationToken,
}

impl Driver {
    pub(crate) fn new(beginning: Beginning) -> Self {
        let Beginning {
            shared,
            entry,
            tasks,
            staged,
            locator,
            first,
            ..
        } = beginning;
        let Beginning {
            candidates,
            liars: seen,
            tally,
            offer,
            ..
        } = beginning;
        let (reports_in, reports) = mpsc::channel(REPORTS);
        let tree = staged.manifest().id();
        let layout = Arc::new(staged.layout().clone());
        let units = zeroshare_transfer::missing_units(
            &layout,
            |item| staged.is_proven(item),
            |piece| staged.holds_piece(piece),
        );
        let around = Surroundings {
            tree,
            layout,
            staged: staged.clone(),
            tasks: tasks.clone(),
            writers: shared.writers.clone(),
            pace: shared.config.patience.pace,
            reports: reports_in,
        };
        let machine = Transfer::new(units, shared.config.transfer.clone());
        let mut driver = Self {
            shared,
            entry,
            tree,
            tasks,
            staged,
            locator,
            machine,
            around,
            reports,
            peers: BTreeMap::new(),
            calls: BTreeMap::new(),
            queue: VecDeque::new(),
            seen,
            second_chance: BTreeSet::new(),
            connecting: 0,
            rounds: 0,
            starving_since: None,
            tally,
            offer,
            last_fault: None,
        };
        if let Some(peer) = first {
            driver.seen.extend(&peer.candidate.addresses);
            driver.add_peer(peer);
        }
        for candidate in candidates {
            driver.consider(candidate);
        }
        driver
    }

    /// Reads until everything is proven, or nobody is left to ask.
    pub(crate) async fn run(mut self) -> Result<Tally, FetchFailure> {
        let mut tick = tokio::time::interval(self.shared.config.patience.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.carry_out();
            let wake = match self.machine.standing(Instant::now()) {
                Standing::Done => break,
                Standing::Working => None,
                Standing::Waiting { until } => Some(until),
                Standing::Starved => self.starve()?,
            };
            let wake = wake.unwrap_or_else(|| Instant::now() + self.shared.config.patience.tick);
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some(report) => self.handle(report)?,
                    None => return Err(FetchFailure::Stopping),
                },
                found = self.locator.next() => match found {
                    Some(Found::Candidate(candidate)) => self.consider(candidate),
                    Some(Found::RoundOver(fault)) => self.note(fault),
                    None => return Err(FetchFailure::Stopping),
                },
                _ = tick.tick() => self.publish(),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        self.finish()
    }

    /// Does all that the machine wants done now.
    fn carry_out(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::CheckFile { item } => self.check_file(item),
                Event::Cancel { call } => {
                    if let Some(call) = self.calls.get(&call) {
                        call.cancel.cancel();
                    }
                }
                Event::Dropped { provider, reason } => self.drop_peer(provider, reason),
            }
        }
        if self.peers.len() < MAX_PROVIDERS {
            self.connect(self.shared.config.transfer.active_providers);
        }
        self.machine.expect_providers(self.connecting);
        while let Some(call) = self.machine.poll_call(Instant::now()) {
            self.make(call);
        }
    }

    fn handle(&mut self, report: Report) -> Result<(), FetchFailure> {
        match report {
            Report::Unit {
                call,
                unit,
                outcome,
            } => self.handle_unit(call, unit, outcome),
            Report::End { call, end } => self.handle_end(call, end),
            Report::Checked { item, matches } => self.handle_checked(item, matches),
            Report::Connected(result) => {
                self.connecting = self.connecting.saturating_sub(1);
                match result {
                    Ok(peer) => self.add_peer(peer),
                    Err((candidate, why)) => self.lose_candidate(&candidate, why),
                }
            }
            Report::Holding { provider, ranges } => {
                self.starving_since = None;
                self.machine
                    .handle_holding(provider, Holding::Partial(ranges));
            }
            Report::Fatal(failure) => return Err(failure),
        }
        Ok(())
    }

    fn handle_unit(&mut self, call: CallId, unit: UnitId, outcome: UnitOutcome) {
        let is_reread = self.machine.is_reread(unit);
        if let Some(unit) = self.machine.unit(unit) {
            self.tally
                .count(unit, outcome, is_reread, &self.around.layout);
            let is_whole = outcome == UnitOutcome::Proven;
            if is_whole
                && let Some(offer) = &mut self.offer
                && (unit.whole || offer::is_proven(&self.staged, unit.piece))
            {
                offer.add(unit.piece);
            }
        }
        if !matches!(outcome, UnitOutcome::Wrong { .. }) {
            self.rounds = 0;
        }
        self.machine.handle_unit(call, unit, outcome);
    }

    fn handle_end(&mut self, call: CallId, end: CallEnd) {
        let open = self.calls.remove(&call);
        self.machine.handle_call_end(Instant::now(), call, end);
        let Some(open) = open else { return };
        let Some(provider) = self.peers.get_mut(&open.provider) else {
            return;
        };
        if !matches!(end, CallEnd::Finished | CallEnd::Cancelled) {
            debug!(peer = %provider.peer.address, ?end, "a call to a provider failed");
        }
        // Whoever lacks a piece has a part only, and is followed as it gets more.
        if matches!(end, CallEnd::NotHeld { piece: Some(_) }) && !provider.watches {
            self.machine.handle_incomplete(open.provider);
            self.follow(open.provider);
        }
    }

    fn handle_checked(&mut self, item: u32, matches: bool) {
        let verdict = if matches {
            FileVerdict::Proven
        } else {
            FileVerdict::Mismatch
        };
        if matches {
            self.tally.file_proven();
            self.offer_file(item);
        } else {
            warn!(
                item,
                "a file put together from slices does not match, and is read again"
            );
        }
        self.machine.handle_file(item, verdict);
    }

    fn offer_file(&mut self, item: u32) {
        let Some(offer) = &mut self.offer else { return };
        for piece in 0..self.around.layout.piece_count() {
            if let Some(zeroshare_content::Piece::Slice { item: of, .. }) =
                self.around.layout.piece(piece)
                && of == item
            {
                offer.add(piece);
            }
        }
    }

    fn check_file(&self, item: u32) {
        let (staged, reports) = (self.staged.clone(), self.around.reports.clone());
        let (writers, tasks) = (self.around.writers.clone(), self.tasks.clone());
        let checking = async move {
            let Ok(permit) = writers.acquire_owned().await else {
                return;
            };
            let hashing = tasks.spawn_blocking("hash a file", move || {
                let result = staged.finish_item(item);
                drop(permit);
                result
            });
            let report = match hashing.await {
                Ok(Ok(())) => Report::Checked {
                    item,
                    matches: true,
                },
                Ok(Err(PutError::Mismatch { .. })) => Report::Checked {
                    item,
                    matches: false,
                },
                Ok(Err(error)) => Report::Fatal(FetchFailure::of_put(&error)),
                Err(_) => Report::Fatal(FetchFailure::Stopping),
            };
            drop(reports.send(report).await);
        };
        drop(self.tasks.spawn("check a file", checking.in_current_span()));
    }

    fn make(&mut self, call: Call) {
        let Some(provider) = self.peers.get(&call.provider) else {
            return;
        };
        let units = call.units.iter().filter_map(|id| {
            let unit = self.machine.unit(*id)?.clone();
            Some(WantedUnit {
                id: *id,
                unit,
                is_reread: self.machine.is_reread(*id),
            })
        });
        let cancel = CancellationToken::new();
        let reader = Reader {
            call: call.id,
            peer: provider.peer.clone(),
            source: SourceId(call.provider.number()),
            units: units.collect(),
            is_recheck: call.recheck,
            cancel: cancel.clone(),
            around: self.around.clone(),
        };
        let span = info_span!(
            "read pieces",
            peer = %provider.peer.address,
            units = call.units.len(),
            recheck = call.recheck,
        );
        self.calls.insert(
            call.id,
            OpenCall {
                provider: call.provider,
                cancel,
            },
        );
        drop(
            self.tasks
                .spawn("read pieces", reader.run().instrument(span)),
        );
    }

    fn add_peer(&mut self, peer: Peer) {
        let is_partial = peer.candidate.is_partial;
        let holding = if is_partial {
            Holding::Partial(Vec::new())
        } else {
            Holding::Complete
        };
        let id = self.machine.add_provider(holding);
        let rate = Rate::new(peer.meter.clone(), Instant::now());
        debug!(peer = %peer.address, is_partial, "a provider joins");
        self.peers.insert(
            id,
            Provider {
                peer,
                rate,
                watches: false,
            },
        );
        if is_partial {
            self.follow(id);
        }
    }

    fn follow(&mut self, id: ProviderId) {
        let Some(provider) = self.peers.get_mut(&id) else {
            return;
        };
        provider.watches = true;
        let watching = watch_pieces(
            provider.peer.clone(),
            id,
            self.around.clone(),
            self.shared.config.patience.starved,
        );
        drop(self.tasks.spawn("watch pieces", watching.in_current_span()));
    }

    fn drop_peer(&mut self, id: ProviderId, reason: DropReason) {
        let Some(provider) = self.peers.get(&id) else {
            return;
        };
        let (peer, address) = (&provider.peer, provider.peer.address);
        let fault = format!("{address}: {reason:?}");
        if reason.is_wrong_bytes() {
            warn!(peer = %address, peer_id = peer.candidate.peer_id, ?reason, "a provider sent wrong bytes and is dropped");
        } else {
            info!(peer = %address, peer_id = peer.candidate.peer_id, ?reason, "a provider is given up");
            let addresses = peer.candidate.addresses.iter();
            if matches!(reason, DropReason::NotHolding | DropReason::Refused) {
                self.second_chance.extend(addresses);
            } else {
                // It joins again as soon as it is found again.
                for address in addresses {
                    self.seen.remove(address);
                }
            }
        }
        if let Some(fault) = fault_of(reason) {
            let peer_id = &peer.candidate.peer_id;
            report(
                &self.shared,
                self.tree,
                peer_id,
                address,
                Deed::Fault(fault),
            );
        }
        self.last_fault = Some(fault);
    }

    fn consider(&mut self, candidate: Candidate) {
        let is_new = candidate
            .addresses
            .iter()
            .all(|address| !self.seen.contains(address));
        if is_new && self.queue.len() < MAX_QUEUE && self.seen.len() < MAX_ADDRESSES {
            self.seen.extend(&candidate.addresses);
            self.queue.push_back(candidate);
        }
    }

    fn lose_candidate(&mut self, candidate: &Candidate, why: String) {
        debug!(peer = candidate.name(), why, "a provider cannot be reached");
        self.last_fault = Some(why);
        for address in &candidate.addresses {
            self.seen.remove(address);
            let fault = zeroshare_wire::pb::discovery::v1::ProviderFault::Unreachable;
            report(
                &self.shared,
                self.tree,
                &candidate.peer_id,
                *address,
                Deed::Fault(fault),
            );
        }
    }

    fn connect(&mut self, most: usize) {
        while self.machine.live_providers() + self.connecting < most {
            let Some(candidate) = self.queue.pop_front() else {
                return;
            };
            self.connecting += 1;
            let options = self.shared.config.patience.connect.clone();
            let reports = self.around.reports.clone();
            let stopping = self.tasks.stopping();
            let connecting = async move {
                let connected = tokio::select! {
                    connected = Peer::connect(candidate, &options) => connected,
                    () = stopping => return,
                };
                let result = connected.map_err(|(candidate, error)| {
                    let why = error.map_or(String::new(), |error| error.to_string());
                    (candidate, why)
                });
                drop(reports.send(Report::Connected(result)).await);
            };
            drop(self.tasks.spawn("connect", connecting.in_current_span()));
        }
    }

    /// Decides what to do when nobody is left who could help; an error ends the fetch.
    fn starve(&mut self) -> Result<Option<Instant>, FetchFailure> {
        if self.connecting == 0 && self.peers.len() < MAX_PROVIDERS {
            // Those that are there are of no use, so they do not count.
            let one_more = self.machine.live_providers() + 1;
            self.connect(one_more);
        }
        if self.connecting > 0 || self.locator.is_searching() {
            return Ok(None);
        }
        if self.rounds < MAX_ROUNDS {
            self.rounds += 1;
            for address in std::mem::take(&mut self.second_chance) {
                self.seen.remove(&address);
            }
            debug!(
                round = self.rounds,
                "all providers are exhausted, looking for others"
            );
            self.locator.search_again();
            return Ok(None);
        }
        // Partial providers may get what nobody has yet.
        let since = *self.starving_since.get_or_insert_with(Instant::now);
        let end = since + self.shared.config.patience.starved;
        if self.machine.live_providers() > 0 && Instant::now() < end {
            return Ok(Some(end));
        }
        let last = self.last_fault.take();
        Err(FetchFailure::ProvidersExhausted {
            id: self.tree,
            tried: self.peers.len(),
            last,
        })
    }

    fn note(&mut self, fault: Option<String>) {
        if fault.is_some() {
            self.last_fault = fault;
        }
    }

    /// Tells watchers and the store how far it is.
    fn publish(&mut self) {
        let now = Instant::now();
        let shares = self.peers.values_mut().map(|provider| {
            let (received_bytes, bytes_per_second) = provider.rate.sample(now);
            super::view::Share {
                peer_id: provider.peer.candidate.peer_id.clone(),
                address: provider.peer.address.to_string(),
                received_bytes,
                bytes_per_second,
            }
        });
        let shares = shares.filter(|share| share.received_bytes > 0).collect();
        let progress = self.tally.progress(shares);
        self.entry.update(|view| view.progress = progress);
        if let Some(offer) = &mut self.offer {
            offer.announce();
        }
    }

    fn finish(mut self) -> Result<Tally, FetchFailure> {
        self.publish();
        for provider in self.peers.values_mut() {
            let (received_bytes, _) = provider.rate.sample(Instant::now());
            let seconds = self.tally.seconds();
            if received_bytes > 0 {
                let bytes_per_second = received_bytes
                    .checked_div(seconds)
                    .unwrap_or(received_bytes);
                let peer = &provider.peer;
                let deed = Deed::Gave { bytes_per_second };
                report(
                    &self.shared,
                    self.tree,
                    &peer.candidate.peer_id,
                    peer.address,
                    deed,
                );
            }
        }
        Ok(self.tally)
    }
}
