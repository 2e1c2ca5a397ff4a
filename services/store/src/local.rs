//! `LocalStoreService`: what this machine's own services and people ask.

mod commit;
mod offer;
mod share;
mod verify;

use std::sync::Arc;

use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};
use zeroshare_api::errors;
use zeroshare_api::rpc::store::v1::local_store_service_server::LocalStoreService;
use zeroshare_content::ContentId;
use zeroshare_shelf::{Audience, Beginning, FoundFile};
use zeroshare_wire::convert::{
    blob_ids, content_id, from_system_time, optional_duration, to_stamp,
};
use zeroshare_wire::pb::store::v1::{
    AnnounceArrivalRequest, AnnounceArrivalResponse, CommitContentRequest, CommitContentResponse,
    DescribeStoreRequest, DescribeStoreResponse, FindBeginningsRequest, FindBeginningsResponse,
    FindFilesRequest, FindFilesResponse, ListContentRequest, ListContentResponse,
    OfferPartialRequest, OfferPartialResponse, PauseSharingRequest, PauseSharingResponse,
    ShareFilesRequest, ShareFilesResponse, StoreRoot, UnshareFilesRequest, UnshareFilesResponse,
    VerifyContentRequest, VerifyContentResponse, WatchContentRequest, WatchContentResponse,
};

use crate::access::Caller;
use crate::answer::Answer;
use crate::arrivals;
use crate::pause::MAX_PAUSE;
use crate::peers::{Boxed, malformed};
use crate::status;
use crate::store::Store;
use crate::watch::{self, Watched};

/// Contents on one page.
const PAGE: usize = 1000;

/// Blobs in one question.
const MAX_BLOBS: usize = 10_000;

/// The service on local sockets.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    store: Arc<Store>,
}

impl Local {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Answers each question in its turn, and gives its answers one by one.
    fn answer_each<Q, A, F>(
        &self,
        request: Request<Streaming<Q>>,
        answer: impl Fn(Arc<Store>, Result<Q, Status>, Audience) -> F + Send + 'static,
    ) -> Result<Response<Boxed<A>>, Status>
    where
        Q: Send + 'static,
        A: Send + 'static,
        F: Future<Output = Result<Vec<A>, Status>> + Send + 'static,
    {
        let caller = Caller::of_local(request.extensions())?;
        let slot = self
            .store
            .local_transfers
            .take(caller.taker())
            .ok_or_else(status::too_many_transfers)?;
        let store = Arc::clone(&self.store);
        let answers = request.into_inner().then(move |question| {
            // Kept as long as there may be questions.
            let _slot = &slot;
            answer(Arc::clone(&store), question, caller.audience())
        });
        Ok(Response::new(Box::pin(flat(answers))))
    }
}

#[tonic::async_trait]
impl LocalStoreService for Local {
    async fn describe_store(
        &self,
        request: Request<DescribeStoreRequest>,
    ) -> Result<Response<DescribeStoreResponse>, Status> {
        let audience = Caller::of_local(request.extensions())?.audience();
        let counts = self.store.shelf.counts().into_iter();
        let roots = counts
            .filter(|count| audience == Audience::Local || count.shared)
            .map(|count| StoreRoot {
                path: count.path.to_string_lossy().into_owned(),
                shared: count.shared,
                held_trees: count.held_trees,
                quarantined_trees: count.quarantined_trees,
            });
        let facts = &self.store.facts;
        Ok(Response::new(DescribeStoreResponse {
            roots: roots.collect(),
            lan_addresses: facts.lan_addresses.clone(),
            readers: facts.readers.clone(),
            active_transfers: u32::try_from(self.store.transfers.count()).unwrap_or(u32::MAX),
            sent_bytes: self.store.sent_bytes(),
            restriction: facts.restriction.clone(),
            resume_time: self.store.pause.resume_time().map(from_system_time),
            upload_limit_bytes: self.store.uploads.bytes_per_second().unwrap_or(0),
            shared_files: u32::try_from(self.store.shelf.shared_files()).unwrap_or(u32::MAX),
        }))
    }

