//! A blob for which an upstream is known: peers first, and upstream for what nobody has.
//!
//! What is read from where is decided by [`zeroshare_transfer::cold`]; this carries it out. Start reading at [`Driver::run`].

mod announce;
mod before;
mod filling;
mod follow;
mod roster;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span, warn};
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::rate::Throttle;
use zeroshare_content::{BlobId, ContentId};
use zeroshare_staging::{PutError, Staged};
use zeroshare_transfer::cold::{
    ColdAction, ColdStanding, ColdStart, MemberId, PieceDigest, RequestId, TakeEnd, TakeId,
};
use zeroshare_wire::pb::fetcher::v1::PeerFault;

use super::Meter;
use super::failure::FetchFailure;
use super::locate::{Found, Locator, Search};
use super::view::{Progress, Rate, Share};
use crate::peers::{Candidate, Peer};
use crate::registry::Entry;
use crate::shared::Shared;
use crate::upstream::Upstream;
use announce::Announcer;
use before::{describe, found, machine_of};
use filling::Filler;
use follow::Word;
use roster::Followed;

/// Reports that wait for the driver; readers wait when there are more.
const REPORTS: usize = 1024;

/// Reports that are taken in before what they lead to is done.
const REPORTS_AT_ONCE: usize = 64;

/// Addresses that one fetch ever tries.
const MAX_ADDRESSES: usize = 256;

/// What a cold start begins with.
pub(super) struct Beginning {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<Entry>,
    pub(super) tasks: Lifetime,
    /// What outlasts the reading: others are served until all is committed.
    pub(super) offering: Lifetime,
    pub(super) staged: Arc<Staged>,
    pub(super) blob: BlobId,
    pub(super) search: Search,
    pub(super) upstream: Upstream,
}

/// What tasks tell the driver.
#[derive(Debug)]
enum Report {
    Connected(Result<Peer, Candidate>),
    Told {
        member: MemberId,
        words: Vec<Word>,
    },
    Gone {
        member: MemberId,
    },
    Read {
        request: RequestId,
        piece: u32,
        digest: PieceDigest,
    },
    ReadEnd {
        request: RequestId,
    },
    Taken {
        take: TakeId,
        piece: u32,
        digest: PieceDigest,
    },
    TakeEnd {
        take: TakeId,
        end: TakeEnd,
    },
    Checked {
        matches: bool,
    },
    Fatal(FetchFailure),
}

/// Carries out a cold start.
pub(super) struct Driver {
    beginning: Arc<Surroundings>,
    machine: ColdStart,
    locator: Locator,
    own_id: String,
    announcer: Announcer,
    reports_in: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    peers: BTreeMap<MemberId, Followed>,
    /// What came from those who are not remembered any more.
    left_bytes: u64,
    takes: BTreeMap<TakeId, CancellationToken>,
    seen: BTreeSet<SocketAddr>,
    upstream_rate: Rate,
}

/// What readers need.
struct Surroundings {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    tasks: Lifetime,
    staged: Arc<Staged>,
    blob: BlobId,
    upstream: Upstream,
    upstream_meter: Arc<Meter>,
    throttle: Arc<Throttle>,
}

impl Driver {
    pub(super) async fn begin(beginning: Beginning) -> Result<Self, FetchFailure> {
        let Beginning {
            shared,
            entry,
            tasks,
            offering,
            staged,
            blob,
            search,
            upstream,
        } = beginning;
        let (own_id, is_served) = describe(&shared).await;
        let mut machine = machine_of((&own_id, is_served), blob, &staged, &upstream);
        for (piece, digest) in found(&shared, &staged).await? {
            machine.handle_found(piece, digest);
        }
        let locator = Locator::start(&shared, &tasks, search);
        let announcer = Announcer::start(&shared, &offering, &staged, is_served);
        let (reports_in, reports) = mpsc::channel(REPORTS);
        let upstream_meter: Arc<Meter> = Arc::default();
        let upstream_rate = Rate::new(upstream_meter.clone(), Instant::now());
        let around = Surroundings {
            shared,
            entry,
            tasks,
            staged,
            blob,
            throttle: upstream.throttle(),
            upstream,
            upstream_meter,
        };
        Ok(Self {
            beginning: Arc::new(around),
            machine,
            locator,
            own_id,
            announcer,
            reports_in,
            reports,
            peers: BTreeMap::new(),
            left_bytes: 0,
            takes: BTreeMap::new(),
            seen: BTreeSet::new(),
            upstream_rate,
        })
    }

