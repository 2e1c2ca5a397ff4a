//! The fetches that run, and those that ended lately.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroshare_content::TreeId;
use zeroshare_wire::convert::from_system_time;
use zeroshare_wire::pb::fetcher::v1::Fetch;

use crate::fetch::{FetchFailure, Progress, Stage, View};
use crate::request::Order;

/// Fetches that are known at once, as `ListFetches` promises.
const MAX_FETCHES: usize = 1000;

/// One fetch, named by what it fetches and where to.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) ids: Vec<TreeId>,
    pub(crate) into: Option<PathBuf>,
    start_time: SystemTime,
    clients: Mutex<BTreeSet<String>>,
    /// Asks the fetch to stop.
    pub(crate) cancel: CancellationToken,
    view: watch::Sender<View>,
    end: Mutex<Option<Instant>>,
}

/// All fetches by the order of their start.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    fetches: Mutex<Fetches>,
}

#[derive(Debug, Default)]
struct Fetches {
    by_number: BTreeMap<u64, Arc<Entry>>,
    next: u64,
}

/// Why a fetch was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_FETCHES} fetches are running already")]
pub(crate) struct TooManyFetches;

/// What became of a wish to fetch.
#[derive(Debug)]
pub(crate) enum Started {
    New(Arc<Entry>),
    Joined(Arc<Entry>),
}

impl Registry {
    /// Joins the running fetch of the same name, or makes a new one.
    pub(crate) fn start(
        &self,
        order: &Order,
        remember: Duration,
    ) -> Result<Started, TooManyFetches> {
        let mut fetches = lock(&self.fetches);
        fetches.forget(remember);
        let running = fetches.find(&order.ids, order.into.as_deref());
        if let Some(running) = running.filter(|entry| entry.join(&order.client)) {
            return Ok(Started::Joined(running));
        }
        fetches.make_room()?;
        let entry = Arc::new(Entry::new(order));
        let number = fetches.next;
        fetches.next += 1;
        fetches.by_number.insert(number, entry.clone());
        Ok(Started::New(entry))
    }

    /// Finds the newest fetch of this name.
    pub(crate) fn find(&self, id: TreeId, into: Option<&Path>) -> Option<Arc<Entry>> {
        lock(&self.fetches).find(&[id], into)
    }

    /// Lists all, the newest first.
    pub(crate) fn list(&self, remember: Duration) -> Vec<Arc<Entry>> {
        let mut fetches = lock(&self.fetches);
        fetches.forget(remember);
        fetches
            .by_number
            .values()
            .rev()
            .take(MAX_FETCHES)
            .cloned()
            .collect()
    }
}

impl Fetches {
    fn find(&self, ids: &[TreeId], into: Option<&Path>) -> Option<Arc<Entry>> {
        let is_same = |entry: &&Arc<Entry>| {
            entry.into.as_deref() == into && entry.ids.iter().any(|id| ids.contains(id))
        };
        self.by_number.values().rev().find(is_same).cloned()
    }

    fn forget(&mut self, remember: Duration) {
        let now = Instant::now();
        self.by_number.retain(|_, entry| match entry.end() {
            Some(end) => now.saturating_duration_since(end) < remember,
            None => true,
        });
    }

    fn make_room(&mut self) -> Result<(), TooManyFetches> {
        if self.by_number.len() < MAX_FETCHES {
            return Ok(());
        }
        let ended = self
            .by_number
            .iter()
            .find(|(_, entry)| entry.end().is_some());
        let number = *ended.ok_or(TooManyFetches)?.0;
        self.by_number.remove(&number);
        Ok(())
    }
}

impl Entry {
    fn new(order: &Order) -> Self {
        let (view, _) = watch::channel(View {
            id: order.ids[0],
            stage: Stage::Locating,
            progress: Progress::default(),
            looked_locally: false,
        });
        Self {
            ids: order.ids.clone(),
            into: order.into.clone(),
            start_time: SystemTime::now(),
            clients: Mutex::new(BTreeSet::from([order.client.clone()])),
            cancel: CancellationToken::new(),
            view,
            end: Mutex::new(None),
        }
    }

    /// Takes note of a further caller, unless it is too late for that.
    fn join(&self, client: &str) -> bool {
        let mut clients = lock(&self.clients);
        if self.cancel.is_cancelled() || self.view.borrow().stage.is_over() {
            return false;
        }
        clients.insert(client.to_owned());
        true
    }

    /// Drops the interest of a caller, or of all when it has no name; the last one stops the fetch.
    pub(crate) fn leave(&self, client: &str) {
        let mut clients = lock(&self.clients);
        if client.is_empty() {
            clients.clear();
        } else {
            clients.remove(client);
        }
        if clients.is_empty() {
            self.cancel.cancel();
        }
    }

    /// Follows what happens.
    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// Tells everybody who watches.
    pub(crate) fn update(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(change);
    }

    /// Ends it.
    pub(crate) fn finish(&self, result: Result<PathBuf, FetchFailure>) {
        *lock(&self.end) = Some(Instant::now());
        let stage = match result {
            Ok(path) => Stage::Succeeded(path),
            Err(failure) => Stage::Failed(failure),
        };
        self.view.send_modify(|view| view.stage = stage);
    }

    fn end(&self) -> Option<Instant> {
        *lock(&self.end)
    }

    /// As it is now.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// As it is told to callers.
    pub(crate) fn to_wire(&self, view: &View) -> Fetch {
        let clients = u32::try_from(lock(&self.clients).len()).unwrap_or(u32::MAX);
        let (failure_reason, failure_message) = match &view.stage {
            Stage::Failed(failure) => (failure.reason().into(), failure.to_string()),
            Stage::Locating | Stage::Transferring | Stage::Committing | Stage::Succeeded(_) => {
                (0, String::new())
            }
        };
        Fetch {
            content_id: view.id.to_string(),
            state: view.stage.state().into(),
            start_time: Some(from_system_time(self.start_time)),
            progress: Some((&view.progress).into()),
            failure_reason,
            failure_message,
            path: match &view.stage {
                Stage::Succeeded(path) => path.display().to_string(),
                Stage::Locating | Stage::Transferring | Stage::Committing | Stage::Failed(_) => {
                    String::new()
                }
            },
            into_path: self
                .into
                .as_ref()
                .map_or(String::new(), |path| path.display().to_string()),
            clients,
        }
    }
}

/// Locks what no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
