//! Reading all that is missing: carries out what the transfer machine decides.

mod judged;
mod results;
mod roster;
mod starving;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use zeroshare_chassis::Lifetime;
use zeroshare_content::ContentId;
use zeroshare_staging::Staged;
use zeroshare_transfer::{
    CallId, Event, ProviderId, Standing, Transfer, Unit, WrittenBefore, missing_units,
};
use zeroshare_wire::datagram::PublicKey;
use zeroshare_wire::pb::fetcher::v1::PeerFault;

use super::failure::FetchFailure;
use super::locate::{Found, Locator};
use super::offer::Offer;
use super::reader::{Report, Surroundings};
use super::report::{Deed, Whom, report};
use super::tally::Tally;
use super::view::Rate;
use super::wants::Want;
use crate::peers::{Candidate, Peer};
use crate::registry::Entry;
use crate::shared::Shared;
use starving::Starving;
use waiting::Waiting;

/// Reports that wait for the driver; readers wait when there are more.
const REPORTS: usize = 1024;

/// Addresses that one fetch ever tries: whoever invents peers is not followed for ever.
const MAX_ADDRESSES: usize = 1024;

/// Providers that one fetch ever reads from, counted anew each time they come back.
const MAX_PROVIDERS: usize = 1024;

/// Candidates that wait to be connected to.
const MAX_QUEUE: usize = 64;

/// Rounds of looking for providers after all were given up, without anything new between them.
const MAX_ROUNDS: u32 = 2;

/// How long a fetch that has everything waits for what a provider of a wrong slice says when asked again: whoever lies
/// is named, and no fetch without liars is slower.
const HEARING: Duration = Duration::from_millis(250);

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
    /// Where offers live: they outlast the reading.
    pub(crate) offering: Lifetime,
}

/// Reads all that is missing.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    content: ContentId,
    tasks: Lifetime,
    staged: Arc<Staged>,
    locator: Locator,
    machine: Transfer,
    around: Surroundings,
    reports: mpsc::Receiver<Report>,
    peers: BTreeMap<ProviderId, Provider>,
    /// Those that were dropped: nothing is kept open to them.
    left: Vec<Left>,
    calls: BTreeMap<CallId, OpenCall>,
    queue: VecDeque<Candidate>,
    seen: BTreeSet<SocketAddr>,
    /// Those that may be tried again in the next round.
    second_chance: BTreeSet<SocketAddr>,
    connecting: usize,
    rounds: u32,
    starving: Starving,
    tally: Tally,
    offer: Option<Offer>,
    offering: Lifetime,
    /// Files whose linked slices are offered.
    passing: BTreeSet<u32>,
    /// Files that have another lead than when it was last looked what may be passed on.
    changed: BTreeSet<u32>,
    is_to_be_reviewed: bool,
    /// Files of which other lists are known than readers were told.
    renewed: BTreeSet<u32>,
    last_fault: Option<String>,
    wants: Option<mpsc::Receiver<Want>>,
    /// Those who wait for bytes.
    waiting: Vec<Waiting>,
}

struct Provider {
    peer: Peer,
    rate: Rate,
    /// Ends the stream of its events, when there is one.
    watches: Option<CancellationToken>,
}

