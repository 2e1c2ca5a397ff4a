//! A discovery service that knows what a test tells it.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::UnixListener,
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use zeroshare_api::{
    connect::LocalEndpoint,
    errors::malformed_field,
    rpc::discovery::v1::discovery_service_server::{DiscoveryService, DiscoveryServiceServer},
};
use zeroshare_chassis::Lifetime;
use zeroshare_content::ContentId;
use zeroshare_wire::{
    convert::{content_ids, optional_duration, store_address},
    pb::discovery::v1::{
        AnnounceArrivalRequest, AnnounceArrivalResponse, CheckNetworkRequest, CheckNetworkResponse,
        DescribeNetworkRequest, DescribeNetworkResponse, ExplainFindRequest, ExplainFindResponse,
        FindProvidersRequest, FindProvidersResponse, ForgivePeerRequest, ForgivePeerResponse,
        HoldingClaim, ListBansRequest, ListBansResponse, Peer, RefreshRequest, RefreshResponse,
        ReportProviderRequest, ReportProviderResponse, WatchPeersRequest, WatchPeersResponse,
        WatchRefreshRequest, WatchRefreshResponse, watch_peers_response,
    },
};

const MOST_IDS: usize = 8;

const LONGEST_WAIT: Duration = Duration::from_mins(1);

type Providers = Vec<FindProvidersResponse>;

/// The test double of discovery: streams the providers that it was told, and keeps what was asked
/// of it and reported to it. Ends when it is dropped.
#[derive(Debug)]
pub struct FakeDiscovery {
    endpoint: LocalEndpoint,
    lifetime: Lifetime,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    providers: watch::Sender<Providers>,
    finds: Mutex<Vec<FindProvidersRequest>>,
    reports: Mutex<Vec<ReportProviderRequest>>,
}

/// A provider of all of some content at an address, by its own statement.
pub fn announced(content: &ContentId, address: SocketAddr) -> FindProvidersResponse {
    FindProvidersResponse {
        provider: Some(Peer {
            peer_id: format!("{:032x}", address.port()),
            store_addresses: vec![store_address(address)],
            ..Peer::default()
        }),
        claim: HoldingClaim::Stated.into(),
        content_id: content.to_string(),
        part: 255,
        member: false,
        on_its_way: false,
        goes_first: false,
    }
}

impl FakeDiscovery {
    /// Starts on a Unix socket, which must not be there yet. Needs a tokio runtime.
    pub fn serve(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket can be made");
        let shared = Arc::new(Shared {
            providers: watch::Sender::new(Vec::new()),
            finds: Mutex::default(),
            reports: Mutex::default(),
        });
        let lifetime = Lifetime::new();
        let service = Service {
            shared: Arc::clone(&shared),
            lifetime: lifetime.clone(),
        };
        let server = Server::builder()
            .add_service(DiscoveryServiceServer::new(service))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), lifetime.stopping());
        lifetime.spawn("discovery of a test", server);
        Self {
            endpoint: LocalEndpoint::Unix(socket.to_owned()),
            lifetime,
            shared,
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &LocalEndpoint {
        &self.endpoint
    }

    /// Adds a provider; open questions hear of it at once. See [`announced`].
    pub fn announce(&self, provider: FindProvidersResponse) {
        self.shared
            .providers
            .send_modify(|providers| providers.push(provider));
    }

    /// Forgets all providers.
    pub fn forget(&self) {
        self.shared.providers.send_modify(Vec::clear);
    }

    /// What was asked for.
    pub fn finds(&self) -> Vec<FindProvidersRequest> {
        lock(&self.shared.finds).clone()
    }

    /// What was reported.
    pub fn reports(&self) -> Vec<ReportProviderRequest> {
        lock(&self.shared.reports).clone()
    }
}

impl Drop for FakeDiscovery {
    fn drop(&mut self) {
        self.lifetime.stop();
    }
}

struct Service {
    shared: Arc<Shared>,
    lifetime: Lifetime,
}

#[tonic::async_trait]
impl DiscoveryService for Service {
    type FindProvidersStream = ReceiverStream<Result<FindProvidersResponse, Status>>;

    async fn find_providers(
        &self,
        request: Request<FindProvidersRequest>,
    ) -> Result<Response<Self::FindProvidersStream>, Status> {
        let request = request.into_inner();
        lock(&self.shared.finds).push(request.clone());
        let wanted = content_ids("content_ids", &request.content_ids, MOST_IDS)
            .map_err(|error| malformed_field(&error))?;
        let wait = optional_duration("wait", request.wait.as_ref(), LONGEST_WAIT)
            .map_err(|error| malformed_field(&error))?
            .unwrap_or_default();
        let wanted = wanted.iter().map(ToString::to_string).collect();
        let providers = self.shared.providers.subscribe();
        let (to, found) = mpsc::channel(8);
        let mut question = Question {
            providers,
            wanted,
            to,
            seen: 0,
        };
        let stopping = self.lifetime.stopping();
        self.lifetime
            .spawn("question to a test's discovery", async move {
                // What is known comes however short the wait is.
                question.send_known().await;
                tokio::select! {
                    () = question.send_late() => {}
                    () = sleep(wait) => {}
                    () = stopping => {}
                }
            });
        Ok(Response::new(ReceiverStream::new(found)))
    }

