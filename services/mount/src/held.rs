//! What lies in this machine's stores in full, as its store service says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tonic::Status;
use tracing::{debug, warn};
use zeroshare_content::{ContentId, TreeId};
use zeroshare_wire::pb::store::v1::watch_content_response::Event;
use zeroshare_wire::pb::store::v1::{HeldContent, WatchContentRequest};

use crate::shared::Shared;

/// Trees that are listed.
const MAX_TREES: usize = 200_000;

/// Before a store that does not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Where trees lie that are here in full and verified.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_id: BTreeMap<TreeId, PathBuf>,
}

impl Held {
    pub(crate) fn path(&self, id: &TreeId) -> Option<&Path> {
        self.by_id.get(id).map(PathBuf::as_path)
    }

    /// The names under which they lie.
    pub(crate) fn names(&self) -> Vec<std::ffi::OsString> {
        let names = self.by_id.values().filter_map(|path| path.file_name());
        names.map(ToOwned::to_owned).collect()
    }

    fn take(&mut self, held: &HeldContent) -> Option<TreeId> {
        let id = tree(&held.content_id)?;
        if held.path.is_empty() || held.verify_time.is_none() {
            self.by_id.remove(&id);
            return None;
        }
        if self.by_id.len() < MAX_TREES || self.by_id.contains_key(&id) {
            self.by_id.insert(id, PathBuf::from(&held.path));
        }
        Some(id)
    }
}

/// Follows the store until the mount ends.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut was_heard = true;
    loop {
        let end = tokio::select! {
            end = follow(&shared) => end,
            () = shared.lifetime.stopping() => return,
        };
        let why = end
            .err()
            .map_or_else(|| "its answer ended".to_owned(), |error| error.to_string());
        if std::mem::replace(&mut was_heard, false) {
            warn!(why, "the store does not say what it holds");
        } else {
            debug!(why, "the store does not say what it holds");
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = shared.lifetime.stopping() => return,
        }
    }
}

async fn follow(shared: &Shared) -> Result<(), Status> {
    let mut store = shared.store();
    let mut events = store
        .watch_content(WatchContentRequest {})
        .await?
        .into_inner();
    // What is gone since the last time is not in it.
    let mut fresh = Some(Held::default());
    while let Some(message) = events.message().await? {
        match message.event {
            Some(Event::Held(held)) => {
                if let Some(fresh) = &mut fresh {
                    fresh.take(&held);
                    continue;
                }
                let taken = shared.held().take(&held);
                if let Some(id) = taken {
                    shared.answers().void(&id);
                }
            }
            Some(Event::GoneContentId(id)) => {
                if let Some(id) = tree(&id) {
                    shared.held().by_id.remove(&id);
                }
            }
            Some(Event::SnapshotDone(_)) => {
                if let Some(fresh) = fresh.take() {
                    debug!(trees = fresh.by_id.len(), "the store said what it holds");
                    *shared.held() = fresh;
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn tree(id: &str) -> Option<TreeId> {
    id.parse::<ContentId>().ok()?.tree()
}