    async fn list_content(
        &self,
        request: Request<ListContentRequest>,
    ) -> Result<Response<ListContentResponse>, Status> {
        let audience = Caller::of_local(request.extensions())?.audience();
        let token = &request.get_ref().page_token;
        let after = if token.is_empty() {
            None
        } else {
            Some(content_id("page_token", token).map_err(malformed)?)
        };
        let ids = page(&self.store, after.as_ref(), audience);
        let next_page_token = match ids.last() {
            Some(last) if ids.len() == PAGE => last.to_string(),
            Some(_) | None => String::new(),
        };
        let contents = ids
            .iter()
            .filter_map(|id| watch::held(&self.store, id, audience))
            .collect();
        Ok(Response::new(ListContentResponse {
            contents,
            next_page_token,
        }))
    }

    type WatchContentStream = Watched<WatchContentResponse>;

    async fn watch_content(
        &self,
        request: Request<WatchContentRequest>,
    ) -> Result<Response<Self::WatchContentStream>, Status> {
        let caller = Caller::of_local(request.extensions())?;
        tracing::debug!(%caller, "watches content");
        Ok(Response::new(watch::contents(
            &self.store,
            caller.audience(),
        )))
    }

    type VerifyContentStream = Answer<VerifyContentResponse>;

    async fn verify_content(
        &self,
        request: Request<VerifyContentRequest>,
    ) -> Result<Response<Self::VerifyContentStream>, Status> {
        let caller = Caller::of_local(request.extensions())?;
        let slot = self
            .store
            .verifies
            .take(caller.taker())
            .ok_or_else(status::too_many_transfers)?;
        let audience = caller.audience();
        let ids = verify::wanted(&self.store, &request.get_ref().content_ids, audience)?;
        tracing::info!(%caller, ids = ids.len(), "asks to verify");
        Ok(Response::new(verify::start(
            &self.store,
            ids,
            audience,
            slot,
        )))
    }

    type FindFilesStream = Boxed<FindFilesResponse>;

    async fn find_files(
        &self,
        request: Request<Streaming<FindFilesRequest>>,
    ) -> Result<Response<Self::FindFilesStream>, Status> {
        self.answer_each(request, find)
    }

    type FindBeginningsStream = Boxed<FindBeginningsResponse>;

    async fn find_beginnings(
        &self,
        request: Request<Streaming<FindBeginningsRequest>>,
    ) -> Result<Response<Self::FindBeginningsStream>, Status> {
        self.answer_each(request, find_beginning)
    }

    type OfferPartialStream = Boxed<OfferPartialResponse>;

