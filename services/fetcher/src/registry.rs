//! The fetches that run, and those that ended lately.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_content::ContentId;
use zeroshare_wire::convert::from_system_time;
use zeroshare_wire::pb::fetcher::v1::Fetch;

use crate::fetch::{Accused, FetchFailure, Progress, Stage, View, Wants};
use crate::request::{Caller, Order};
use crate::upstream::UpstreamUrl;

/// Fetches that are known at once, as `ListFetches` promises.
const MAX_FETCHES: usize = 1000;

/// Callers of one fetch.
const MAX_CLIENTS: usize = 256;

/// One fetch, named by what it fetches and where to.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) ids: Vec<ContentId>,
    pub(crate) into: Option<PathBuf>,
    terms: Terms,
    start_time: SystemTime,
    clients: Mutex<BTreeSet<(Caller, String)>>,
    /// Asks the fetch to stop.
    pub(crate) cancel: CancellationToken,
    /// What callers wait for.
    pub(crate) wants: Wants,
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

/// What callers have to agree on to share a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    /// The directory that is written to; `None` if there is none.
    place: Option<PathBuf>,
    from: BTreeSet<StaticPeer>,
    replace: bool,
    into_directory: bool,
    max_bytes: Option<u64>,
    no_sync: bool,
    upstream: Vec<UpstreamUrl>,
}

/// Why a fetch was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{MAX_FETCHES} fetches are running already")]
    TooManyFetches,
    #[error("{MAX_CLIENTS} callers wait for this fetch already")]
    TooManyClients,
    #[error("{id} is being fetched {what}; wait for that fetch, or cancel it")]
    Other { id: ContentId, what: &'static str },
}

/// What became of a wish to fetch.
#[derive(Debug)]
pub(crate) enum Started {
    New(Arc<Entry>),
    Joined(Arc<Entry>),
}

impl Registry {
    /// Joins the running fetch of the same name, or makes a new one that writes to `place`.
    pub(crate) fn start(
        &self,
        caller: Caller,
        order: &Order,
        place: Option<PathBuf>,
        remember: Duration,
    ) -> Result<Started, StartError> {
        let terms = Terms::new(order, place);
        let mut fetches = lock(&self.fetches);
        fetches.forget(remember);
        if let Some(running) = fetches.find(&order.ids, order.into.as_deref())
            && running.join(caller, &order.client, &terms)?
        {
            return Ok(Started::Joined(running));
        }
        fetches.make_room()?;
        let entry = Arc::new(Entry::new(caller, order, terms));
        let number = fetches.next;
        fetches.next += 1;
        fetches.by_number.insert(number, entry.clone());
        Ok(Started::New(entry))
    }

    /// Finds the newest fetch of this name.
    pub(crate) fn find(&self, id: ContentId, into: Option<&Path>) -> Option<Arc<Entry>> {
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
    fn find(&self, ids: &[ContentId], into: Option<&Path>) -> Option<Arc<Entry>> {
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

    fn make_room(&mut self) -> Result<(), StartError> {
        if self.by_number.len() < MAX_FETCHES {
            return Ok(());
        }
        let ended = self
            .by_number
            .iter()
            .find(|(_, entry)| entry.end().is_some());
        let number = *ended.ok_or(StartError::TooManyFetches)?.0;
        self.by_number.remove(&number);
        Ok(())
    }
}

impl Terms {
    fn new(order: &Order, place: Option<PathBuf>) -> Self {
        Self {
            place,
            from: order.from.iter().cloned().collect(),
            replace: order.replace,
            into_directory: order.into_directory,
            max_bytes: order.max_bytes,
            no_sync: order.no_sync,
            upstream: order.upstream.clone(),
        }
    }

    /// Says in what a running fetch with these terms is not what another caller wants.
    fn differ_from(&self, wanted: &Self) -> Option<&'static str> {
        if self.place != wanted.place {
            Some("into another store")
        } else if self.from != wanted.from {
            Some("from other hosts")
        } else if wanted.replace && !self.replace {
            Some("without replacing what is there")
        } else if self.into_directory != wanted.into_directory {
            Some("to a file or directory of the same name")
        } else if self.max_bytes != wanted.max_bytes {
            Some("with another limit of its size")
        } else if self.no_sync && !wanted.no_sync {
            Some("without syncing it to disk")
        } else if !wanted
            .upstream
            .iter()
            .all(|url| self.upstream.contains(url))
        {
            Some("without that upstream URL")
        } else {
            None
        }
    }
}

impl Entry {
    fn new(caller: Caller, order: &Order, terms: Terms) -> Self {
        let (view, _) = watch::channel(View {
            id: order.ids[0],
            stage: Stage::Locating,
            progress: Progress::default(),
            looked_locally: false,
            accused: Accused::default(),
        });
        Self {
            ids: order.ids.clone(),
            into: order.into.clone(),
            terms,
            start_time: SystemTime::now(),
            clients: Mutex::new(BTreeSet::from([(caller, order.client.clone())])),
            cancel: CancellationToken::new(),
            wants: Wants::new(),
            view,
            end: Mutex::new(None),
        }
    }