/// What a provider gave that is asked no more.
struct Left {
    node_key: Option<PublicKey>,
    peer_id: String,
    address: SocketAddr,
    rate: Rate,
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
            candidates,
            liars: seen,
            tally,
            offer,
            offering,
            ..
        } = beginning;
        let (reports_in, reports) = mpsc::channel(REPORTS);
        let around = surroundings(&shared, &staged, &tasks, reports_in);
        let chance = RandomState::new().build_hasher().finish();
        let machine = Transfer::new(missing(&staged), shared.config.transfer.clone(), chance);
        let mut driver = Self {
            starving: Starving::new(shared.config.patience.starved),
            shared,
            wants: entry.wants.take(),
            entry,
            content: around.content,
            tasks,
            staged,
            locator,
            machine,
            around,
            reports,
            peers: BTreeMap::new(),
            left: Vec::new(),
            calls: BTreeMap::new(),
            queue: VecDeque::new(),
            seen,
            second_chance: BTreeSet::new(),
            connecting: 0,
            rounds: 0,
            tally,
            offer,
            offering,
            passing: BTreeSet::new(),
            changed: BTreeSet::new(),
            is_to_be_reviewed: false,
            renewed: BTreeSet::new(),
            last_fault: None,
            waiting: Vec::new(),
        };
        driver.begin(first, candidates);
        driver
    }

    fn begin(&mut self, first: Option<Peer>, candidates: Vec<Candidate>) {
        self.keep_lists();
        self.hear_wants();
        if self.staged.layout().content_size() >= self.shared.config.transfer.scatter_bytes {
            self.locator.widen();
        }
        if let Some(peer) = first {
            self.seen.extend(&peer.candidate.addresses);
            self.add_peer(peer);
        }
        for candidate in candidates {
            self.consider(candidate);
        }
    }

    /// Reads until everything is proven, or nobody is left to ask; what is offered meanwhile stays offered until the
    /// offer is dropped.
    pub(crate) async fn run(mut self) -> Result<(Tally, Option<Offer>), FetchFailure> {
        let mut tick = tokio::time::interval(self.shared.config.patience.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hearing_ends = None;
        loop {
            self.carry_out()?;
            self.serve_waiting();
            let wake = match self.machine.standing(Instant::now()) {
                Standing::Done if self.machine.is_hearing() => {
                    let end = *hearing_ends.get_or_insert_with(|| Instant::now() + HEARING);
                    if end <= Instant::now() {
                        break;
                    }
                    Some(end)
                }
                Standing::Done => break,
                Standing::Working => self.machine.poll_timeout(Instant::now()),
                Standing::Waiting { until } => Some(until),
                Standing::Starved => self.starve()?,
            };
            let news = self.announce();
            let wake = wake.unwrap_or_else(|| Instant::now() + self.shared.config.patience.tick);
            let wake = news.map_or(wake, |news| news.min(wake));
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
                want = next_want(&mut self.wants) => self.handle_want(want),
                _ = tick.tick() => self.publish(),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        Ok(self.finish())
    }

    /// Does all that the machine wants done now.
    fn carry_out(&mut self) -> Result<(), FetchFailure> {
        loop {
            self.do_what_is_due()?;
            self.inquire();
            while let Some(call) = self.machine.poll_call(Instant::now()) {
                self.make(&call);
            }
            if !self.machine.has_event() {
                return Ok(());
            }
        }
    }

    fn do_what_is_due(&mut self) -> Result<(), FetchFailure> {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::CheckFile { item } => self.check_file(item),
                Event::ProveFile { item } => self.prove_file(item),
                Event::Lead { item } => self.take_lead(item)?,
                Event::Judge { unit } => self.judge(unit),
                Event::Cancel { call } => {
                    if let Some(call) = self.calls.get(&call) {
                        call.cancel.cancel();
                    }
                }
                Event::Dropped { provider, reason } => self.drop_peer(provider, reason),
            }
        }
        if self.tried() < MAX_PROVIDERS {
            self.connect(self.shared.config.transfer.active_providers);
        }
        self.machine.expect_providers(self.connecting);
        self.renew_lists();
        self.review_offer();
        Ok(())
    }

    /// Decides what to do when nobody is left who could help; an error ends the fetch.
    fn starve(&mut self) -> Result<Option<Instant>, FetchFailure> {
        if self.connecting == 0 && self.tried() < MAX_PROVIDERS {
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
        if self.machine.live_providers() > 0
            && let Some(end) = self.starving.wait(Instant::now())
        {
            return Ok(Some(end));
        }
        let last = self.last_fault.take();
        Err(FetchFailure::ProvidersExhausted {
            id: self.content,
            tried: self.tried(),
            last,
        })
    }

    /// Counts those that were asked at any time.
    fn tried(&self) -> usize {
        self.peers.len() + self.left.len()
    }

    /// Tells watchers and the store how far it is.
    fn publish(&mut self) {
        let now = Instant::now();
        let share = |(whom, rate): (Whom<'_>, &mut Rate)| {
            let (received_bytes, bytes_per_second) = rate.sample(now);
            super::view::Share {
                peer_id: whom.peer_id.to_owned(),
                address: whom.address.to_string(),
                received_bytes,
                bytes_per_second,
            }
        };
        let shares = self.peers.values_mut().map(Provider::gift);
        let left = self.left.iter_mut().map(Left::gift);
        let shares = shares.chain(left).map(share);
        let shares = shares.filter(|share| share.received_bytes > 0).collect();
        let progress = self.tally.progress(shares);
        let wrong = self
            .peers
            .iter()
            .filter(|(id, _)| self.machine.has_sent_wrong(**id));
        let wrong: Vec<&Peer> = wrong.map(|(_, provider)| &provider.peer).collect();
        self.entry.update(|view| {
            view.progress = progress;
            for peer in wrong {
                let address = peer.address.to_string();
                let peer_id = &peer.candidate.peer_id;
                view.accused.add(peer_id, &address, PeerFault::WrongBytes);
            }
        });
    }

    /// Tells other machines of what is new once that is due, else says when it is.
    fn announce(&mut self) -> Option<Instant> {
        let offer = self.offer.as_mut()?;
        let due = offer.due(self.machine.live_providers())?;
        if due > Instant::now() {
            return Some(due);
        }
        offer.announce();
        None
    }

    fn finish(mut self) -> (Tally, Option<Offer>) {
        self.publish();
        if let Some(offer) = &mut self.offer {
            offer.announce();
        }
        let given = self.peers.values_mut().map(Provider::gift);
        for (whom, rate) in given.chain(self.left.iter_mut().map(Left::gift)) {
            let (received_bytes, _) = rate.sample(Instant::now());
            let seconds = self.tally.seconds();
            if received_bytes > 0 {
                let bytes_per_second = received_bytes
                    .checked_div(seconds)
                    .unwrap_or(received_bytes);
                let deed = Deed::Gave { bytes_per_second };
                report(&self.shared, self.content, &whom, deed);
            }
        }
        (self.tally, self.offer)
    }
}

