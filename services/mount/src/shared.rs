//! What the file system and its tasks share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use zeroshare_api::clients;
use zeroshare_api::connect::TracedChannel;
use zeroshare_api::rpc::discovery::v1::discovery_service_client::DiscoveryServiceClient;
use zeroshare_api::rpc::fetcher::v1::fetcher_service_client::FetcherServiceClient;
use zeroshare_api::rpc::store::v1::local_store_service_client::LocalStoreServiceClient;
use zeroshare_chassis::Lifetime;
use zeroshare_content::TreeId;

use crate::answers::Answers;
use crate::arrival::Course;
use crate::by_name::{Feeds, Nodes};
use crate::handles::Handles;
use crate::held::Held;
use crate::hold::Holds;
use crate::neighbours::Neighbours;
use crate::patience::Patience;
use crate::questions::Asked;
use crate::settings::{Backing, MountConfig};
use crate::table::Table;

/// What the file system and its tasks share. No lock is held while anything is waited for, nor two at once.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: MountConfig,
    pub(crate) lifetime: Lifetime,
    /// By which the fetcher knows who wants a tree.
    pub(crate) client: String,
    /// What cached feeds say.
    pub(crate) feeds: Feeds,
    runtime: Handle,
    backing: Backing,
    patience: Mutex<Patience>,
    answers: Mutex<Answers>,
    table: Mutex<Table>,
    held: Mutex<Held>,
    handles: Mutex<Handles>,
    neighbours: Mutex<Neighbours>,
    nodes: Mutex<Nodes>,
    asked: Mutex<BTreeMap<TreeId, Asked>>,
    holds: Mutex<Holds>,
    courses: Mutex<BTreeMap<TreeId, Weak<Course>>>,
}

impl Shared {
    /// Must be called inside a tokio runtime, on which its tasks run.
    pub(crate) fn new(config: MountConfig, backing: Backing, lifetime: Lifetime) -> Self {
        Self {
            feeds: Feeds::new(config.feed_caches.clone()),
            holds: Mutex::new(Holds::new(config.hold)),
            config,
            lifetime,
            client: format!("mount-{}", std::process::id()),
            runtime: Handle::current(),
            backing,
            patience: Mutex::default(),
            answers: Mutex::default(),
            table: Mutex::default(),
            held: Mutex::default(),
            handles: Mutex::default(),
            neighbours: Mutex::default(),
            nodes: Mutex::default(),
            asked: Mutex::default(),
            courses: Mutex::default(),
        }
    }

    /// Runs a task, from whatever thread.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let _inside = self.runtime.enter();
        drop(self.lifetime.spawn(name, task));
    }

    pub(crate) fn fetcher(&self) -> FetcherServiceClient<TracedChannel> {
        clients::fetcher(self.backing.fetcher.clone())
    }

    pub(crate) fn store(&self) -> LocalStoreServiceClient<TracedChannel> {
        clients::local_store(self.backing.store.clone())
    }

    pub(crate) fn discovery(&self) -> DiscoveryServiceClient<TracedChannel> {
        clients::discovery(self.backing.discovery.clone())
    }

    pub(crate) fn patience(&self) -> MutexGuard<'_, Patience> {
        lock(&self.patience)
    }

    pub(crate) fn answers(&self) -> MutexGuard<'_, Answers> {
        lock(&self.answers)
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    pub(crate) fn handles(&self) -> MutexGuard<'_, Handles> {
        lock(&self.handles)
    }

    pub(crate) fn neighbours(&self) -> MutexGuard<'_, Neighbours> {
        lock(&self.neighbours)
    }

    pub(crate) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        lock(&self.nodes)
    }

    pub(crate) fn holds(&self) -> MutexGuard<'_, Holds> {
        lock(&self.holds)
    }

    pub(crate) fn courses(&self) -> MutexGuard<'_, BTreeMap<TreeId, Weak<Course>>> {
        lock(&self.courses)
    }

    pub(crate) fn asked(&self) -> MutexGuard<'_, BTreeMap<TreeId, Asked>> {
        lock(&self.asked)
    }
}

/// Locks what no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
