//! Finding the first provider that says what is to be fetched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, debug, warn};
use zeroshare_chassis::Lifetime;
use zeroshare_content::{Layout, Manifest};
use zeroshare_transfer::CallEnd;
use zeroshare_wire::pb::discovery::v1::ProviderFault;
use zeroshare_wire::pb::fetcher::v1::PeerFault;

use zeroshare_chassis::process::chain;

use super::failure::FetchFailure;
use super::locate::{Found, Locator, Search};
use super::opening::{Described, EarlyPiece, Opened, Refusal, Wish, open};
use super::report::{Deed, Whom, report};
use super::view::Accused;
use crate::peers::{Candidate, Extent, Peer};
use crate::shared::Shared;

/// Providers that are asked for a manifest at once, but for those that are slow.
const MAX_ATTEMPTS: usize = 3;

/// A provider that takes longer keeps nobody else from being asked.
const SLOW: Duration = Duration::from_secs(2);

/// Providers that are asked for a manifest at once, slow or not.
const MAX_RUNNING: usize = 16;

/// What a provider has to give in each window while others wait to be asked.
const HURRIED_BYTES: u64 = 1024 * 1024;

/// A provider that takes longer is not the only one to be asked.
const HEDGE: Duration = Duration::from_millis(250);

/// Candidates that are remembered, and addresses that are tried, until one gives the manifest.
const MAX_CANDIDATES: usize = 256;

/// Rounds of looking for somebody else after the first.
const MAX_ROUNDS: u32 = 1;

/// What is known once the manifest is there.
#[derive(Debug)]
pub(crate) struct Hunt {
    pub(crate) described: Described,
    /// Who gave the manifest, if it may be read on.
    pub(crate) peer: Option<Peer>,
    /// Pieces that came along with it.
    pub(crate) early: Vec<EarlyPiece>,
    /// Entries of `early` that turned out right.
    pub(crate) early_items: u32,
    /// Who was not asked yet.
    pub(crate) candidates: Vec<Candidate>,
    /// Who gave wrong bytes.
    pub(crate) liars: BTreeSet<SocketAddr>,
    /// … or what else was wrong, by name.
    pub(crate) accused: Accused,
    /// Finds further ones.
    pub(crate) locator: Locator,
}

impl Hunt {
    /// For a tree that is here: peers are looked for only should it change meanwhile.
    pub(crate) fn of_local_tree(
        shared: &Arc<Shared>,
        tasks: &Lifetime,
        search: Search,
        manifest: Manifest,
    ) -> Result<Self, FetchFailure> {
        let id = manifest.id().into();
        let layout =
            Layout::of_manifest(&manifest).map_err(|error| FetchFailure::ManifestRefused {
                id,
                line: None,
                why: chain(&error),
            })?;
        let described = Described::of_tree(manifest, layout);
        Ok(Self::of_local(shared, tasks, search, described))
    }

    /// For what is here, so that nobody has to say what it consists of.
    pub(crate) fn of_local(
        shared: &Arc<Shared>,
        tasks: &Lifetime,
        search: Search,
        described: Described,
    ) -> Self {
        Self {
            described,
            peer: None,
            early: Vec::new(),
            early_items: 0,
            candidates: Vec::new(),
            liars: BTreeSet::new(),
            accused: Accused::default(),
            locator: Locator::start(shared, tasks, search),
        }
    }
}

/// Asks whoever is found, a few at once, until one gives the manifest.
pub(crate) async fn hunt(
    shared: &Arc<Shared>,
    tasks: &Lifetime,
    search: Search,
    wish: Wish,
) -> Result<Hunt, FetchFailure> {
    if let Some(id) = wish.ids.first()
        && !wish.ids.iter().any(zeroshare_content::ContentId::travels)
    {
        return Err(FetchFailure::old_format(*id));
    }
    let (results_in, results) = mpsc::channel(MAX_RUNNING);
    let hunter = Hunter {
        shared: shared.clone(),
        tasks: tasks.child(),
        patience: search.patience,
        locator: Locator::start(shared, tasks, search),
        wish,
        results,
        results_in,
        queue: VecDeque::new(),
        later: Vec::new(),
        seen: BTreeSet::new(),
        passing: BTreeSet::new(),
        liars: BTreeSet::new(),
        accused: Accused::default(),
        attempts: Attempts::default(),
        tried: 0,
        rounds: 0,
        had_it: false,
        is_unsure: false,
        last: None,
        hedge: Instant::now(),
    };
    hunter.run().await
}

