//! The local API: decodes, calls, encodes.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::info;
use zeroshare_api::rpc::fetcher::v1::fetcher_service_server::FetcherService;
use zeroshare_wire::pb::fetcher::v1::{
    AddContentRequest, AddContentResponse, CancelFetchRequest, CancelFetchResponse,
    CollectGarbageRequest, CollectGarbageResponse, FindFeedRequest, FindFeedResponse,
    FollowArrivalRequest, FollowArrivalResponse, ListFetchesRequest, ListFetchesResponse,
    ListNeighboursRequest, ListNeighboursResponse, ReadManifestRequest, ReadManifestResponse,
    ReadRangeRequest, ReadRangeResponse, StartFetchRequest, StartFetchResponse, WatchFetchRequest,
    WatchFetchResponse,
};

use crate::fetch::{self, View, store_for};
use crate::registry::{Entry, Started};
use crate::request::{
    ArrivalOrder, Caller, FeedOrder, GarbageOrder, ManifestOrder, NeighboursOrder, Order,
    RangeOrder, fetch_name,
};
use crate::shared::Shared;
use crate::status::{CallError, status};
use crate::{add, arrivals, feeds, garbage, manifests, neighbours, ranges};

/// What is here already has succeeded by the time that the answer is given, if the index is as quick as it should be.
const LOCAL_LOOK: Duration = Duration::from_secs(1);

/// Implements `FetcherService`.
#[derive(Debug)]
pub(crate) struct Service {
    shared: Arc<Shared>,
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn start(&self, caller: Caller, order: Order) -> Result<Arc<Entry>, CallError> {
        let entry = self.begin(caller, order).await?;
        let mut views = entry.watch();
        let looked = views.wait_for(|view| view.looked_locally || view.stage.is_over());
        drop(tokio::time::timeout(LOCAL_LOOK, looked).await);
        Ok(entry)
    }

    /// Starts or joins a fetch, and waits for nothing.
    async fn begin(&self, caller: Caller, order: Order) -> Result<Arc<Entry>, CallError> {
        may_write(
            &self.shared,
            caller,
            order.into.as_deref(),
            order.target_store.as_deref(),
        )?;
        let place = match &order.into {
            Some(into) => Some(into.clone()),
            // Without a store it can still be here already.
            None => store_for(&self.shared, order.target_store.clone())
                .await
                .ok(),
        };
        let remember = self.shared.config.patience.remember;
        let registry = &self.shared.registry;
        let entry = match registry.start(caller, &order, place, remember)? {
            Started::Joined(entry) => {
                info!(id = %order.ids[0], client = order.client, "fetch joined");
                entry
            }
            Started::New(entry) => {
                fetch::spawn(&self.shared, &entry, order);
                entry
            }
        };
        Ok(entry)
    }

    fn find(&self, id: &str, into: &str) -> Result<Arc<Entry>, CallError> {
        let (id, into) = fetch_name(id, into)?;
        let found = self.shared.registry.find(id, into.as_deref());
        found.ok_or(CallError::FetchNotFound { id })
    }
}

/// Others may have trees added to the stores of this service, and nothing written elsewhere in its name.
pub(crate) fn may_write(
    shared: &Shared,
    caller: Caller,
    into: Option<&Path>,
    store: Option<&Path>,
) -> Result<(), CallError> {
    if caller == Caller::Same {
        return Ok(());
    }
    let user = caller.name();
    if into.is_some() {
        let what = "a copy is written only for the user as whom the fetcher runs";
        let hint = "fetch into the store and copy from there, or run the command without this node";
        return Err(CallError::NotAllowed { user, what, hint });
    }
    let is_known =
        store.is_none_or(|path| shared.config.roots.iter().any(|root| root.path == path));
    if is_known {
        return Ok(());
    }
    let what = "this store is not one of the fetcher's";
    let hint = "name it with --store when the node starts";
    Err(CallError::NotAllowed { user, what, hint })
}