    /// Reads until the blob is proven. Gives the bytes that came from anywhere, and what keeps it offered until it is committed.
    async fn run(mut self) -> Result<(u64, Announcer), FetchFailure> {
        let mut tick = tokio::time::interval(self.beginning.shared.config.patience.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = Instant::now();
            while let Some(action) = self.machine.poll_action(now) {
                self.act(action);
            }
            self.announcer.flush();
            match self.machine.standing(Instant::now()) {
                ColdStanding::Done => break,
                ColdStanding::Working => {}
                ColdStanding::WrongUpstream => self.change_mirror()?,
                ColdStanding::Starved => {
                    return Err(
                        self.exhausted("upstream cannot be read, and nobody gives what is missing")
                    );
                }
            }
            let wake = self.machine.poll_timeout(Instant::now());
            tokio::select! {
                report = self.reports.recv() => {
                    let Some(report) = report else { return Err(FetchFailure::Stopping) };
                    self.handle(report)?;
                    // What came in the meantime is told in one message.
                    for _ in 1..REPORTS_AT_ONCE {
                        let Ok(report) = self.reports.try_recv() else { break };
                        self.handle(report)?;
                    }
                }
                found = self.locator.next() => match found {
                    Some(Found::Candidate(candidate)) => self.consider(candidate),
                    Some(Found::RoundOver(_)) => self.locator.search_again(),
                    None => return Err(FetchFailure::Stopping),
                },
                _ = tick.tick() => self.publish(),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        self.publish();
        let upstream_bytes = self.machine.upstream_bytes();
        info!(upstream_bytes, peers = self.peers.len(), "blob proven");
        let staged = &self.beginning.staged;
        let midstates = staged.midstates_of(0);
        let pieces = staged.layout().piece_count();
        let proving = self.announcer.prove(midstates.as_ref(), pieces);
        let limit = self.beginning.shared.config.patience.local_call;
        // A store that does not keep up is told of it once more when it is committed.
        drop(tokio::time::timeout(limit, proving).await);
        let received = self
            .peers
            .values()
            .map(Followed::received_bytes)
            .sum::<u64>();
        Ok((received + self.left_bytes + upstream_bytes, self.announcer))
    }

    fn act(&mut self, action: ColdAction) {
        match action {
            ColdAction::Claim { pieces } => self.announcer.claim(pieces),
            ColdAction::State {
                piece,
                digest,
                origin,
            } => {
                let origin = match origin {
                    None => self.own_id.clone(),
                    Some(member) => self
                        .peers
                        .get(&member)
                        .map_or(String::new(), |known| known.peer.candidate.peer_id.clone()),
                };
                self.announcer.state(piece, digest, origin);
            }
            ColdAction::Read { request, pieces } => {
                let span = info_span!("read upstream", first = pieces.start, pieces = pieces.len());
                let filler = self.filler();
                let reading = filler.read(request, pieces).instrument(span);
                drop(self.beginning.tasks.spawn("read upstream", reading));
            }
            ColdAction::Take {
                take,
                member,
                pieces,
            } => {
                let Some(Followed { peer, .. }) = self.peers.get(&member) else {
                    return;
                };
                let cancel = CancellationToken::new();
                self.takes.insert(take, cancel.clone());
                let span = info_span!("read pieces", peer = %peer.address, pieces = pieces.len());
                let taking = self
                    .filler()
                    .take((take, peer.clone()), pieces, cancel)
                    .instrument(span);
                drop(self.beginning.tasks.spawn("read pieces", taking));
            }
            ColdAction::CancelTake { take } => {
                if let Some(cancel) = self.takes.get(&take) {
                    cancel.cancel();
                }
            }
            ColdAction::Check => self.check(),
            ColdAction::Drop { member, reason } => self.drop_member(member, reason),
        }
    }

    fn filler(&self) -> Filler {
        Filler {
            around: self.beginning.clone(),
            reports: self.reports_in.clone(),
        }
    }

    fn handle(&mut self, report: Report) -> Result<(), FetchFailure> {
        let now = Instant::now();
        match report {
            Report::Connected(Ok(peer)) => self.join(peer),
            // It joins as soon as it is found again.
            Report::Connected(Err(candidate)) => self.forget(&candidate),
            Report::Told { member, words } => {
                for word in words {
                    word.tell(&mut self.machine, now, member);
                }
            }
            Report::Gone { member } => {
                self.machine.handle_gone(member);
                if let Some(Followed { peer, .. }) = self.peers.get(&member) {
                    let candidate = peer.candidate.clone();
                    debug!(peer = %peer.address, "a member is gone");
                    self.forget(&candidate);
                }
            }
            Report::Read {
                request,
                piece,
                digest,
            } => self.machine.handle_read_piece(now, request, piece, digest),
            Report::ReadEnd { request } => {
                self.machine.handle_read_end(now, request);
                if self.beginning.upstream.choose().is_none() {
                    self.machine.handle_upstream_lost();
                }
            }
            Report::Taken {
                take,
                piece,
                digest,
            } => self.machine.handle_taken(now, take, piece, digest),
            Report::TakeEnd { take, end } => {
                self.takes.remove(&take);
                self.machine.handle_take_end(now, take, end);
            }
            Report::Checked { matches } => {
                if !matches {
                    warn!("what was put together does not match, and is compared with upstream");
                }
                self.machine.handle_check(now, matches);
            }
            Report::Fatal(failure) => return Err(failure),
        }
        Ok(())
    }

    fn check(&self) {
        let (around, reports) = (self.beginning.clone(), self.reports_in.clone());
        let checking = async move {
            let Ok(permit) = around.shared.writers.clone().acquire_owned().await else {
                return;
            };
            let staged = around.staged.clone();
            let hashing = around.tasks.spawn_blocking("hash a file", move || {
                let result = staged.finish_item(0);
                drop(permit);
                result
            });
            let report = match hashing.await {
                Ok(Ok(())) => Report::Checked { matches: true },
                Ok(Err(PutError::Mismatch { .. })) => Report::Checked { matches: false },
                Ok(Err(error)) => Report::Fatal(FetchFailure::of_put(&error)),
                Err(_) => Report::Fatal(FetchFailure::Stopping),
            };
            drop(reports.send(report).await);
        };
        drop(
            self.beginning
                .tasks
                .spawn("check a file", checking.in_current_span()),
        );
    }

    /// All came from one mirror, and is not the blob.
    fn change_mirror(&mut self) -> Result<(), FetchFailure> {
        let Some(mirror) = self.beginning.upstream.choose() else {
            return Err(self.exhausted("upstream has something else"));
        };
        warn!(url = %mirror.url, "upstream has something else under this URL");
        let (host, wrong) = (mirror.url.host(), PeerFault::WrongBytes);
        self.beginning
            .entry
            .update(|view| view.accused.add("", host, wrong));
        if !self.beginning.upstream.condemn(&mirror) {
            let why = format!(
                "{} has something else: check the URL and the id",
                mirror.url
            );
            return Err(self.exhausted(&why));
        }
        self.machine.handle_other_mirror(Instant::now());
        Ok(())
    }

    fn exhausted(&self, why: &str) -> FetchFailure {
        FetchFailure::Upstream {
            id: ContentId::Blob(self.beginning.blob),
            why: why.to_owned(),
        }
    }

    /// Tells watchers how far it is.
    fn publish(&mut self) {
        let now = Instant::now();
        let share = |peer_id: &str, address: String, rate: &mut Rate| {
            let (received_bytes, bytes_per_second) = rate.sample(now);
            Share {
                peer_id: peer_id.to_owned(),
                address,
                received_bytes,
                bytes_per_second,
            }
        };
        let host = self
            .beginning
            .upstream
            .choose()
            .map_or(String::new(), |mirror| mirror.url.host().to_owned());
        let upstream = share("", host, &mut self.upstream_rate);
        let peers = self.peers.values_mut().map(|Followed { peer, rate, .. }| {
            share(&peer.candidate.peer_id, peer.address.to_string(), rate)
        });
        let shares = peers
            .chain([upstream])
            .filter(|share| share.received_bytes > 0)
            .collect();
        let progress = Progress {
            done_bytes: self.machine.held_bytes(),
            total_bytes: self.beginning.staged.layout().content_size(),
            total_files: 1,
            peers: shares,
            ..Progress::default()
        };
        self.beginning.entry.update(|view| view.progress = progress);
    }
}
