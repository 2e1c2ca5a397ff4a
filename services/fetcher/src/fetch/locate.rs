//! Finding out who may have it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Code;
use tracing::{Instrument as _, debug, info_span};
use zeroshare_api::deadline;
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_content::ContentId;
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::discovery::v1::FindProvidersRequest;

use crate::peers::Candidate;
use crate::shared::Shared;

/// Candidates that wait to be looked at; discovery is read no faster.
const QUEUE: usize = 64;

/// Providers that are wanted of content so large that others are worth looking for.
const WANTED: u32 = 24;

/// When such content is asked for again, one pause after the other, until it is the ordinary one's turn: those who begin
/// at the same moment find each other, and those who begin a little later too.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// How long everybody is given to answer then.
const ANSWER_TIME: Duration = Duration::from_millis(300);

/// Between two tries to reach a discovery that is restarting.
const DISCOVERY_RETRY: Duration = Duration::from_millis(50);

/// Whom to ask.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) ids: Vec<ContentId>,
    /// These hosts only, and nobody by datagram; empty: whom discovery finds.
    pub(crate) from: Vec<StaticPeer>,
    /// How long to look.
    pub(crate) patience: Duration,
    /// Whether those count who hold nothing yet, and everybody at once.
    pub(crate) members: Members,
}

/// Whether those are looked for who hold nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    LeftOut,
    /// They read from upstream, or soon have something.
    Wanted,
}

/// Members that are asked for at once; discovery gives no more.
const ENOUGH_MEMBERS: u32 = 64;

/// What a search found.
#[derive(Debug)]
pub(crate) enum Found {
    /// Somebody; perhaps not for the first time.
    Candidate(Candidate),
    /// The round is over; what went wrong with it, if anything.
    RoundOver(Option<String>),
}

/// A search that goes on in the background until it is dropped.
#[derive(Debug)]
pub(crate) struct Locator {
    found: mpsc::Receiver<Found>,
    again: mpsc::Sender<Again>,
    is_searching: bool,
}

/// What is asked of a search that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Another round.
    Round,
    /// From now on, as many as can be found.
    Widen,
}

impl Locator {
    /// Begins the first round.
    pub(crate) fn start(shared: &Arc<Shared>, tasks: &Lifetime, search: Search) -> Self {
        let (found_in, found) = mpsc::channel(QUEUE);
        let (again, again_out) = mpsc::channel(2);
        let seeker = Seeker {
            shared: shared.clone(),
            search,
            found: found_in,
        };
        let span = info_span!("locate", hosts = seeker.search.from.len());
        let run = seeker.run(again_out, tasks.stopping());
        drop(tasks.spawn("locate", run.instrument(span)));
        Self {
            found,
            again,
            is_searching: true,
        }
    }

    /// Waits for the next find; `None` if the service is stopping. May be dropped midway.
    pub(crate) async fn next(&mut self) -> Option<Found> {
        let found = self.found.recv().await?;
        if matches!(found, Found::RoundOver(_)) {
            self.is_searching = false;
        }
        Some(found)
    }

    /// Whether a round runs.
    pub(crate) fn is_searching(&self) -> bool {
        self.is_searching
    }

    /// Begins another round.
    pub(crate) fn search_again(&mut self) {
        self.is_searching = self.again.try_send(Again::Round).is_ok();
    }

    /// Looks for as many as can be found from now on: there is much to be read.
    pub(crate) fn widen(&mut self) {
        // Full only when another round begins at once.
        let _sent = self.again.try_send(Again::Widen);
    }
}

struct Seeker {
    shared: Arc<Shared>,
    search: Search,
    found: mpsc::Sender<Found>,
}

impl Seeker {
    async fn run(self, mut again: mpsc::Receiver<Again>, stopping: impl Future<Output = ()>) {
        tokio::select! {
            () = self.rounds(&mut again) => {}
            () = self.found.closed() => {}
            () = stopping => {}
        }
    }

