//! What all calls and fetches of one fetcher share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use zeroshare_api::clients;
use zeroshare_api::connect::{TracedChannel, local_channel};
use zeroshare_api::rpc::discovery::v1::discovery_service_client::DiscoveryServiceClient;
use zeroshare_api::rpc::store::v1::local_store_service_client::LocalStoreServiceClient;
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::rate::Throttle;

use crate::fetch::{Convictions, MAX_WANTS};
use crate::handing::Handing;
use crate::registry::Registry;
use crate::settings::FetcherConfig;

/// Manifests beyond a megabyte that are read into memory at once.
const LARGE_MANIFESTS: usize = 2;

/// Parts of one `AddContent` and of one `ReadManifest` are bounded; so is how many of them run.
const CONCURRENT_CALLS: usize = 16;

/// Each costs a few megabytes: with more calls the memory counts, and there is enough to do for all threads.
const LARGE_BATCHES: usize = 3;

/// Things that nobody has, of which it is followed who gets them.
const FOLLOWED_ARRIVALS: usize = 32;

/// What all calls and fetches of one fetcher share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: FetcherConfig,
    pub(crate) registry: Registry,
    pub(crate) lifetime: Lifetime,
    discovery: TracedChannel,
    store: TracedChannel,
    /// Fetches that move bytes.
    pub(crate) transfers: Semaphore,
    /// Manifests that are large.
    pub(crate) manifests: Semaphore,
    /// Calls that stream content from or to callers.
    pub(crate) calls: Arc<Semaphore>,
    /// Calls that follow who else gets something.
    pub(crate) arrivals: Arc<Semaphore>,
    /// Calls that wait for bytes of a fetch.
    pub(crate) ranges: Arc<Semaphore>,
    /// Who was convicted lately.
    pub(crate) convictions: Convictions,
    /// Trees of which the store is being told.
    pub(crate) handing: Handing,
    /// The limit of all that peers and upstreams send.
    pub(crate) downloads: Arc<Throttle>,
    /// Threads that hash and write.
    pub(crate) writers: Arc<Semaphore>,
    /// Calls that may collect much before a thread hashes it.
    pub(crate) large_batches: Arc<Semaphore>,
}

impl Shared {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(config: FetcherConfig, lifetime: Lifetime) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            registry: Registry::default(),
            lifetime,
            discovery: local_channel(&config.discovery),
            store: local_channel(&config.store),
            transfers: Semaphore::new(config.concurrent_fetches),
            manifests: Semaphore::new(LARGE_MANIFESTS),
            calls: Arc::new(Semaphore::new(CONCURRENT_CALLS)),
            arrivals: Arc::new(Semaphore::new(FOLLOWED_ARRIVALS)),
            ranges: Arc::new(Semaphore::new(MAX_WANTS)),
            convictions: Convictions::default(),
            handing: Handing::default(),
            downloads: Arc::new(Throttle::new(config.download_limit)),
            // One more than cores, so that one may wait for the disk.
            writers: Arc::new(Semaphore::new(cores + 1)),
            large_batches: Arc::new(Semaphore::new(LARGE_BATCHES)),
            config,
        }
    }

    pub(crate) fn discovery(&self) -> DiscoveryServiceClient<TracedChannel> {
        clients::discovery(self.discovery.clone())
    }

    pub(crate) fn store(&self) -> LocalStoreServiceClient<TracedChannel> {
        clients::local_store(self.store.clone())
    }
}
