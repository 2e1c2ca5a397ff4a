//! How tasks live and end together.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinHandle},
    time,
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::{error, warn};

/// How long aborted tasks get to be dropped: a task that never yields must not hold up the end for ever.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// The tasks of one service or connection, stopped together.
///
/// Lifetimes form a tree: a child stops with its parent, and a parent's end waits for the tasks of its children. Clones
/// name the same lifetime. It belongs to no runtime: tasks run on that of whoever calls `spawn`.
#[derive(Clone)]
pub struct Lifetime {
    node: Arc<Node>,
}

struct Node {
    id: u64,
    parent: Option<Lifetime>,
    stop: CancellationToken,
    /// Counts the tasks of this lifetime and of all below it.
    tasks: TaskTracker,
    running: Mutex<BTreeMap<u64, Running>>,
    children: Mutex<BTreeMap<u64, Weak<Self>>>,
}

/// A task that has not ended; blocking ones cannot be aborted.
struct Running {
    name: &'static str,
    abort: Option<AbortHandle>,
}

impl Lifetime {
    /// A lifetime without a parent.
    pub fn new() -> Self {
        Self::with_parent(None, CancellationToken::new())
    }

    /// A lifetime that stops with this one, and for whose tasks this one waits.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::with_parent(Some(self.clone()), self.node.stop.child_token());
        lock(&self.node.children).insert(child.node.id, Arc::downgrade(&child.node));
        child
    }

    /// Runs a task that watches [`Self::stopping`] and ends soon after.
    ///
    /// The name is for the log, should the task outstay the end.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let entry = self.enter(name);
        let id = entry.id;
        // Held while spawning, so that a task that ends at once is entered before it leaves.
        let mut running = lock(&self.node.running);
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where all tasks are spawned"
        )]
        let handle = tokio::spawn(async move {
            let _entry = entry;
            task.await
        });
        let abort = Some(handle.abort_handle());
        running.insert(id, Running { name, abort });
        drop(running);
        handle
    }

    /// Runs blocking work on a thread of its own; it cannot be aborted, so it must end by itself.
    pub fn spawn_blocking<F, T>(&self, name: &'static str, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let entry = self.enter(name);
        let id = entry.id;
        let mut running = lock(&self.node.running);
        let handle = tokio::task::spawn_blocking(move || {
            let _entry = entry;
            work()
        });
        running.insert(id, Running { name, abort: None });
        drop(running);
        handle
    }

    /// Resolves once the lifetime was asked to stop.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.node.stop.clone().cancelled_owned()
    }

    /// Says whether the lifetime was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.node.stop.is_cancelled()
    }

    /// Asks all tasks, and those of all children, to end; returns at once.
    pub fn stop(&self) {
        self.node.stop.cancel();
    }

    /// Stops all tasks, and says whether they ended within `grace`; those that did not are aborted and named in the log.
    pub async fn end(self, grace: Duration) -> bool {
        self.stop();
        let tasks = &self.node.tasks;
        tasks.close();
        if time::timeout(grace, tasks.wait()).await.is_ok() {
            return true;
        }
        for name in self.abort_all() {
            warn!(task = name, "a task outstayed its lifetime and was aborted");
        }
        drop(time::timeout(ABORT_GRACE, tasks.wait()).await);
        false
    }

    /// How many tasks run, those of children included.
    pub fn running(&self) -> usize {
        self.node.tasks.len()
    }

    /// Stops the lifetime and drops its tasks where they wait, without asking and without waiting.
    pub fn abort(&self) {
        self.stop();
        self.abort_all();
    }

    fn with_parent(parent: Option<Self>, stop: CancellationToken) -> Self {
        let node = Node {
            id: next_id(),
            parent,
            stop,
            tasks: TaskTracker::new(),
            running: Mutex::default(),
            children: Mutex::default(),
        };
        Self {
            node: Arc::new(node),
        }
    }

    fn enter(&self, name: &'static str) -> Entry {
        let mut tokens = vec![self.node.tasks.token()];
        let mut above = &self.node.parent;
        while let Some(lifetime) = above {
            tokens.push(lifetime.node.tasks.token());
            above = &lifetime.node.parent;
        }
        Entry {
            node: self.node.clone(),
            id: next_id(),
            name,
            _tokens: tokens,
        }
    }

    /// Aborts what runs here and below, and returns the names.
    fn abort_all(&self) -> Vec<&'static str> {
        self.node.abort_all()
    }
}

impl Default for Lifetime {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifetime")
            .field("stopping", &self.is_stopping())
            .field("running", &self.running())
            .finish()
    }
}

impl Node {
    fn abort_all(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for running in lock(&self.running).values() {
            names.push(running.name);
            if let Some(abort) = &running.abort {
                abort.abort();
            }
        }
        let children: Vec<_> = lock(&self.children)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for child in children {
            names.extend(child.abort_all());
        }
        names
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(parent) = &self.parent {
            lock(&parent.node.children).remove(&self.id);
        }
    }
}

/// A task's presence in its lifetime; leaves when the task ends, is aborted, or panics.
struct Entry {
    node: Arc<Node>,
    id: u64,
    name: &'static str,
    _tokens: Vec<TaskTrackerToken>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if thread::panicking() {
            error!(task = self.name, "a task panicked");
        }
        lock(&self.node.running).remove(&self.id);
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Locks a table that no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_child_stops_with_its_parent_and_the_parent_waits_for_it() {
        let parent = Lifetime::new();
        let child = parent.child();
        let grandchild = child.child();
        let stopping = grandchild.stopping();
        let task = grandchild.spawn("waits", async move {
            stopping.await;
            tokio::task::yield_now().await;
            7
        });
        assert_eq!(parent.running(), 1);
        assert!(parent.end(LONG).await);
        assert!(child.is_stopping());
        assert!(task.is_finished());
        assert_eq!(task.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_child_ends_without_its_parent() {
        let parent = Lifetime::new();
        let child = parent.child();
        let stopping = child.stopping();
        drop(child.spawn("waits", stopping));
        assert!(child.end(LONG).await);
        assert!(!parent.is_stopping());
        assert_eq!(parent.running(), 0);
        assert!(lock(&parent.node.children).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_outstays_the_end_is_aborted_wherever_it_is() {
        let parent = Lifetime::new();
        let child = parent.child();
        let stubborn = child.spawn("stubborn", future::pending::<()>());
        assert!(!parent.end(Duration::from_millis(10)).await);
        assert!(stubborn.await.unwrap_err().is_cancelled());
        assert_eq!(child.running(), 0);
    }

    #[tokio::test]
    async fn a_task_that_panics_leaves_the_lifetime() {
        let lifetime = Lifetime::new();
        let task = lifetime.spawn("panics", async { panic!("on purpose") });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(lifetime.running(), 0);
        assert!(lifetime.end(LONG).await);
    }

    #[tokio::test]
    async fn the_end_waits_for_blocking_work() {
        let lifetime = Lifetime::new();
        let (go, wait) = std::sync::mpsc::channel();
        let work = lifetime.spawn_blocking("blocks", move || wait.recv());
        let ending = tokio::task::spawn_blocking({
            let lifetime = lifetime.clone();
            move || {
                while !lifetime.is_stopping() {
                    thread::yield_now();
                }
                go.send(())
            }
        });
        assert!(lifetime.end(LONG).await);
        work.await.unwrap().unwrap();
        ending.await.unwrap().unwrap();
    }
}
