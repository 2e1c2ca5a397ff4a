//! `StoreService`: what peers read, and this machine's own services too.

use std::sync::Arc;
use std::time::Instant;

use tokio_stream::Stream;
use tonic::{Extensions, Request, Response, Status};
use zeroshare_api::errors;
use zeroshare_api::rpc::store::v1::store_service_server::StoreService;
use zeroshare_chassis::serve::PageBudget;
use zeroshare_content::ContentId;
use zeroshare_shelf::{Audience, Recheck};
use zeroshare_wire::convert::{Encoding, ReadPieces, content_id, content_ids, feed_url, tree_id};
use zeroshare_wire::pb::store::v1::{
    ContentStat, ListPublicRequest, ListPublicResponse, ReadFeedRequest, ReadFeedResponse,
    ReadManifestRequest, ReadManifestResponse, ReadMidstatesRequest, ReadMidstatesResponse,
    ReadPiecesRequest, ReadPiecesResponse, StatContentRequest, StatContentResponse,
    WatchArrivalRequest, WatchArrivalResponse, WatchPiecesRequest, WatchPiecesResponse,
};

use crate::access::Caller;
use crate::answer::Answer;
use crate::slots::Slot;
use crate::store::{Source, Store};
use crate::transfer::{OnLine, Transfer, plan};
use crate::watch::{PiecesWatch, Watched};
use crate::{arrivals, convert, feeds, manifest, midstates, public, status, watch};

/// Ids in one question.
const MAX_STATS: usize = 256;

/// All spellings and digests of one tree.
const MAX_SPELLINGS: usize = 8;

/// One of the two doors through which the service is reached.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    store: Arc<Store>,
    door: Door,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Lan,
    Local,
}

impl Peers {
    pub(crate) fn new(store: Arc<Store>, door: Door) -> Self {
        Self { store, door }
    }

    /// Tells who sent a request, if it is answered now.
    pub(crate) fn caller(&self, extensions: &Extensions) -> Result<Caller, Status> {
        match self.door {
            Door::Lan => {
                let caller = Caller::of_lan(extensions, &self.store.networks)?;
                match self.store.pause.left() {
                    Some(left) => Err(status::paused(left)),
                    None => Ok(caller),
                }
            }
            Door::Local => Caller::of_local(extensions),
        }
    }

    /// Takes one of the transfers that may run at once.
    pub(crate) fn slot(&self, caller: &Caller) -> Result<Slot, Status> {
        let slots = match self.door {
            Door::Lan => &self.store.transfers,
            Door::Local => &self.store.local_transfers,
        };
        slots
            .take(caller.taker())
            .ok_or_else(status::too_many_transfers)
    }

    /// The way to a peer; readers on this machine have none that could be slow.
    fn line(&self, caller: &Caller) -> Option<Arc<OnLine>> {
        match caller {
            Caller::Peer(address) => {
                let reader = address.0.ip();
                Some(Arc::new(self.store.lines.begin(Instant::now(), reader)))
            }
            Caller::User(_) | Caller::Tool(_) => None,
        }
    }

    fn stat(&self, id: &ContentId, audience: Audience) -> Option<ContentStat> {
        let whole = self
            .store
            .shelf
            .holding(id, audience)
            .filter(|holding| match audience {
                Audience::Peers => holding.offered,
                Audience::Local => holding.is_readable(),
            });
        match whole {
            Some(holding) => Some(convert::stat_of_whole(
                &holding,
                self.list_digest(id, audience),
            )),
            None => self
                .store
                .offers
                .find(id, audience)
                .map(|offer| convert::stat_of_part(&offer)),
        }
    }
}

impl Peers {
    /// Names the midstates of a blob; best effort, since they can be asked for.
    fn list_digest(&self, id: &ContentId, audience: Audience) -> Option<[u8; 32]> {
        id.blob()?;
        let list = self.store.shelf.midstates(id, 0, audience).ok()??;
        Some(list.list_digest)
    }
}

#[tonic::async_trait]
impl StoreService for Peers {
    async fn stat_content(
        &self,
        request: Request<StatContentRequest>,
    ) -> Result<Response<StatContentResponse>, Status> {
        let caller = self.caller(request.extensions())?;
        let ids = content_ids("content_ids", &request.get_ref().content_ids, MAX_STATS)
            .map_err(malformed)?;
        tracing::debug!(%caller, ids = ids.len(), "asks what is held");
        let peers = self.clone();
        let stats = self.store.on_disk("look up contents", move |_| {
            let audience = caller.audience();
            let stats = ids.iter().filter_map(|id| peers.stat(id, audience));
            stats.collect()
        });
        let stats = stats.await?;
        Ok(Response::new(StatContentResponse { stats }))
    }

    type ReadManifestStream = Answer<ReadManifestResponse>;

    async fn read_manifest(
        &self,
        request: Request<ReadManifestRequest>,
    ) -> Result<Response<Self::ReadManifestStream>, Status> {
        let caller = self.caller(request.extensions())?;
        let pages = request.extensions().get::<PageBudget>().cloned();
        let tree = tree_id("tree_id", &request.get_ref().tree_id).map_err(malformed)?;
        let slot = self.slot(&caller)?;
        tracing::info!(%caller, content = %tree, "reads manifest");
        let source = self
            .store
            .open(&ContentId::Tree(tree), caller.audience())
            .await?;
        Ok(Response::new(manifest::send(
            &self.store,
            source,
            pages,
            slot,
        )))
    }

