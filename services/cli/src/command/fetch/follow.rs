//! Follows one fetch to its end, over restarts of the service and other processes that fetch the same.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use tracing::{Instrument as _, info_span};
use zeroshare_wire::pb::errors::v1::ErrorReason;
use zeroshare_wire::pb::fetcher::v1::{
    CancelFetchRequest, Fetch, FetchState, StartFetchRequest, WatchFetchRequest,
};

use crate::command::fetches::accusation;
use crate::failure::Failure;
use crate::reach::Services;
use crate::render::{Phase, Progress, Shape, Step, Track};
use crate::session::{Session, interrupted};
use crate::words::{of_reason, of_status};

/// How often a fetch is taken up again when the service went away: it restarts within seconds or not at all.
const TAKEN_UP: u32 = 10;

/// How long to wait before that.
const PAUSE: Duration = Duration::from_millis(500);

/// How long those wait for another process that fetches the same, who are patient only so far.
const ELSEWHERE_TIME: Duration = Duration::from_mins(1);

/// One fetch, as its caller sees it.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    session: &'a Session,
    services: &'a Services,
    progress: &'a Progress<'a>,
    request: StartFetchRequest,
    /// How long it may take until a manifest is here; `None`: as long as the service looks for one.
    patience: Option<Duration>,
}

/// How one attempt ended.
enum Attempt {
    Done(Fetch),
    /// Another process has the staging directory.
    Elsewhere(Failure),
    /// The service went away.
    Lost(Status),
}

impl<'a> Follower<'a> {
    pub(crate) fn new(
        session: &'a Session,
        services: &'a Services,
        progress: &'a Progress<'a>,
        request: StartFetchRequest,
    ) -> Self {
        Self {
            session,
            services,
            progress,
            request,
            patience: None,
        }
    }

    /// Gives up when nothing is known of the content for so long: who is said to have it may be gone.
    pub(crate) fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Starts the fetch, or joins it, and gives it when it succeeded.
    pub(crate) async fn follow(&self) -> Result<Fetch, Failure> {
        // One fetch is one trace, however many this command makes.
        let span = info_span!(parent: None, "cli.fetch", id = self.id());
        tokio::select! {
            biased;
            () = self.session.lifetime.stopping() => Err(self.left()),
            result = self.attempts().instrument(span) => result,
        }
    }

    async fn attempts(&self) -> Result<Fetch, Failure> {
        let mut track = self.progress.track(self.id());
        let mut lost = 0;
        let mut waits = false;
        let start = Instant::now();
        loop {
            let found_by = self.patience.map(|patience| start + patience);
            match self.attempt(&mut track, found_by).await? {
                Attempt::Done(fetch) => return Ok(fetch),
                Attempt::Elsewhere(failure)
                    if self.patience.is_some() && start.elapsed() > ELSEWHERE_TIME =>
                {
                    return Err(failure);
                }
                Attempt::Elsewhere(failure) => {
                    if !waits {
                        self.progress
                            .note(&format!("{}; waiting until it is done", failure.message));
                    }
                    waits = true;
                    track.show(Step::new(Phase::Waiting));
                }
                Attempt::Lost(status) if lost < TAKEN_UP => {
                    lost += 1;
                    tracing::debug!(%status, "the service went away; taking the fetch up again");
                }
                Attempt::Lost(status) => return Err(of_status(self.id(), &status)),
            }
            sleep(PAUSE).await;
        }
    }

    async fn attempt(
        &self,
        track: &mut Track<'_>,
        found_by: Option<Instant>,
    ) -> Result<Attempt, Failure> {
        let mut fetcher = self.services.fetcher();
        let started = match fetcher.start_fetch(self.request.clone()).await {
            Ok(started) => started.into_inner().fetch.unwrap_or_default(),
            Err(status) => return self.refused(status),
        };
        if has_ended(&started) {
            return self.ended(started);
        }
        let watch = WatchFetchRequest {
            content_id: started.content_id.clone(),
            into_path: started.into_path.clone(),
        };
        show(track, &started);
        let mut found_by = found_by.filter(|_| started.state() == FetchState::Locating);
        let mut states = match fetcher.watch_fetch(watch).await {
            Ok(states) => states.into_inner(),
            Err(status) => return self.refused(status),
        };
        loop {
            let next = match found_by {
                Some(found_by) => timeout_at(found_by, states.next()).await,
                None => Ok(states.next().await),
            };
            let Ok(next) = next else {
                return Err(self.give_up(&started).await);
            };
            let Some(state) = next else {
                break;
            };
            let fetch = match state {
                Ok(state) => state.fetch.unwrap_or_default(),
                Err(status) => return self.refused(status),
            };
            if has_ended(&fetch) {
                return self.ended(fetch);
            }
            found_by = found_by.filter(|_| fetch.state() == FetchState::Locating);
            show(track, &fetch);
        }
        Ok(Attempt::Lost(Status::unavailable(
            "the stream of states ended before the fetch",
        )))
    }

