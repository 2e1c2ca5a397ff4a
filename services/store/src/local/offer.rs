//! Taking offers of what is still being fetched.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use zeroshare_api::errors;
use zeroshare_content::ContentId;
use zeroshare_shelf::PieceSource;
use zeroshare_wire::convert::content_id;
use zeroshare_wire::pb::store::v1::{OfferPartialRequest, OfferPartialResponse};

use super::refused;
use crate::offers::Offer;
use crate::peers::malformed;
use crate::status;
use crate::store::Store;

/// Accepted, and ended.
const ANSWERS: usize = 2;

/// Reads the first message and offers what it names until the stream ends.
pub(super) async fn start(
    store: &Arc<Store>,
    mut stream: Streaming<OfferPartialRequest>,
) -> Result<ReceiverStream<Result<OfferPartialResponse, Status>>, Status> {
    let Some(first) = stream.message().await? else {
        return Err(refused("content_id", "missing"));
    };
    let offer = Arc::new(open(store, &first).await?);
    offer.take_in(first)?;
    if !store.offers.begin(Arc::clone(&offer)) {
        return Err(status::too_many_transfers());
    }
    tracing::debug!(content = %offer.id(), "partial offer begins");
    let (answers, answered) = mpsc::channel(ANSWERS);
    // Ended however the task ends.
    let ending = Ending {
        store: Arc::clone(store),
        offer,
    };
    let stopping = store.lifetime.stopping();
    store.lifetime.spawn("partial offer", async move {
        // There is room for both answers.
        let _accepted = answers.try_send(Ok(OfferPartialResponse {}));
        let end = tokio::select! {
            end = follow(&ending, stream) => end,
            () = stopping => Err(status::shutting_down()),
        };
        drop(ending);
        let _ended = answers.try_send(end.map(|()| OfferPartialResponse {}));
    });
    Ok(ReceiverStream::new(answered))
}

async fn follow(ending: &Ending, mut stream: Streaming<OfferPartialRequest>) -> Result<(), Status> {
    while let Some(message) = stream.message().await? {
        ending.offer.take_in(message)?;
        ending.store.offers.changed(ending.offer.id());
    }
    Ok(())
}

/// Opens the staging directory, which must lie directly in a store that is read; that of a blob, beside its place.
async fn open(store: &Arc<Store>, first: &OfferPartialRequest) -> Result<Offer, Status> {
    let content = content_id("content_id", &first.content_id).map_err(malformed)?;
    let root = PathBuf::from(&first.store_root);
    let name = OsString::from(&first.staging_name);
    let roots = store.shelf.roots().iter();
    let is_in_shared = roots
        .into_iter()
        .any(|known| known.path == root && known.shared);
    // Whole blobs are offered wherever they lie, and so are those to come.
    let is_shared = is_in_shared || content.blob().is_some();
    let size = first.content_size_bytes;
    let source = store
        .on_disk("open staged content", move |store| match content {
            ContentId::Tree(tree) => store.shelf.open_staged(&root, &name, &tree),
            ContentId::Blob(blob) => PieceSource::open_staged_blob(&root, &name, (blob, size)),
        })
        .await?
        .map_err(|error| status::open_status(&content, &error))?;
    let size = source.layout().content_size();
    if first.content_size_bytes != size {
        return Err(errors::malformed(
            "content_size_bytes",
            format!("the manifest says {size}"),
        ));
    }
    Ok(Offer::new(is_shared, source))
}

struct Ending {
    store: Arc<Store>,
    offer: Arc<Offer>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.store.offers.end(&self.offer);
        tracing::debug!(content = %self.offer.id(), "partial offer ended");
    }
}
