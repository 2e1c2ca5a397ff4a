//! The local API.

mod arrival;
mod check;
mod convert;
mod explain;
mod streams;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Request, Response, Status, Streaming};
use zeroshare_api::{
    connect::TracedChannel,
    errors::{ErrorReason, malformed_field, status, with_retry},
    rpc::discovery::v1::discovery_service_server::DiscoveryService,
};
use zeroshare_chassis::propagate;
use zeroshare_content::ContentId;
use zeroshare_wire::{
    convert::{content_ids, optional_duration},
    datagram::TraceContext,
    pb::discovery::v1::{
        AnnounceArrivalRequest, AnnounceArrivalResponse, CheckNetworkRequest, CheckNetworkResponse,
        DescribeNetworkRequest, DescribeNetworkResponse, ExplainFindRequest, FindProvidersRequest,
        ForgivePeerRequest, ForgivePeerResponse, ListBansRequest, ListBansResponse, RefreshRequest,
        RefreshResponse, ReportProviderRequest, ReportProviderResponse, WatchPeersRequest,
        WatchRefreshRequest,
    },
};

use self::{
    explain::StoryStream,
    streams::{FoundStream, PeerStream, RefreshStream},
};
use crate::{
    engine::{Command, FindRequest, LookupKey, News, TooManyLookups},
    interfaces::{self, InterfaceChoice},
};

/// Ids in one question: all spellings and digests of one tree.
const MOST_IDS: usize = 8;

/// Ids that are forgotten in one call: as many as one program may need.
const MOST_REFRESHED: usize = 1_024;

/// The longest time for which a lookup may stay open.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What waits for a caller to read it: more than one lookup finds and tells.
const MOST_FOUND: usize = 1_024;

/// What trying the network found.
type FindingStream = tokio_stream::Iter<std::vec::IntoIter<Result<CheckNetworkResponse, Status>>>;

/// What is looked for.
struct Wish {
    contents: Vec<ContentId>,
    wait: Option<Duration>,
    enough: Option<u8>,
    explained: bool,
    askers: bool,
}

/// The local API over the engine.
#[derive(Debug)]
pub(crate) struct Api {
    engine: mpsc::Sender<Command>,
    /// Which interfaces are used.
    choice: InterfaceChoice,
    /// This machine's store.
    store: TracedChannel,
    last_lookup: AtomicU64,
}

impl Api {
    pub(crate) fn new(
        engine: mpsc::Sender<Command>,
        choice: InterfaceChoice,
        store: TracedChannel,
    ) -> Self {
        Self {
            engine,
            choice,
            store,
            last_lookup: AtomicU64::new(0),
        }
    }

    async fn tell(&self, command: Command) -> Result<(), Status> {
        self.engine.send(command).await.map_err(|_| stopping())
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| stopping())
    }
}

impl Api {
    /// Begins a lookup; what comes of it comes by the receiver.
    async fn begin(
        &self,
        wish: Wish,
    ) -> Result<(LookupKey, mpsc::Receiver<Result<News, TooManyLookups>>), Status> {
        let (news, receiver) = mpsc::channel(MOST_FOUND);
        let key = LookupKey(self.last_lookup.fetch_add(1, Ordering::Relaxed));
        self.tell(Command::Find(FindRequest {
            key,
            contents: wish.contents,
            wait: wish.wait.unwrap_or_default(),
            trace: propagate::trace_context().and_then(TraceContext::from_bytes),
            enough: wish.enough,
            explained: wish.explained,
            askers: wish.askers,
            news,
        }))
        .await?;
        Ok((key, receiver))
    }
}

#[tonic::async_trait]
impl DiscoveryService for Api {
    type FindProvidersStream = FoundStream;
    type WatchPeersStream = PeerStream;
    type ExplainFindStream = StoryStream;
    type CheckNetworkStream = FindingStream;
    type WatchRefreshStream = RefreshStream;

    async fn find_providers(
        &self,
        request: Request<FindProvidersRequest>,
    ) -> Result<Response<FoundStream>, Status> {
        let request = request.into_inner();
        let contents = content_ids("content_ids", &request.content_ids, MOST_IDS)
            .map_err(|error| malformed_field(&error))?;
        let wait = optional_duration("wait", request.wait.as_ref(), LONGEST_WAIT)
            .map_err(|error| malformed_field(&error))?;
        let enough = convert::enough(request.enough).map_err(|error| malformed_field(&error))?;
        let (key, news) = self
            .begin(Wish {
                contents,
                wait,
                enough,
                explained: false,
                askers: request.with_askers,
            })
            .await?;
        Ok(Response::new(FoundStream::new(
            news,
            key,
            self.engine.clone(),
        )))
    }