    async fn rounds(&self, again: &mut mpsc::Receiver<Again>) {
        let mut pauses = None;
        loop {
            let fault = if self.search.from.is_empty() {
                tokio::select! {
                    fault = self.ask_discovery(self.search.patience, 0) => fault,
                    () = widened(again) => {
                        pauses = Some(PAUSES.into_iter());
                        None
                    }
                }
            } else {
                self.resolve_hosts().await
            };
            if self.found.send(Found::RoundOver(fault)).await.is_err() {
                return;
            }
            // Until the next round is asked for, whoever becomes known by itself joins.
            loop {
                let relocate = self.shared.config.patience.relocate;
                let pause = pauses.as_mut().and_then(Iterator::next).unwrap_or(relocate);
                match timeout(pause.min(relocate), again.recv()).await {
                    Ok(Some(Again::Round)) => break,
                    Ok(Some(Again::Widen)) => pauses = Some(PAUSES.into_iter()),
                    Ok(None) => return,
                    Err(_) if self.search.from.is_empty() => {
                        let (wait, enough) = match &pauses {
                            Some(_) => (ANSWER_TIME, WANTED),
                            None => (Duration::ZERO, 0),
                        };
                        drop(self.ask_discovery(wait, enough).await);
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// Reads all answers of one question; a discovery that restarts is asked again until time is up.
    async fn ask_discovery(&self, wait: Duration, enough: u32) -> Option<String> {
        let end = Instant::now() + wait;
        loop {
            let error = match self
                .ask_once(end.saturating_duration_since(Instant::now()), enough)
                .await
            {
                Ok(()) => return None,
                Err(error) => error,
            };
            let is_passing = matches!(error.code(), Code::Unavailable | Code::Cancelled);
            if !is_passing || Instant::now() + DISCOVERY_RETRY >= end {
                debug!(%error, "discovery was of no help");
                return Some(format!("discovery: {}", error.message()));
            }
            tokio::time::sleep(DISCOVERY_RETRY).await;
        }
    }

    async fn ask_once(&self, wait: Duration, enough: u32) -> Result<(), tonic::Status> {
        let request = FindProvidersRequest {
            content_ids: self.search.ids.iter().map(ToString::to_string).collect(),
            wait: Some(to_duration(wait)),
            enough: match self.search.members {
                Members::LeftOut => enough,
                Members::Wanted => ENOUGH_MEMBERS,
            },
            with_askers: false,
        };
        let limit = wait + self.shared.config.patience.local_call;
        let mut discovery = self.shared.discovery();
        deadline::within(limit, async move {
            let mut answers = discovery.find_providers(request).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                let candidate = Candidate::of_discovery(answer, self.search.members);
                if let Some(candidate) = candidate
                    && self.found.send(Found::Candidate(candidate)).await.is_err()
                {
                    break;
                }
            }
            Ok(())
        })
        .await
    }

    async fn resolve_hosts(&self) -> Option<String> {
        let mut fault = None;
        let end = Instant::now()
            + self
                .search
                .patience
                .max(self.shared.config.patience.local_call);
        for host in &self.search.from {
            let candidate = match timeout_at(end, Candidate::resolve(host)).await {
                Ok(Ok(candidate)) => candidate,
                Ok(Err(why)) => {
                    fault = Some(why);
                    continue;
                }
                Err(_) => {
                    fault = Some(format!("{host}: its name was not resolved in time"));
                    continue;
                }
            };
            if self.found.send(Found::Candidate(candidate)).await.is_err() {
                break;
            }
        }
        fault
    }
}

/// Waits until as many as can be found are wanted; a round that runs need not be begun.
async fn widened(again: &mut mpsc::Receiver<Again>) {
    loop {
        match again.recv().await {
            Some(Again::Widen) => return,
            Some(Again::Round) => {}
            None => std::future::pending().await,
        }
    }
}
