//! `CollectGarbage`: removes trees by age, size and disuse, never one that a program uses.
//!
//! Every tree is looked for among what all programs have open, mapped, run or stand in. One that may go is moved aside, so that
//! nobody begins to use it, looked for once more, and only then removed.

mod decide;
mod survey;
mod uses;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{info, warn};
use zeroshare_chassis::process::chain;
use zeroshare_content::TreeId;
use zeroshare_staging::{Discarded, discard};
use zeroshare_wire::convert::from_system_time;
use zeroshare_wire::pb::fetcher::v1::{CollectGarbageResponse, GarbageOutcome};

use crate::fetch::{FetchFailure, blocking, store_for};
use crate::request::{Caller, GarbageOrder, refused};
use crate::shared::Shared;
use crate::status::{CallError, status};
pub(crate) use decide::Rules;
use decide::{Known, choose};
use survey::{Surveyed, survey};
use uses::Uses;

/// Answers on their way to the caller.
const ANSWERS_AHEAD: usize = 16;

type Answer = Result<CollectGarbageResponse, Status>;

/// Removes what may go, and tells of each tree.
pub(crate) async fn collect(
    shared: &Arc<Shared>,
    caller: Caller,
    order: GarbageOrder,
) -> Result<ReceiverStream<Answer>, CallError> {
    if !caller.is_master() {
        return Err(CallError::NotAllowed {
            user: caller.name(),
            what: "only the user as whom the fetcher runs, and root, remove trees",
            hint: "run the command without this node, for a store of your own",
        });
    }
    let permit = shared.calls.clone().try_acquire_owned();
    let permit = permit.map_err(|_| CallError::Busy)?;
    if let Some(store) = order.target_store.clone() {
        let is_there = blocking(shared, "look for a store", move || store.is_dir()).await?;
        if !is_there {
            return Err(refused("target_store", "there is no such directory").into());
        }
    }
    let store = store_for(shared, order.target_store.clone()).await?;
    let prepare = move || Collection::begin(store, &order);
    let collection = blocking(shared, "look for garbage", prepare).await??;
    let (answers, stream) = mpsc::channel(ANSWERS_AHEAD);
    // By itself: a tree that is half removed is removed to its end when the caller vanishes, and no other begun.
    let removing = shared.lifetime.spawn_blocking("collect garbage", move || {
        collection.run(&answers);
        drop(permit);
    });
    drop(removing);
    Ok(ReceiverStream::new(stream))
}

/// What was found in a store, and what is to be done about it.
struct Collection {
    store: PathBuf,
    device: u64,
    trees: Vec<Surveyed>,
    chosen: Vec<usize>,
    is_dry_run: bool,
}

impl Collection {
    /// Looks at all trees and all programs. Blocks.
    fn begin(store: PathBuf, order: &GarbageOrder) -> Result<Self, CallError> {
        let unreadable = |error: std::io::Error| FetchFailure::Disk { why: chain(&error) };
        let found = fs::metadata(&store).map_err(unreadable)?;
        let device = found.dev();
        let uses = Uses::look(device, &store).map_err(unreadable)?;
        if uses.unseen > 0 && is_reachable(&store) {
            return Err(CallError::NotAllowed {
                user: Caller::Same.name(),
                what: "other users can use this store, and only root sees which of its trees their programs use",
                hint: "run the command as root, with nothing that keeps root from looking into programs, and name the store with --store",
            });
        }
        let trees = survey(&store).map_err(unreadable)?;
        let known: Vec<Known> = trees.iter().map(|tree| tree.known(&uses, &store)).collect();
        let mut chosen = choose(&known, &order.rules, SystemTime::now());
        if !order.names.is_empty() {
            chosen.retain(|index| order.names.contains(&trees[*index].name));
        }
        Ok(Self {
            store,
            device,
            trees,
            chosen,
            is_dry_run: order.is_dry_run,
        })
    }

    /// Removes one after the other, as long as somebody listens. Blocks.
    fn run(self, answers: &mpsc::Sender<Answer>) {
        for index in &self.chosen {
            if answers.is_closed() {
                return;
            }
            let tree = &self.trees[*index];
            let answer = self.take(tree).map(|outcome| CollectGarbageResponse {
                content_id: tree.id.to_string(),
                path: self.store.join(&tree.name).display().to_string(),
                size_bytes: tree.size_bytes,
                add_time: Some(from_system_time(tree.added)),
                use_time: Some(from_system_time(tree.used)),
                outcome: outcome.into(),
            });
            let answer = answer.map_err(|error| status(&error));
            if answers.blocking_send(answer).is_err() {
                return;
            }
        }
    }

    fn take(&self, tree: &Surveyed) -> Result<GarbageOutcome, CallError> {
        if self.is_dry_run {
            return Ok(GarbageOutcome::WouldRemove);
        }
        let (store, path) = (&self.store, self.store.join(&tree.name));
        let is_unused = |aside: &Path| match Uses::look(self.device, store) {
            Ok(uses) => !uses.has(&tree.inodes, [aside, &path]),
            Err(error) => {
                warn!(%error, "cannot see who uses a tree, and so it stays");
                false
            }
        };
        let discarded = discard(store, tree.name.as_ref(), is_unused);
        let discarded = discarded.map_err(|error| FetchFailure::Disk { why: chain(&error) })?;
        Ok(match discarded {
            Discarded::Removed => {
                info!(id = %tree.id, path = %path.display(), "tree removed");
                GarbageOutcome::Removed
            }
            Discarded::Missing => GarbageOutcome::Removed,
            Discarded::Kept => GarbageOutcome::InUse,
        })
    }
}

impl Surveyed {
    fn known(&self, uses: &Uses, store: &Path) -> Known {
        let path = store.join(&self.name);
        Known {
            size_bytes: self.size_bytes,
            added: self.added,
            used: self.used,
            in_use: uses.has(&self.inodes, [&path, &path]),
        }
    }
}

/// Whether users other than its owner can come to it: then programs of theirs may use what is in it.
fn is_reachable(store: &Path) -> bool {
    const BY_OTHERS: u32 = 0o011;
    let real = fs::canonicalize(store).unwrap_or_else(|_| store.to_owned());
    real.ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|found| found.mode() & BY_OTHERS != 0))
}

/// A tree's name in the store.
pub(crate) type Names = BTreeSet<String>;

/// Whether a name is one that a store gives to a tree.
pub(crate) fn is_name(name: &str) -> bool {
    TreeId::from_directory_name(name.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_store_in_a_private_home_is_nobody_elses() {
        let scratch = tempfile::tempdir().unwrap();
        let store = scratch.path().join("cache/store");
        fs::create_dir_all(&store).unwrap();
        let set = |mode| fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode));
        set(0o700).unwrap();
        assert!(!is_reachable(&store));
        set(0o750).unwrap();
        assert!(is_reachable(&store));
    }
}