    async fn explain_find(
        &self,
        request: Request<ExplainFindRequest>,
    ) -> Result<Response<StoryStream>, Status> {
        let began = Instant::now();
        let request = request.into_inner();
        let contents = content_ids("content_ids", &request.content_ids, MOST_IDS)
            .map_err(|error| malformed_field(&error))?;
        let wait = optional_duration("wait", request.wait.as_ref(), LONGEST_WAIT)
            .map_err(|error| malformed_field(&error))?;
        let (key, news) = self
            .begin(Wish {
                contents,
                wait,
                enough: None,
                explained: true,
                askers: false,
            })
            .await?;
        let lookup = (key, self.engine.clone());
        Ok(Response::new(StoryStream::new(news, began, lookup)))
    }

    async fn check_network(
        &self,
        _request: Request<CheckNetworkRequest>,
    ) -> Result<Response<FindingStream>, Status> {
        let surveying = interfaces::survey(self.choice.clone());
        let (surveyed, view) = tokio::join!(surveying, self.ask(Command::Check));
        let surveyed = surveyed
            .map_err(|error| Status::internal(format!("cannot list interfaces: {error}")))?;
        let findings = check::findings(surveyed, &view?).into_iter().map(Ok);
        Ok(Response::new(tokio_stream::iter(
            findings.collect::<Vec<_>>(),
        )))
    }

    async fn watch_peers(
        &self,
        _request: Request<WatchPeersRequest>,
    ) -> Result<Response<PeerStream>, Status> {
        let watch = self.ask(Command::WatchPeers).await?;
        Ok(Response::new(PeerStream::new(watch)))
    }

    async fn report_provider(
        &self,
        request: Request<ReportProviderRequest>,
    ) -> Result<Response<ReportProviderResponse>, Status> {
        let report =
            convert::report(&request.into_inner()).map_err(|error| malformed_field(&error))?;
        self.tell(Command::Report(report)).await?;
        Ok(Response::new(ReportProviderResponse {}))
    }

    async fn list_bans(
        &self,
        _request: Request<ListBansRequest>,
    ) -> Result<Response<ListBansResponse>, Status> {
        let bans = self.ask(Command::ListBans).await?;
        let bans = bans.iter().map(convert::ban).collect();
        Ok(Response::new(ListBansResponse { bans }))
    }

    async fn forgive_peer(
        &self,
        request: Request<ForgivePeerRequest>,
    ) -> Result<Response<ForgivePeerResponse>, Status> {
        let mercy =
            convert::mercy(&request.into_inner()).map_err(|error| malformed_field(&error))?;
        let forgiven = self.ask(|reply| Command::Forgive(mercy, reply)).await?;
        Ok(Response::new(ForgivePeerResponse {
            forgiven_peers: u32::try_from(forgiven).unwrap_or(u32::MAX),
        }))
    }

    async fn describe_network(
        &self,
        _request: Request<DescribeNetworkRequest>,
    ) -> Result<Response<DescribeNetworkResponse>, Status> {
        let view = self.ask(Command::Describe).await?;
        Ok(Response::new(convert::network(view)))
    }

    async fn refresh(
        &self,
        request: Request<RefreshRequest>,
    ) -> Result<Response<RefreshResponse>, Status> {
        let contents = convert::refreshed(&request.into_inner(), MOST_REFRESHED)
            .map_err(|error| malformed_field(&error))?;
        self.ask(|reply| Command::Refresh(contents, reply)).await?;
        Ok(Response::new(RefreshResponse {}))
    }

    async fn watch_refresh(
        &self,
        _request: Request<WatchRefreshRequest>,
    ) -> Result<Response<RefreshStream>, Status> {
        let watch = self.ask(Command::WatchRefresh).await?;
        let watch = watch.ok_or_else(too_many_watchers)?;
        Ok(Response::new(streams::refreshes(watch)))
    }

    async fn announce_arrival(
        &self,
        request: Request<Streaming<AnnounceArrivalRequest>>,
    ) -> Result<Response<AnnounceArrivalResponse>, Status> {
        let (store, said) = (self.store.clone(), request.into_inner());
        arrival::announce(&self.engine, store, said).await?;
        Ok(Response::new(AnnounceArrivalResponse {}))
    }
}

fn stopping() -> Status {
    let stopping = status(
        Code::Unavailable,
        ErrorReason::ShuttingDown,
        &[],
        "discovery is stopping",
    );
    with_retry(stopping, Duration::from_secs(1))
}

/// As many lookups as there can be are open.
fn too_many_lookups() -> Status {
    let many = status(
        Code::ResourceExhausted,
        ErrorReason::TooManyTransfers,
        &[],
        "too many lookups are open",
    );
    with_retry(many, Duration::from_secs(1))
}

/// As many as can be told of what is forgotten are.
fn too_many_watchers() -> Status {
    let many = status(
        Code::ResourceExhausted,
        ErrorReason::TooManyTransfers,
        &[],
        "too many watch",
    );
    with_retry(many, Duration::from_secs(1))
}

/// A watcher reads more slowly than peers change.
fn lagged() -> Status {
    status(
        Code::ResourceExhausted,
        ErrorReason::WatcherLagged,
        &[],
        "too far behind; watch anew",
    )
}