    /// Never read: the answer is a body of its own beside it.
    type ReadPiecesStream = tokio_stream::Empty<Result<ReadPiecesResponse, Status>>;

    async fn read_pieces(
        &self,
        request: Request<ReadPiecesRequest>,
    ) -> Result<Response<Self::ReadPiecesStream>, Status> {
        let caller = self.caller(request.extensions())?;
        let pages = request.extensions().get::<PageBudget>().cloned();
        let read = ReadPieces::try_from(request.into_inner()).map_err(malformed)?;
        let slot = self.slot(&caller)?;
        let source = self.store.open(&read.content, caller.audience()).await?;
        let layout = source.pieces().layout();
        let held = match &source {
            Source::Whole(_) => std::iter::once(0..layout.piece_count()).collect(),
            Source::Part(offer) => offer.held(),
        };
        let orders = plan(
            &read.content,
            read.wanted,
            layout,
            &held,
            &self.store.least_sent,
        )?;
        let pieces: usize = orders.iter().map(|order| order.pieces().len()).sum();
        tracing::info!(%caller, content = %read.content, pieces, recheck = read.recheck, "reads pieces");
        let transfer = Transfer {
            store: Arc::clone(&self.store),
            content: read.content,
            source,
            orders,
            with_manifest: read.with_manifest,
            recheck: if read.recheck {
                Recheck::Yes
            } else {
                Recheck::No
            },
            audience: caller.audience(),
            takes_zstd: read.accepted.contains(&Encoding::Zstd),
            line: self.line(&caller),
            pages,
        };
        let mut response = Response::new(tokio_stream::empty());
        response.extensions_mut().insert(transfer.start(slot));
        Ok(response)
    }

    type ReadMidstatesStream = Answer<ReadMidstatesResponse>;

    async fn read_midstates(
        &self,
        request: Request<ReadMidstatesRequest>,
    ) -> Result<Response<Self::ReadMidstatesStream>, Status> {
        let caller = self.caller(request.extensions())?;
        let pages = request.extensions().get::<PageBudget>().cloned();
        let wanted = midstates::Wanted::try_from(request.into_inner())?;
        let slot = self.slot(&caller)?;
        tracing::info!(%caller, content = %wanted.content, "reads midstates");
        let lists = midstates::find(&self.store, wanted, caller.audience()).await?;
        Ok(Response::new(midstates::send(
            &self.store,
            lists,
            pages,
            slot,
        )))
    }

    type WatchPiecesStream = Watched<WatchPiecesResponse>;

    async fn watch_pieces(
        &self,
        request: Request<WatchPiecesRequest>,
    ) -> Result<Response<Self::WatchPiecesStream>, Status> {
        let caller = self.caller(request.extensions())?;
        let content = content_id("content_id", &request.get_ref().content_id).map_err(malformed)?;
        let slot = self
            .store
            .watches
            .take(caller.taker())
            .ok_or_else(status::too_many_transfers)?;
        tracing::info!(%caller, %content, "watches pieces");
        let source = self.store.open(&content, caller.audience()).await?;
        let watch = PiecesWatch {
            content,
            audience: caller.audience(),
            door: self.door,
        };
        Ok(Response::new(watch::pieces(
            &self.store,
            source,
            watch,
            slot,
        )))
    }

    type WatchArrivalStream = Watched<WatchArrivalResponse>;

    async fn watch_arrival(
        &self,
        request: Request<WatchArrivalRequest>,
    ) -> Result<Response<Self::WatchArrivalStream>, Status> {
        let caller = self.caller(request.extensions())?;
        let ids = content_ids("content_ids", &request.get_ref().content_ids, MAX_SPELLINGS)
            .map_err(malformed)?;
        let slot = self
            .store
            .watches
            .take(caller.taker())
            .ok_or_else(status::too_many_transfers)?;
        tracing::debug!(%caller, content = %ids[0], "asks whether it is on its way");
        Ok(Response::new(arrivals::tell(
            &self.store,
            &ids,
            self.door,
            slot,
        )))
    }

    async fn list_public(
        &self,
        request: Request<ListPublicRequest>,
    ) -> Result<Response<ListPublicResponse>, Status> {
        let caller = self.caller(request.extensions())?;
        self.store.facts.listing.admit(&caller)?;
        let _slot = self.slot(&caller)?;
        tracing::debug!(%caller, "asks what is shared");
        let listed = self
            .store
            .on_disk("list", |store| public::list(store, public::MAX_LISTED));
        Ok(Response::new(listed.await?))
    }

    type ReadFeedStream = Answer<ReadFeedResponse>;

    async fn read_feed(
        &self,
        request: Request<ReadFeedRequest>,
    ) -> Result<Response<Self::ReadFeedStream>, Status> {
        let caller = self.caller(request.extensions())?;
        let pages = request.extensions().get::<PageBudget>().cloned();
        let url = feed_url("feed_url", &request.get_ref().feed_url).map_err(malformed)?;
        let slot = self.slot(&caller)?;
        tracing::info!(%caller, %url, "reads feed");
        let wanted = url.clone();
        let found = self
            .store
            .on_disk("read a feed", move |store| store.feeds.read(&wanted));
        let signed = found.await?.ok_or_else(|| status::not_found(&url.mark()))?;
        Ok(Response::new(feeds::send(&self.store, signed, pages, slot)))
    }
}

/// A stream whose type nobody wants to spell.
pub(crate) type Boxed<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
pub(crate) fn malformed(error: zeroshare_wire::FieldError) -> Status {
    errors::malformed_field(&error)
}

#[cfg(test)]
mod tests;
