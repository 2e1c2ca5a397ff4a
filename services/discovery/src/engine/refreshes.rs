//! Callers of the local API that remember answers, and want to know when to forget them.

use std::sync::Arc;

use tokio::sync::broadcast;
use zeroshare_content::ContentId;

/// What one watcher may be behind; whoever is further behind forgets everything.
const MOST_BEHIND: usize = 64;

/// Watchers at a time.
const MOST_WATCHERS: usize = 64;

/// What was forgotten; of nothing in particular: all.
pub(crate) type Refreshed = Arc<[ContentId]>;

/// What is forgotten from now on.
pub(crate) type RefreshWatch = broadcast::Receiver<Refreshed>;

/// Everybody who is told.
#[derive(Debug)]
pub(super) struct Refreshes(broadcast::Sender<Refreshed>);

impl Refreshes {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(MOST_BEHIND))
    }

    /// One more watcher, unless there are too many.
    pub(super) fn watch(&self) -> Option<RefreshWatch> {
        (self.0.receiver_count() < MOST_WATCHERS).then(|| self.0.subscribe())
    }

    pub(super) fn tell(&self, contents: Vec<ContentId>) {
        // There may be none.
        drop(self.0.send(contents.into()));
    }
}
