//! A store's local API, as far as discovery asks it.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, service::Routes};
use zeroshare_api::rpc::store::v1::local_store_service_server::{
    LocalStoreService, LocalStoreServiceServer,
};
use zeroshare_chassis::{
    Lifetime,
    listen::{LocalAddress, LocalListener},
    serve,
};
use zeroshare_content::ContentId;
use zeroshare_wire::pb::store::v1::{
    AnnounceArrivalRequest, AnnounceArrivalResponse, CommitContentRequest, CommitContentResponse,
    DescribeStoreRequest, DescribeStoreResponse, FindBeginningsRequest, FindBeginningsResponse,
    FindFilesRequest, FindFilesResponse, HeldContent, ListContentRequest, ListContentResponse,
    OfferPartialRequest, OfferPartialResponse, PauseSharingRequest, PauseSharingResponse,
    ShareFilesRequest, ShareFilesResponse, UnshareFilesRequest, UnshareFilesResponse,
    VerifyContentRequest, VerifyContentResponse, WatchContentRequest, WatchContentResponse,
    watch_content_response::Event,
};

type Held = BTreeMap<String, HeldContent>;
type Outgoing<T> = ReceiverStream<Result<T, Status>>;

/// A store that holds what a test says.
pub(crate) struct FakeStore {
    held: Arc<watch::Sender<Held>>,
    lifetime: Lifetime,
    serving: JoinHandle<()>,
}

impl FakeStore {
    /// Listens on a Unix socket, and says that peers are served at `lan_port`.
    pub(crate) fn start(address: &LocalAddress, lan_port: u16, holds: &[ContentId]) -> Self {
        let held = Arc::new(watch::Sender::new(Held::new()));
        let lifetime = Lifetime::new();
        let service = Service {
            held: held.clone(),
            lan_port,
            lifetime: lifetime.clone(),
        };
        let listener = LocalListener::bind(address).expect("a free socket");
        let routes = Routes::new(LocalStoreServiceServer::new(service));
        let serve = serve::serve_local(vec![listener], routes, lifetime.clone());
        let serving = lifetime.spawn("fake store", async move {
            serve.await.expect("the fake store serves");
        });
        let store = Self {
            held,
            lifetime,
            serving,
        };
        for content in holds {
            store.add(content);
        }
        store
    }

    /// Holds something more, all of it.
    pub(crate) fn add(&self, content: &ContentId) {
        self.held.send_modify(|held| {
            let id = content.to_string();
            let content = HeldContent {
                content_id: id.clone(),
                offered: true,
                held_pieces: 1,
                total_pieces: 1,
                ..HeldContent::default()
            };
            held.insert(id, content);
        });
    }

    /// Ends, and gives its socket free.
    pub(crate) async fn stop(self) {
        self.lifetime.stop();
        drop(self.held);
        self.serving.await.expect("the fake store ends");
    }
}

struct Service {
    held: Arc<watch::Sender<Held>>,
    lan_port: u16,
    lifetime: Lifetime,
}

#[tonic::async_trait]
impl LocalStoreService for Service {
    type WatchContentStream = Outgoing<WatchContentResponse>;
    type VerifyContentStream = Outgoing<VerifyContentResponse>;
    type FindFilesStream = Outgoing<FindFilesResponse>;
    type FindBeginningsStream = Outgoing<FindBeginningsResponse>;
    type OfferPartialStream = Outgoing<OfferPartialResponse>;
    type ShareFilesStream = Outgoing<ShareFilesResponse>;

    async fn describe_store(
        &self,
        _request: Request<DescribeStoreRequest>,
    ) -> Result<Response<DescribeStoreResponse>, Status> {
        Ok(Response::new(DescribeStoreResponse {
            lan_addresses: vec![format!("0.0.0.0:{}", self.lan_port)],
            ..DescribeStoreResponse::default()
        }))
    }

    async fn watch_content(
        &self,
        _request: Request<WatchContentRequest>,
    ) -> Result<Response<Self::WatchContentStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        let mut held = self.held.subscribe();
        held.mark_changed();
        let stopping = self.lifetime.stopping();
        let follow = async move {
            let mut told = Held::new();
            while held.changed().await.is_ok() {
                let now = held.borrow_and_update().clone();
                let gone = told.keys().filter(|id| !now.contains_key(*id)).cloned();
                let news = now.iter().filter(|(id, _)| !told.contains_key(*id));
                let events: Vec<Event> = gone
                    .map(Event::GoneContentId)
                    .chain(news.map(|(_, content)| Event::Held(content.clone())))
                    .chain([Event::SnapshotDone(true)])
                    .collect();
                for event in events {
                    let response = WatchContentResponse { event: Some(event) };
                    if sender.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
                told = now;
            }
        };
        self.lifetime.spawn("watch", async move {
            tokio::select! {
                () = stopping => {}
                () = follow => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_content(
        &self,
        _request: Request<ListContentRequest>,
    ) -> Result<Response<ListContentResponse>, Status> {
        Err(Status::unimplemented("discovery does not ask this"))
    }

    async fn verify_content(
        &self,
        _request: Request<VerifyContentRequest>,
    ) -> Result<Response<Self::VerifyContentStream>, Status> {
        Err(Status::unimplemented("discovery does not ask this"))
    }

    async fn find_files(
        &self,
        _request: Request<Streaming<FindFilesRequest>>,
    ) -> Result<Response<Self::FindFilesStream>, Status> {
        Err(Status::unimplemented("discovery does not ask this"))
    }

    async fn find_beginnings(
        &self,
        _request: Request<Streaming<FindBeginningsRequest>>,
    ) -> Result<Response<Self::FindBeginningsStream>, Status> {
        Err(Status::unimplemented("discovery does not ask this"))
    }

    async fn offer_partial(
        &self,
        _request: Request<Streaming<OfferPartialRequest>>,
    ) -> Result<Response<Self::OfferPartialStream>, Status> {
        Err(Status::unimplemented("discovery does not ask this"))
    }

    async fn share_files(
        &self,
        _request: Request<ShareFilesRequest>,
    ) -> Result<Response<Self::ShareFilesStream>, Status> {
        Err(Status::unimplemented("discovery does not ask this"))
    }

    async fn unshare_files(
        &self,
        _request: Request<UnshareFilesRequest>,
    ) -> Result<Response<UnshareFilesResponse>, Status> {
        Err(Status::unimplemented("discovery does not ask this"))
    }

    async fn commit_content(
        &self,
        _request: Request<Streaming<CommitContentRequest>>,
    ) -> Result<Response<CommitContentResponse>, Status> {
        Err(Status::unimplemented("discovery does not ask this"))
    }

    async fn announce_arrival(
        &self,
        request: Request<Streaming<AnnounceArrivalRequest>>,
    ) -> Result<Response<AnnounceArrivalResponse>, Status> {
        // Told of to nobody, until whoever announces it is gone.
        let mut said = request.into_inner();
        while said.message().await?.is_some() {}
        Ok(Response::new(AnnounceArrivalResponse {}))
    }

    async fn pause_sharing(
        &self,
        _request: Request<PauseSharingRequest>,
    ) -> Result<Response<PauseSharingResponse>, Status> {
        Err(Status::unimplemented("discovery does not ask this"))
    }
}
