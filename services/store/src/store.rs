//! What all calls share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tonic::Status;
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::networks::ReadableNetworks;
use zeroshare_chassis::rate::Throttle;
use zeroshare_content::ContentId;
use zeroshare_shelf::{Audience, OpenError, PieceSource, Shelf};

use crate::access::Listing;
use crate::arrivals::Arrivals;
use crate::feeds::Feeds;
use crate::offers::{Offer, Offers};
use crate::pause::Pause;
use crate::slots::Slots;
use crate::status;
use crate::transfer::{LeastSent, Lines, PagePool};

/// Calls of this machine's own services at once: as many as it has fetches, and some for people.
pub(crate) const MAX_LOCAL_TRANSFERS: usize = 256;
pub(crate) const MAX_LOCAL_TRANSFERS_PER_USER: usize = 64;

/// Askers for hashing at once, and of one user: each keeps a disk busy for as long as it takes.
pub(crate) const MAX_VERIFIES: usize = 2;
pub(crate) const MAX_VERIFIES_PER_USER: usize = 1;

/// Watchers of pieces at once, and of one peer: each costs a task, and no thread.
pub(crate) const MAX_WATCHES: usize = 256;
pub(crate) const MAX_WATCHES_PER_PEER: usize = 16;

/// The store, as its services see it.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) shelf: Shelf,
    pub(crate) offers: Offers,
    pub(crate) arrivals: Arrivals,
    pub(crate) feeds: Feeds,
    pub(crate) networks: Arc<ReadableNetworks>,
    /// Reads by peers.
    pub(crate) transfers: Slots,
    /// Reads by this machine.
    pub(crate) local_transfers: Slots,
    /// Hashing that somebody asked for.
    pub(crate) verifies: Slots,
    pub(crate) watches: Slots,
    pub(crate) least_sent: LeastSent,
    /// What answers are put together in.
    pub(crate) pages: Arc<PagePool>,
    pub(crate) lines: Arc<Lines>,
    /// Whether peers are served now.
    pub(crate) pause: Pause,
    /// The limit of all that peers are sent.
    pub(crate) uploads: Throttle,
    /// What changed, whole or in part.
    pub(crate) changes: broadcast::Sender<ContentId>,
    /// Rung when something waits to be hashed.
    pub(crate) work: Arc<Notify>,
    pub(crate) lifetime: Lifetime,
    pub(crate) facts: Facts,
    sent_bytes: AtomicU64,
}

/// What does not change while the store runs.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) lan_addresses: Vec<String>,
    pub(crate) readers: Vec<String>,
    pub(crate) restriction: String,
    pub(crate) listing: Listing,
    /// How long a reader may take for one part of an answer.
    pub(crate) part_deadline: Duration,
}

/// Something whose pieces can be read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// All of something verified.
    Whole(Arc<PieceSource>),
    /// What is there of something that is still being fetched.
    Part(Arc<Offer>),
}

impl Source {
    pub(crate) fn pieces(&self) -> &PieceSource {
        match self {
            Self::Whole(source) => source,
            Self::Part(offer) => offer.source(),
        }
    }
}

/// What a store is made of.
pub(crate) struct Parts {
    pub(crate) shelf: Shelf,
    pub(crate) feeds: Feeds,
    pub(crate) networks: Arc<ReadableNetworks>,
    pub(crate) transfers: Slots,
    pub(crate) uploads: Throttle,
    pub(crate) changes: broadcast::Sender<ContentId>,
    pub(crate) work: Arc<Notify>,
    pub(crate) lifetime: Lifetime,
    pub(crate) facts: Facts,
}

impl Store {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            offers: Offers::new(parts.changes.clone(), Arc::clone(&parts.work)),
            arrivals: Arrivals::default(),
            shelf: parts.shelf,
            feeds: parts.feeds,
            networks: parts.networks,
            transfers: parts.transfers,
            local_transfers: Slots::new(MAX_LOCAL_TRANSFERS, MAX_LOCAL_TRANSFERS_PER_USER),
            verifies: Slots::new(MAX_VERIFIES, MAX_VERIFIES_PER_USER),
            watches: Slots::new(MAX_WATCHES, MAX_WATCHES_PER_PEER),
            least_sent: LeastSent::default(),
            pages: Arc::default(),
            lines: Arc::default(),
            pause: Pause::default(),
            uploads: parts.uploads,
            changes: parts.changes,
            work: parts.work,
            lifetime: parts.lifetime,
            facts: parts.facts,
            sent_bytes: AtomicU64::new(0),
        }
    }

    /// Does something that may wait for the disk, on a thread for that.
    pub(crate) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(self);
        let span = tracing::Span::current();
        let done = self
            .lifetime
            .spawn_blocking(name, move || span.in_scope(|| work(&store)));
        done.await.map_err(|_| status::shutting_down())
    }

    /// Opens content for reading: the whole where there is one, else what is there of it.
    pub(crate) async fn open(
        self: &Arc<Self>,
        id: &ContentId,
        audience: Audience,
    ) -> Result<Source, Status> {
        let content = *id;
        match self
            .on_disk("open content", move |store| {
                store.shelf.open(content, audience)
            })
            .await?
        {
            Ok(source) => Ok(Source::Whole(source)),
            Err(error @ OpenError::NotHeld { .. }) => match self.offers.find(id, audience) {
                Some(offer) => Ok(Source::Part(offer)),
                None => Err(status::open_status(id, &error)),
            },
            Err(error) => {
                let why = zeroshare_chassis::process::chain(&error);
                tracing::warn!(content = %id, error = why, "cannot open content");
                Err(status::open_status(id, &error))
            }
        }
    }

    pub(crate) fn count_sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}
