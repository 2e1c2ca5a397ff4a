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
    /// It was aborted, perhaps before there was a handle to do so.
    is_aborted: bool,
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
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where all tasks are spawned"
        )]
        let handle = tokio::spawn(async move {
            let _entry = entry;
            task.await
        });
        self.node.can_abort(id, handle.abort_handle());
        handle
    }

    /// Runs blocking work on a thread of its own; it cannot be aborted, so it must end by itself.
    pub fn spawn_blocking<F, T>(&self, name: &'static str, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let entry = self.enter(name);
        tokio::task::spawn_blocking(move || {
            let _entry = entry;
            work()
        })
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

    /// Enters a task before it is spawned, since it may leave while it is: a runtime that ends drops it at once.
    fn enter(&self, name: &'static str) -> Entry {
        let mut tokens = vec![self.node.tasks.token()];
        let mut above = &self.node.parent;
        while let Some(lifetime) = above {
            tokens.push(lifetime.node.tasks.token());
            above = &lifetime.node.parent;
        }
        let id = next_id();
        let running = Running {
            name,
            abort: None,
            is_aborted: false,
        };
        lock(&self.node.running).insert(id, running);
        Entry {
            node: self.node.clone(),
            id,
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
    /// Makes a task known as one that can be aborted, unless it has left already.
    fn can_abort(&self, id: u64, abort: AbortHandle) {
        let mut table = lock(&self.running);
        let Some(running) = table.get_mut(&id) else {
            return;
        };
        if running.is_aborted {
            drop(table);
            abort.abort();
        } else {
            running.abort = Some(abort);
        }
    }

    fn abort_all(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        let mut aborts = Vec::new();
        for running in lock(&self.running).values_mut() {
            names.push(running.name);
            running.is_aborted = true;
            aborts.extend(running.abort.take());
        }
        // Without the lock: whatever is dropped meanwhile leaves the table.
        for abort in aborts {
            abort.abort();
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

    #[test]
    fn a_task_that_a_runtime_drops_at_once_leaves_the_lifetime() {
        let flavours = [
            tokio::runtime::Builder::new_current_thread(),
            tokio::runtime::Builder::new_multi_thread(),
        ];
        for mut flavour in flavours {
            let runtime = flavour.build().unwrap();
            let ended = runtime.handle().clone();
            // Its threads drop what is spawned until the last of them has ended, and not at once.
            runtime.shutdown_timeout(LONG);
            let lifetime = Lifetime::new();
            let (done, wait) = std::sync::mpsc::channel();
            let spawning = lifetime.clone();
            thread::spawn(move || {
                let _entered = ended.enter();
                drop(spawning.spawn("too late", future::pending::<()>()));
                drop(spawning.spawn_blocking("too late", || ()));
                done.send(())
            });
            wait.recv_timeout(LONG).expect("it waits for itself");
            assert_eq!(lifetime.running(), 0);
            assert!(lock(&lifetime.node.running).is_empty());
        }
    }

    #[tokio::test]
    async fn a_task_that_is_aborted_before_it_has_a_handle_is_aborted() {
        let lifetime = Lifetime::new();
        let entry = lifetime.enter("early");
        lifetime.abort();
        #[expect(clippy::disallowed_methods, reason = "between two steps of `spawn`")]
        let task = tokio::spawn(future::pending::<()>());
        lifetime.node.can_abort(entry.id, task.abort_handle());
        assert!(task.await.unwrap_err().is_cancelled());
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