    async fn offer_partial(
        &self,
        request: Request<Streaming<OfferPartialRequest>>,
    ) -> Result<Response<Self::OfferPartialStream>, Status> {
        Caller::of_local(request.extensions())?.owner()?;
        let stream = offer::start(&self.store, request.into_inner()).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn announce_arrival(
        &self,
        request: Request<Streaming<AnnounceArrivalRequest>>,
    ) -> Result<Response<AnnounceArrivalResponse>, Status> {
        Caller::of_local(request.extensions())?.owner()?;
        arrivals::announce(&self.store, request.into_inner()).await?;
        Ok(Response::new(AnnounceArrivalResponse {}))
    }

    async fn commit_content(
        &self,
        request: Request<Streaming<CommitContentRequest>>,
    ) -> Result<Response<CommitContentResponse>, Status> {
        let caller = Caller::of_local(request.extensions())?;
        caller.owner()?;
        let committed = commit::read(request.into_inner()).await?;
        let id = committed.id;
        tracing::info!(%caller, content = %id, path = %committed.path.display(), "content committed");
        self.store
            .on_disk("commit", move |store| store.shelf.commit(committed))
            .await?
            .map_err(|error| status::commit_status(&error))?;
        self.store.offers.changed(&id);
        Ok(Response::new(CommitContentResponse {}))
    }

    async fn pause_sharing(
        &self,
        request: Request<PauseSharingRequest>,
    ) -> Result<Response<PauseSharingResponse>, Status> {
        let caller = Caller::of_local(request.extensions())?;
        caller.owner()?;
        let duration = request.get_ref().duration.as_ref();
        let duration = optional_duration("duration", duration, MAX_PAUSE).map_err(malformed)?;
        let duration = duration.unwrap_or_default();
        tracing::info!(%caller, ?duration, "pauses sharing");
        self.store.pause.set(duration);
        Ok(Response::new(PauseSharingResponse {
            resume_time: self.store.pause.resume_time().map(from_system_time),
        }))
    }

    type ShareFilesStream = Answer<ShareFilesResponse>;

    async fn share_files(
        &self,
        request: Request<ShareFilesRequest>,
    ) -> Result<Response<Self::ShareFilesStream>, Status> {
        let caller = Caller::of_local(request.extensions())?;
        caller.owner()?;
        let slot = self
            .store
            .verifies
            .take(caller.taker())
            .ok_or_else(status::too_many_transfers)?;
        let paths = request.into_inner().paths;
        tracing::info!(%caller, files = paths.len(), "asks to share");
        Ok(Response::new(share::start(&self.store, paths, slot)?))
    }

    async fn unshare_files(
        &self,
        request: Request<UnshareFilesRequest>,
    ) -> Result<Response<UnshareFilesResponse>, Status> {
        let caller = Caller::of_local(request.extensions())?;
        caller.owner()?;
        let unshared = share::unshare(&self.store, request.into_inner()).await?;
        tracing::info!(%caller, files = unshared.files.len(), "files are not shared any more");
        Ok(Response::new(unshared))
    }
}

/// The next ids held, whole or in part, in order.
fn page(store: &Store, after: Option<&ContentId>, audience: Audience) -> Vec<ContentId> {
    let whole = store.shelf.holdings(after, PAGE, audience);
    let parts = store
        .offers
        .ids(audience)
        .into_iter()
        .filter(|id| after.is_none_or(|after| id > after));
    let mut ids: Vec<ContentId> = whole
        .into_iter()
        .map(|holding| holding.id)
        .chain(parts)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(PAGE);
    ids
}

async fn find(
    store: Arc<Store>,
    request: Result<FindFilesRequest, Status>,
    audience: Audience,
) -> Result<Vec<FindFilesResponse>, Status> {
    let blobs = blob_ids("blob_ids", &request?.blob_ids, MAX_BLOBS).map_err(malformed)?;
    let found = store
        .on_disk("find files", move |store| {
            store.shelf.find_files(&blobs, audience)
        })
        .await?;
    let found = found.map_err(|error| status::index_status(&error))?;
    Ok(found.iter().filter_map(found_file).collect())
}

async fn find_beginning(
    store: Arc<Store>,
    request: Result<FindBeginningsRequest, Status>,
    audience: Audience,
) -> Result<Vec<FindBeginningsResponse>, Status> {
    let FindBeginningsRequest { file, midstates } = request?;
    let found = store
        .on_disk("find beginnings", move |store| {
            store.shelf.find_beginning(&midstates, audience)
        })
        .await?;
    let found = found.map_err(|error| status::index_status(&error))?;
    let response = found.and_then(|Beginning { path, grains }| {
        let path = path.to_str()?.to_owned();
        Some(FindBeginningsResponse { file, path, grains })
    });
    Ok(response.into_iter().collect())
}

/// Paths that are not UTF-8 cannot be said, and are left out: the file is fetched instead.
fn found_file(file: &FoundFile) -> Option<FindFilesResponse> {
    Some(FindFilesResponse {
        blob_id: file.blob.to_string(),
        path: file.path.to_str()?.to_owned(),
        executable: file.executable,
        modify_time: Some(to_stamp(file.mtime.seconds, file.mtime.nanoseconds)),
    })
}

/// Gives the items of each list; ends behind the first error.
fn flat<T: Send + 'static>(
    lists: impl tokio_stream::Stream<Item = Result<Vec<T>, Status>> + Send + 'static,
) -> impl tokio_stream::Stream<Item = Result<T, Status>> + Send + 'static {
    Flat {
        lists: Box::pin(lists),
        items: Vec::new().into_iter(),
        is_over: false,
    }
}

struct Flat<T> {
    lists: Boxed<Vec<T>>,
    items: std::vec::IntoIter<T>,
    is_over: bool,
}

impl<T> Unpin for Flat<T> {}

impl<T> tokio_stream::Stream for Flat<T> {
    type Item = Result<T, Status>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        use std::task::Poll;
        loop {
            if let Some(item) = self.items.next() {
                return Poll::Ready(Some(Ok(item)));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            match std::task::ready!(self.lists.as_mut().poll_next(context)) {
                Some(Ok(items)) => self.items = items.into_iter(),
                Some(Err(status)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(status)));
                }
                None => self.is_over = true,
            }
        }
    }
}

/// A field of a message that its reader cannot make sense of.
fn refused(field: &'static str, why: &str) -> Status {
    errors::malformed(field, why)
}

#[cfg(test)]
mod tests;