impl Provider {
    fn gift(&mut self) -> (Whom<'_>, &mut Rate) {
        (Whom::reached(&self.peer), &mut self.rate)
    }
}

impl Left {
    fn gift(&mut self) -> (Whom<'_>, &mut Rate) {
        let whom = Whom {
            peer_id: &self.peer_id,
            address: self.address,
            node_key: self.node_key,
        };
        (whom, &mut self.rate)
    }
}

/// The next one; never, if nobody can want anything.
async fn next_want(wants: &mut Option<mpsc::Receiver<Want>>) -> Want {
    match wants {
        Some(wants) => match wants.recv().await {
            Some(want) => want,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// What the readers of one fetch need.
fn surroundings(
    shared: &Shared,
    staged: &Arc<Staged>,
    tasks: &Lifetime,
    reports: mpsc::Sender<Report>,
) -> Surroundings {
    Surroundings {
        content: staged.content(),
        layout: Arc::new(staged.layout().clone()),
        staged: staged.clone(),
        tasks: tasks.clone(),
        writers: shared.writers.clone(),
        large_batches: shared.large_batches.clone(),
        downloads: shared.downloads.clone(),
        pace: shared.config.patience.pace,
        lists: Arc::default(),
        reports,
    }
}

/// What is not proven yet, with the slices that lie there unproven.
fn missing(staged: &Staged) -> Vec<(Unit, WrittenBefore)> {
    let is_proven = |item| staged.is_proven(item);
    missing_units(staged.layout(), is_proven, |piece| {
        staged.holds_piece(piece)
    })
}