struct Hunter {
    shared: Arc<Shared>,
    tasks: Lifetime,
    patience: Duration,
    locator: Locator,
    wish: Wish,
    results: mpsc::Receiver<(u32, Result<Opened, Refusal>)>,
    results_in: mpsc::Sender<(u32, Result<Opened, Refusal>)>,
    queue: VecDeque<Candidate>,
    /// Those that hold nothing yet.
    later: Vec<Candidate>,
    seen: BTreeSet<SocketAddr>,
    /// Those whose trouble may pass.
    passing: BTreeSet<SocketAddr>,
    liars: BTreeSet<SocketAddr>,
    accused: Accused,
    attempts: Attempts,
    tried: usize,
    rounds: u32,
    /// Whether anybody seemed to have it, and gave no manifest all the same.
    had_it: bool,
    /// Whether somebody may have it who could not be asked.
    is_unsure: bool,
    last: Option<String>,
    /// When another one is asked although one is still at it.
    hedge: Instant,
}

impl Hunter {
    async fn run(mut self) -> Result<Hunt, FetchFailure> {
        loop {
            self.ask_more();
            if self.attempts.is_empty() && !self.locator.is_searching() {
                self.give_up_or_search_again()?;
            }
            let hedge = self
                .attempts
                .next(self.hedge)
                .filter(|_| !self.queue.is_empty());
            tokio::select! {
                found = self.locator.next() => match found {
                    Some(Found::Candidate(candidate)) => self.consider(candidate),
                    Some(Found::RoundOver(fault)) => {
                        self.is_unsure |= fault.is_some();
                        self.last = fault.or(self.last.take());
                    }
                    None => return Err(FetchFailure::Stopping),
                },
                result = self.results.recv() => {
                    let Some((attempt, result)) = result else {
                        return Err(FetchFailure::Stopping);
                    };
                    self.attempts.end(attempt);
                    match result {
                        Ok(opened) => return Ok(self.finish(opened)),
                        Err(Refusal::Fatal(failure)) => return Err(failure),
                        Err(refusal) => self.handle_refusal(refusal),
                    }
                }
                () = sleep_until(hedge.unwrap_or(self.hedge)), if hedge.is_some() => {}
            }
        }
    }

    fn ask_more(&mut self) {
        let now = Instant::now();
        let next = self.attempts.next(self.hedge);
        if !self.attempts.is_empty() && next.is_none_or(|next| next > now) {
            return;
        }
        let Some(candidate) = self.queue.pop_front() else {
            return;
        };
        self.tried += 1;
        self.hedge = now + HEDGE;
        let attempt = self.attempts.begin(now);
        let mut rule = self.shared.config.patience.pace;
        if !self.queue.is_empty() {
            rule.window_bytes = rule.window_bytes.max(HURRIED_BYTES);
        }
        let opening = open(self.shared.clone(), candidate, self.wish.clone(), rule);
        let results = self.results_in.clone();
        let stopping = self.tasks.stopping();
        let task = async move {
            tokio::select! {
                result = opening => drop(results.send((attempt, result)).await),
                () = stopping => {}
            }
        };
        drop(self.tasks.spawn("read a manifest", task.in_current_span()));
    }

    fn consider(&mut self, candidate: Candidate) {
        if candidate.extent == Extent::NothingYet {
            // It has no manifest to give, but pieces soon.
            if self.later.len() < MAX_CANDIDATES {
                self.later.push(candidate);
            }
            return;
        }
        let is_new = candidate
            .addresses
            .iter()
            .all(|address| !self.seen.contains(address));
        if is_new && self.seen.len() < MAX_CANDIDATES {
            self.seen.extend(&candidate.addresses);
            self.queue.push_back(candidate);
        }
    }

    fn handle_refusal(&mut self, refusal: Refusal) {
        let id = self.wish.ids[0];
        self.last = Some(match refusal {
            Refusal::Unreachable { candidate, why } => {
                self.is_unsure = true;
                self.passing.extend(&candidate.addresses);
                // All of them, else discovery takes it for one that can be reached by another.
                for address in &candidate.addresses {
                    let whom = Whom::absent(&candidate, *address);
                    let deed = Deed::Fault(ProviderFault::Unreachable);
                    report(&self.shared, id, &whom, deed);
                }
                why
            }
            Refusal::Ended { peer, end, why } => {
                if let Some(fault) = self.judge(&peer, end) {
                    let whom = Whom::reached(&peer);
                    report(&self.shared, id, &whom, Deed::Fault(fault));
                }
                format!("{}: {why}", peer.address)
            }
            Refusal::Fatal(_) => return,
        });
    }