    /// Takes note of a further caller, unless it is too late for that.
    fn join(&self, caller: Caller, client: &str, terms: &Terms) -> Result<bool, StartError> {
        let mut clients = lock(&self.clients);
        if self.cancel.is_cancelled() || self.view.borrow().stage.is_over() {
            return Ok(false);
        }
        if let Some(what) = self.terms.differ_from(terms) {
            let id = self.ids[0];
            return Err(StartError::Other { id, what });
        }
        let client = (caller, client.to_owned());
        if clients.len() >= MAX_CLIENTS && !clients.contains(&client) {
            return Err(StartError::TooManyClients);
        }
        clients.insert(client);
        Ok(true)
    }

    /// Drops the interest of a client, or of all when it has no name; the last one stops the fetch.
    ///
    /// Whoever does not run this machine or service speaks for its own clients only.
    pub(crate) fn leave(&self, caller: Caller, client: &str) {
        let mut clients = lock(&self.clients);
        let is_meant = |(of, name): &(Caller, String)| {
            (caller.is_master() || *of == caller) && (client.is_empty() || name == client)
        };
        clients.retain(|entry| !is_meant(entry));
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
        let (clients, users) = self.clients();
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
            progress: Some(view.to_progress()),
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
            user_ids: users.into_iter().collect(),
        }
    }

    /// How many want it, and as which users.
    fn clients(&self) -> (u32, BTreeSet<u32>) {
        let clients = lock(&self.clients);
        let users = clients.iter().filter_map(|(caller, _)| caller.user_id());
        let number = u32::try_from(clients.len()).unwrap_or(u32::MAX);
        (number, users.collect())
    }
}

/// Locks what no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{Family, TreeId};

    use super::*;

    const REMEMBER: Duration = Duration::from_hours(1);

    #[test]
    fn whoever_wants_the_same_joins_and_whoever_does_not_is_told_why() {
        let registry = Registry::default();
        let start = |order: &Order, place: &str| {
            registry.start(Caller::Same, order, Some(place.into()), REMEMBER)
        };
        let wish = order("one");
        assert!(matches!(start(&wish, "/a"), Ok(Started::New(_))));
        assert!(matches!(start(&wish, "/a"), Ok(Started::Joined(_))));
        let from = vec!["host".parse().unwrap()];
        let others = [
            (order("two"), "/b"),
            (
                Order {
                    into_directory: false,
                    from,
                    ..order("two")
                },
                "/a",
            ),
            (
                Order {
                    replace: true,
                    ..order("two")
                },
                "/a",
            ),
            (
                Order {
                    max_bytes: Some(1),
                    ..order("two")
                },
                "/a",
            ),
            (
                Order {
                    upstream: vec!["http://example.org/file".parse().unwrap()],
                    ..order("two")
                },
                "/a",
            ),
        ];
        for (wish, place) in others {
            let error = start(&wish, place).unwrap_err();
            assert!(matches!(error, StartError::Other { .. }), "{error}");
        }
    }

    #[test]
    fn whoever_wants_it_on_disk_does_not_join_a_fetch_that_does_not_sync() {
        let registry = Registry::default();
        let start = |order: &Order| registry.start(Caller::Same, order, None, REMEMBER);
        let lazy = |client: &str| Order {
            no_sync: true,
            ..order(client)
        };
        assert!(matches!(start(&lazy("one")), Ok(Started::New(_))));
        assert!(matches!(start(&lazy("two")), Ok(Started::Joined(_))));
        let error = start(&order("three")).unwrap_err();
        assert!(matches!(error, StartError::Other { .. }), "{error}");
    }

    #[test]
    fn others_leave_for_themselves_alone() {
        let registry = Registry::default();
        let start = |caller, client| registry.start(caller, &order(client), None, REMEMBER);
        let (mine, theirs) = (Caller::User(1000), Caller::User(1001));
        let Ok(Started::New(entry)) = start(mine, "get") else {
            panic!("it is the first");
        };
        entry.leave(theirs, "get");
        entry.leave(theirs, "");
        entry.leave(Caller::Unknown, "");
        assert!(!entry.cancel.is_cancelled());
        start(theirs, "get").unwrap();
        entry.leave(mine, "get");
        assert!(!entry.cancel.is_cancelled());
        entry.leave(theirs, "");
        assert!(entry.cancel.is_cancelled());
    }

    #[test]
    fn root_and_the_service_itself_may_cancel_for_all() {
        for master in [Caller::Same, Caller::User(0)] {
            let registry = Registry::default();
            let started = registry.start(Caller::User(1000), &order("get"), None, REMEMBER);
            let Ok(Started::New(entry)) = started else {
                panic!("it is the first");
            };
            entry.leave(master, "");
            assert!(entry.cancel.is_cancelled());
        }
    }

    #[test]
    fn a_fetch_has_only_so_many_clients() {
        let registry = Registry::default();
        let start = |client: usize| {
            let order = order(&client.to_string());
            registry.start(Caller::Same, &order, None, REMEMBER)
        };
        for client in 0..MAX_CLIENTS {
            start(client).unwrap();
        }
        start(0).unwrap();
        assert_eq!(start(MAX_CLIENTS).unwrap_err(), StartError::TooManyClients);
    }

    fn order(client: &str) -> Order {
        Order {
            into_directory: false,
            ids: vec![TreeId::of_manifest(Family::Sha256, b"").into()],
            from: Vec::new(),
            into: None,
            target_store: None,
            max_bytes: None,
            locate_timeout: None,
            no_sync: false,
            replace: false,
            upstream: Vec::new(),
            client: client.to_owned(),
        }
    }
}