    type WatchPeersStream = ReceiverStream<Result<WatchPeersResponse, Status>>;

    async fn watch_peers(
        &self,
        _request: Request<WatchPeersRequest>,
    ) -> Result<Response<Self::WatchPeersStream>, Status> {
        use watch_peers_response::{Event, SnapshotDone};
        let known = self.shared.providers.borrow().clone();
        let (to, peers) = mpsc::channel(8);
        let stopping = self.lifetime.stopping();
        self.lifetime.spawn("watch of a test's peers", async move {
            let ups = known
                .into_iter()
                .filter_map(|found| found.provider)
                .map(Event::Up);
            for event in ups.chain([Event::SnapshotDone(SnapshotDone {})]) {
                let event = Some(event);
                if to.send(Ok(WatchPeersResponse { event })).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = to.closed() => {}
                () = stopping => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(peers)))
    }

    async fn report_provider(
        &self,
        request: Request<ReportProviderRequest>,
    ) -> Result<Response<ReportProviderResponse>, Status> {
        lock(&self.shared.reports).push(request.into_inner());
        Ok(Response::new(ReportProviderResponse {}))
    }

    async fn announce_arrival(
        &self,
        request: Request<Streaming<AnnounceArrivalRequest>>,
    ) -> Result<Response<AnnounceArrivalResponse>, Status> {
        // Nobody is there to be told.
        let mut said = request.into_inner();
        while said.message().await?.is_some() {}
        Ok(Response::new(AnnounceArrivalResponse {}))
    }

    async fn list_bans(
        &self,
        _request: Request<ListBansRequest>,
    ) -> Result<Response<ListBansResponse>, Status> {
        Ok(Response::new(ListBansResponse::default()))
    }

    async fn forgive_peer(
        &self,
        _request: Request<ForgivePeerRequest>,
    ) -> Result<Response<ForgivePeerResponse>, Status> {
        Ok(Response::new(ForgivePeerResponse::default()))
    }

    async fn describe_network(
        &self,
        _request: Request<DescribeNetworkRequest>,
    ) -> Result<Response<DescribeNetworkResponse>, Status> {
        let live = self.shared.providers.borrow().len();
        Ok(Response::new(DescribeNetworkResponse {
            node_id: "0".repeat(32),
            live_peers: u32::try_from(live).unwrap_or(u32::MAX),
            ..DescribeNetworkResponse::default()
        }))
    }

    type ExplainFindStream = tokio_stream::Empty<Result<ExplainFindResponse, Status>>;

    async fn explain_find(
        &self,
        _request: Request<ExplainFindRequest>,
    ) -> Result<Response<Self::ExplainFindStream>, Status> {
        Err(Status::unimplemented("a test's discovery explains nothing"))
    }

    type CheckNetworkStream = tokio_stream::Empty<Result<CheckNetworkResponse, Status>>;

    async fn check_network(
        &self,
        _request: Request<CheckNetworkRequest>,
    ) -> Result<Response<Self::CheckNetworkStream>, Status> {
        Err(Status::unimplemented("a test's discovery has no network"))
    }

    type WatchRefreshStream = ReceiverStream<Result<WatchRefreshResponse, Status>>;

    async fn watch_refresh(
        &self,
        _request: Request<WatchRefreshRequest>,
    ) -> Result<Response<Self::WatchRefreshStream>, Status> {
        Err(Status::unimplemented(
            "a test's discovery remembers nothing",
        ))
    }

    async fn refresh(
        &self,
        _request: Request<RefreshRequest>,
    ) -> Result<Response<RefreshResponse>, Status> {
        Err(Status::unimplemented(
            "a test's discovery remembers nothing",
        ))
    }
}

struct Question {
    providers: watch::Receiver<Providers>,
    wanted: Vec<String>,
    to: mpsc::Sender<Result<FindProvidersResponse, Status>>,
    /// How many of the providers were looked at.
    seen: usize,
}

impl Question {
    async fn send_known(&mut self) {
        let known = self.providers.borrow_and_update().clone();
        for provider in known.iter().skip(self.seen) {
            if self.wanted.contains(&provider.content_id) {
                let _caller_left = self.to.send(Ok(provider.clone())).await;
            }
        }
        self.seen = known.len();
    }

    /// Ends when the caller leaves.
    async fn send_late(&mut self) {
        loop {
            tokio::select! {
                changed = self.providers.changed() => if changed.is_err() { return },
                () = self.to.closed() => return,
            }
            self.send_known().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