    fn judge(&mut self, peer: &Peer, end: CallEnd) -> Option<ProviderFault> {
        let candidate = &peer.candidate;
        let wrong = match end {
            CallEnd::Violation => Some(PeerFault::Violation),
            CallEnd::Wrong => Some(PeerFault::WrongBytes),
            CallEnd::Corrupt => Some(PeerFault::Corrupt),
            CallEnd::NotHeld { .. }
            | CallEnd::Refused
            | CallEnd::Lost
            | CallEnd::Stalled
            | CallEnd::Busy { .. }
            | CallEnd::Cancelled
            | CallEnd::Finished => None,
        };
        if let Some(fault) = wrong {
            let address = peer.address.to_string();
            self.accused.add(&candidate.peer_id, &address, fault);
        }
        self.had_it |= !matches!(end, CallEnd::NotHeld { .. } | CallEnd::Refused);
        self.is_unsure |= end == CallEnd::Refused;
        match end {
            CallEnd::Violation | CallEnd::Wrong => {
                warn!(
                    peer = candidate.name(),
                    "a provider sent a wrong manifest and is dropped"
                );
                self.liars.extend(&candidate.addresses);
                Some(ProviderFault::Corrupt)
            }
            CallEnd::Corrupt => Some(ProviderFault::Corrupt),
            CallEnd::NotHeld { .. } | CallEnd::Refused => Some(ProviderFault::NotHolding),
            CallEnd::Lost | CallEnd::Stalled => {
                self.passing.extend(&candidate.addresses);
                Some(ProviderFault::Unreachable)
            }
            CallEnd::Busy { .. } | CallEnd::Cancelled | CallEnd::Finished => {
                self.passing.extend(&candidate.addresses);
                None
            }
        }
    }

    fn give_up_or_search_again(&mut self) -> Result<(), FetchFailure> {
        let id = self.wish.ids[0];
        let last = self.last.take();
        if !self.had_it && !self.is_unsure {
            return Err(FetchFailure::NoProviders {
                id,
                waited: self.patience,
                last,
            });
        }
        if !self.had_it || self.rounds >= MAX_ROUNDS || self.passing.is_empty() {
            return Err(FetchFailure::ProvidersExhausted {
                id,
                tried: self.tried,
                last,
            });
        }
        self.rounds += 1;
        self.last = last;
        for address in std::mem::take(&mut self.passing) {
            self.seen.remove(&address);
        }
        debug!("nobody gave the manifest, looking for others");
        self.locator.search_again();
        Ok(())
    }

    fn finish(self, opened: Opened) -> Hunt {
        self.tasks.stop();
        let Opened {
            peer,
            described,
            early,
            end,
        } = opened;
        let (mut liars, mut accused) = (self.liars, self.accused);
        let is_liar = end == CallEnd::Violation;
        if is_liar {
            warn!(peer = %peer.address, "a provider broke the protocol and is dropped");
            liars.extend(&peer.candidate.addresses);
            accused.add(
                &peer.candidate.peer_id,
                &peer.address.to_string(),
                PeerFault::Violation,
            );
        }
        Hunt {
            described,
            peer: (!is_liar).then_some(peer),
            early,
            early_items: 0,
            candidates: self.queue.into_iter().chain(self.later).collect(),
            liars,
            accused,
            locator: self.locator,
        }
    }
}

/// Who is being asked, by number, and since when.
#[derive(Debug, Default)]
struct Attempts {
    since: BTreeMap<u32, Instant>,
    count: u32,
}

impl Attempts {
    fn begin(&mut self, now: Instant) -> u32 {
        self.count += 1;
        self.since.insert(self.count, now);
        self.count
    }

    fn end(&mut self, attempt: u32) {
        self.since.remove(&attempt);
    }

    fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    /// Says when another one may be asked, if not before `hedge`; `None` while too many are.
    fn next(&self, hedge: Instant) -> Option<Instant> {
        if self.since.len() >= MAX_RUNNING {
            return None;
        }
        // They began in the order of their numbers: once this one is slow, fewer than the most are quick.
        let in_the_way = self.since.values().rev().nth(MAX_ATTEMPTS - 1);
        Some(in_the_way.map_or(hedge, |since| hedge.max(*since + SLOW)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_slow_keeps_nobody_else_from_being_asked() {
        let start = Instant::now();
        let mut attempts = Attempts::default();
        for _ in 0..MAX_ATTEMPTS {
            assert_eq!(attempts.next(start), Some(start));
            attempts.begin(start);
        }
        assert_eq!(attempts.next(start + HEDGE), Some(start + SLOW));
        let fourth = attempts.begin(start + SLOW);
        let hedge = start + SLOW + HEDGE;
        assert_eq!(attempts.next(hedge), Some(hedge));
        attempts.end(fourth);
        assert_eq!(attempts.next(start), Some(start + SLOW));
    }

    #[test]
    fn even_the_slow_are_only_so_many() {
        let mut now = Instant::now();
        let mut attempts = Attempts::default();
        while let Some(next) = attempts.next(now) {
            now = next;
            attempts.begin(now);
        }
        assert_eq!(attempts.since.len(), MAX_RUNNING);
    }
}
