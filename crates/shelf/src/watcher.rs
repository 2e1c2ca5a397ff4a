//! Noticing that something was put into a store or taken away.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::beneath::{Beneath, Identity};

/// Watches the stores themselves, not what lies deeper: trees are only ever renamed into place.
///
/// What the kernel does not tell is found by a [`Shelf::rescan`](crate::Shelf::rescan) now and then.
pub struct RootWatcher {
    watcher: RecommendedWatcher,
    watched: BTreeMap<PathBuf, Identity>,
}

impl RootWatcher {
    /// Starts watching nothing; `on_change` is called from a thread of its own and must not block.
    pub fn new(on_change: impl Fn() + Send + 'static) -> Result<Self, notify::Error> {
        let watcher =
            notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
                // An overflow or an error means that something was missed.
                if event.map_or(true, |event| {
                    event.need_rescan() || changes_names(event.kind)
                }) {
                    on_change();
                }
            })?;
        Ok(Self {
            watcher,
            watched: BTreeMap::new(),
        })
    }

    /// Watches these stores, those of them that exist; to be called again now and then.
    ///
    /// Says whether a store is watched that was not before, so that what lies in it is to be looked for.
    pub fn watch(&mut self, roots: &[PathBuf]) -> bool {
        let mut is_new = false;
        for root in roots {
            let Some(identity) = Beneath::open(root).and_then(|dir| dir.identity()).ok() else {
                self.unwatch(root);
                continue;
            };
            if self.watched.get(root) == Some(&identity) {
                continue;
            }
            self.unwatch(root);
            match self.watcher.watch(root, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(root.clone(), identity);
                    is_new = true;
                }
                Err(error) => {
                    tracing::debug!(store = %root.display(), %error, "cannot watch store, looking now and then");
                }
            }
        }
        is_new
    }

    fn unwatch(&mut self, root: &Path) {
        if self.watched.remove(root).is_some() {
            // Fails when the directory is gone, and then there is nothing to end.
            drop(self.watcher.unwatch(root));
        }
    }
}

/// Reading a store makes events too, which must not make us read it again.
fn changes_names(kind: EventKind) -> bool {
    match kind {
        EventKind::Any | EventKind::Other | EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(kind) => matches!(
            kind,
            ModifyKind::Any | ModifyKind::Name(_) | ModifyKind::Other
        ),
        EventKind::Access(_) => false,
    }
}

impl fmt::Debug for RootWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootWatcher")
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}