    /// Drops the interest in a fetch that nothing comes of.
    async fn give_up(&self, fetch: &Fetch) -> Failure {
        let request = CancelFetchRequest {
            content_id: fetch.content_id.clone(),
            into_path: fetch.into_path.clone(),
            client: self.request.client.clone(),
        };
        if let Err(status) = self.services.fetcher().cancel_fetch(request).await {
            tracing::debug!(%status, "a fetch cannot be cancelled");
        }
        of_reason(self.id(), ErrorReason::NoProviders, "", &|_| None)
    }

    fn refused(&self, status: Status) -> Result<Attempt, Failure> {
        match zeroshare_api::errors::reason(&status) {
            Some(ErrorReason::InUse) => self.elsewhere(of_status(self.id(), &status)),
            Some(ErrorReason::ShuttingDown) => Ok(Attempt::Lost(status)),
            None if status.code() == Code::Unavailable && !self.services.are_our_own() => {
                Ok(Attempt::Lost(status))
            }
            _ => Err(of_status(self.id(), &status)),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most reasons end the attempts"
    )]
    fn ended(&self, fetch: Fetch) -> Result<Attempt, Failure> {
        let failure = || {
            of_reason(
                self.id(),
                fetch.failure_reason(),
                &fetch.failure_message,
                &|_| None,
            )
        };
        self.accuse(&fetch);
        match fetch.state() {
            FetchState::Succeeded => Ok(Attempt::Done(fetch)),
            FetchState::Cancelled => Err(Failure::failed(format!(
                "the fetch of {} was cancelled",
                self.id()
            ))
            .advise("What was verified is kept; `zeroshare fetch` goes on where it was.")),
            FetchState::Failed
            | FetchState::Unspecified
            | FetchState::Locating
            | FetchState::Transferring
            | FetchState::Committing => match fetch.failure_reason() {
                ErrorReason::InUse => self.elsewhere(failure()),
                ErrorReason::ShuttingDown => Ok(Attempt::Lost(Status::unavailable(
                    fetch.failure_message.clone(),
                ))),
                _ => Err(failure()),
            },
        }
    }

    /// Tells people whose bytes were wrong; programs find it beside the peers.
    fn accuse(&self, fetch: &Fetch) {
        let peers = fetch.progress.iter().flat_map(|progress| &progress.peers);
        for words in peers.filter_map(accusation) {
            if self.session.output.shape() == Shape::Human {
                self.progress.note(&words);
            }
        }
    }

    /// Somebody else writes it, or what shall be written is there.
    fn elsewhere(&self, failure: Failure) -> Result<Attempt, Failure> {
        let into = Path::new(&self.request.into_path);
        if self.request.into_path.is_empty() || into.symlink_metadata().is_err() {
            return Ok(Attempt::Elsewhere(failure));
        }
        Err(Failure {
            message: format!("{} exists already", into.display()),
            ..failure
        }
        .advise("Name a directory that does not exist yet."))
    }

    /// The user does not want to wait any longer.
    fn left(&self) -> Failure {
        let id = self.id();
        let advice = if self.services.are_our_own() {
            format!("What was verified is kept: `zeroshare fetch {id}` goes on where it was.")
        } else {
            format!(
                "The node goes on with it. `zeroshare fetch {id}` watches it again, `zeroshare fetches` lists it, \
                 `zeroshare cancel {id}` stops it."
            )
        };
        interrupted().advise(advice)
    }

    fn id(&self) -> &str {
        self.request.content_ids.first().map_or("", String::as_str)
    }
}

fn has_ended(fetch: &Fetch) -> bool {
    match fetch.state() {
        FetchState::Succeeded | FetchState::Failed | FetchState::Cancelled => true,
        FetchState::Unspecified
        | FetchState::Locating
        | FetchState::Transferring
        | FetchState::Committing => false,
    }
}

fn show(track: &mut Track<'_>, fetch: &Fetch) {
    track.show(step_of(fetch));
}

/// How far a fetch is, as progress shows it.
pub(crate) fn step_of(fetch: &Fetch) -> Step {
    let progress = fetch.progress.clone().unwrap_or_default();
    let phase = match fetch.state() {
        FetchState::Transferring => Phase::Transferring,
        FetchState::Committing | FetchState::Succeeded => Phase::Committing,
        FetchState::Locating
        | FetchState::Unspecified
        | FetchState::Failed
        | FetchState::Cancelled => Phase::Locating,
    };
    let name = |address: String, id: String| if address.is_empty() { id } else { address };
    let bytes_per_second = progress
        .peers
        .iter()
        .map(|peer| peer.bytes_per_second)
        .sum();
    let giving = progress
        .peers
        .into_iter()
        .filter(|peer| peer.received_bytes > 0);
    Step {
        phase,
        done_bytes: progress.done_bytes,
        total_bytes: progress.total_bytes,
        reused_bytes: progress.reused_bytes,
        done_files: progress.done_files,
        total_files: progress.total_files,
        bytes_per_second,
        peers: giving
            .map(|peer| name(peer.address, peer.peer_id))
            .collect(),
    }
}