#[tonic::async_trait]
impl FetcherService for Service {
    async fn start_fetch(
        &self,
        request: Request<StartFetchRequest>,
    ) -> Result<Response<StartFetchResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let order = Order::try_from(request.into_inner()).map_err(|error| status(&error.into()))?;
        let entry = self
            .start(caller, order)
            .await
            .map_err(|error| status(&error))?;
        let fetch = Some(entry.to_wire(&entry.view()));
        Ok(Response::new(StartFetchResponse { fetch }))
    }

    type WatchFetchStream = Watching;

    async fn watch_fetch(
        &self,
        request: Request<WatchFetchRequest>,
    ) -> Result<Response<Watching>, Status> {
        let request = request.into_inner();
        let found = self.find(&request.content_id, &request.into_path);
        let entry = found.map_err(|error| status(&error))?;
        Ok(Response::new(Watching::new(entry)))
    }

    async fn list_fetches(
        &self,
        _request: Request<ListFetchesRequest>,
    ) -> Result<Response<ListFetchesResponse>, Status> {
        let entries = self
            .shared
            .registry
            .list(self.shared.config.patience.remember);
        let fetches = entries
            .iter()
            .map(|entry| entry.to_wire(&entry.view()))
            .collect();
        Ok(Response::new(ListFetchesResponse { fetches }))
    }

    async fn cancel_fetch(
        &self,
        request: Request<CancelFetchRequest>,
    ) -> Result<Response<CancelFetchResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        let found = self.find(&request.content_id, &request.into_path);
        found
            .map_err(|error| status(&error))?
            .leave(caller, &request.client);
        Ok(Response::new(CancelFetchResponse {}))
    }

    type ReadManifestStream = ReceiverStream<Result<ReadManifestResponse, Status>>;

    async fn read_manifest(
        &self,
        request: Request<ReadManifestRequest>,
    ) -> Result<Response<Self::ReadManifestStream>, Status> {
        let order = ManifestOrder::try_from(request.into_inner());
        let order = order.map_err(|error| status(&error.into()))?;
        let read = manifests::read(&self.shared, order).await;
        let answer = read.map_err(|error| status(&error))?;
        Ok(Response::new(answer))
    }

    type ReadRangeStream = ReceiverStream<Result<ReadRangeResponse, Status>>;

    async fn read_range(
        &self,
        request: Request<ReadRangeRequest>,
    ) -> Result<Response<Self::ReadRangeStream>, Status> {
        let caller = Caller::of(request.extensions());
        let order = RangeOrder::try_from(request.into_inner());
        let order = order.map_err(|error| status(&error.into()))?;
        let begun = self.begin(caller, order.fetch.clone()).await;
        let entry = begun.map_err(|error| status(&error))?;
        let read = ranges::read(&self.shared, &entry, &order);
        Ok(Response::new(read.map_err(|error| status(&error))?))
    }

    type ListNeighboursStream = ReceiverStream<Result<ListNeighboursResponse, Status>>;

    async fn list_neighbours(
        &self,
        request: Request<ListNeighboursRequest>,
    ) -> Result<Response<Self::ListNeighboursStream>, Status> {
        let order = NeighboursOrder::try_from(request.into_inner());
        let order = order.map_err(|error| status(&error.into()))?;
        let listing = neighbours::list(&self.shared, order);
        Ok(Response::new(listing.map_err(|error| status(&error))?))
    }

    type FindFeedStream = ReceiverStream<Result<FindFeedResponse, Status>>;

    async fn find_feed(
        &self,
        request: Request<FindFeedRequest>,
    ) -> Result<Response<Self::FindFeedStream>, Status> {
        let order = FeedOrder::try_from(request.into_inner());
        let order = order.map_err(|error| status(&error.into()))?;
        let found = feeds::find(&self.shared, order);
        Ok(Response::new(found.map_err(|error| status(&error))?))
    }

    type FollowArrivalStream = ReceiverStream<Result<FollowArrivalResponse, Status>>;

    async fn follow_arrival(
        &self,
        request: Request<FollowArrivalRequest>,
    ) -> Result<Response<Self::FollowArrivalStream>, Status> {
        let order = ArrivalOrder::try_from(request.into_inner());
        let order = order.map_err(|error| status(&error.into()))?;
        let following = arrivals::follow(&self.shared, &order);
        Ok(Response::new(following.map_err(|error| status(&error))?))
    }

    type CollectGarbageStream = ReceiverStream<Result<CollectGarbageResponse, Status>>;

    async fn collect_garbage(
        &self,
        request: Request<CollectGarbageRequest>,
    ) -> Result<Response<Self::CollectGarbageStream>, Status> {
        let caller = Caller::of(request.extensions());
        let order = GarbageOrder::try_from(request.into_inner());
        let order = order.map_err(|error| status(&error.into()))?;
        let collected = garbage::collect(&self.shared, caller, order).await;
        Ok(Response::new(collected.map_err(|error| status(&error))?))
    }

    async fn add_content(
        &self,
        request: Request<Streaming<AddContentRequest>>,
    ) -> Result<Response<AddContentResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let added = add::add(&self.shared, caller, request.into_inner()).await;
        let (id, path) = added.map_err(|error| status(&error))?;
        let path = path.display().to_string();
        Ok(Response::new(AddContentResponse {
            content_id: id.to_string(),
            path,
        }))
    }
}

/// A fetch as it is after each change; a slow reader misses steps, never the outcome.
#[derive(Debug)]
pub(crate) struct Watching {
    entry: Arc<Entry>,
    views: WatchStream<View>,
    is_over: bool,
}

impl Watching {
    fn new(entry: Arc<Entry>) -> Self {
        let views = WatchStream::new(entry.watch());
        Self {
            entry,
            views,
            is_over: false,
        }
    }
}

impl Stream for Watching {
    type Item = Result<WatchFetchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.views).poll_next(context) {
            Poll::Ready(Some(view)) => {
                self.is_over = view.stage.is_over();
                let fetch = Some(self.entry.to_wire(&view));
                Poll::Ready(Some(Ok(WatchFetchResponse { fetch })))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
