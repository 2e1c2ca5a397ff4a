//! All that this machine holds, found, verified and looked up.

mod catalogue;
mod commit;
mod find;
mod holding;
mod open;
mod rescan;
mod share;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroshare_content::ContentId;

use crate::index::{Index, IndexError, IndexPlace};
use crate::pieces::PieceSource;
use catalogue::{Catalogue, CopyPlace};
use open::OpenTrees;

pub use commit::{CommitError, Committed, CommittedFile};
pub use find::{Beginning, FoundFile, MidstateList};
pub use holding::{Holding, HoldingState, RootCount};
pub use open::{Audience, OpenError, STAGED_BLOB};
pub use share::ShareError;
pub use verify::{Copies, Due, VerifyOutcome};

/// The trees of all stores and the files that are shared, each known by what was found out when it was last hashed.
///
/// A tree is offered when it was verified in full and its store is shared, a file as long as it is the one that was
/// hashed. All calls may block on the disk; only [`Shelf::verify`] and [`Shelf::share`] read whole contents.
pub struct Shelf {
    roots: Vec<ShelvedRoot>,
    boot: String,
    index: Arc<Index>,
    catalogue: Mutex<Catalogue>,
    open: Mutex<OpenTrees>,
    observer: Box<dyn Fn(ShelfEvent) + Send + Sync>,
}

/// A store that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShelvedRoot {
    /// Where it lies or may come to lie; absolute.
    pub path: PathBuf,
    /// Whether what it holds is offered to peers.
    pub shared: bool,
}

/// What a shelf is made of.
pub struct ShelfOptions {
    /// The stores, in the order of lookup.
    pub roots: Vec<ShelvedRoot>,
    /// Where the index is kept.
    pub index: IndexPlace,
    /// Which run of the kernel this is; see [`crate::boot_id`].
    pub boot: String,
    /// Is told of each change, from whichever thread made it; must not block.
    pub observer: Box<dyn Fn(ShelfEvent) + Send + Sync>,
}

/// What happened to a shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShelfEvent {
    /// Something about a tree or blob is different; ask [`Shelf::holding`].
    Changed(ContentId),
    /// Something waits to be hashed; see [`Shelf::unverified`].
    Work,
}

/// Why a shelf could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// It is not here.
    #[error("nothing of {id} is held")]
    NotHeld {
        /// Which.
        id: ContentId,
    },
    /// Who asked did not want the answer any more.
    #[error("stopped")]
    Stopped,
}

impl Shelf {
    /// Opens the index. Nothing is held before the first [`Shelf::rescan`].
    pub fn open_index(options: ShelfOptions) -> Result<Self, ShelfError> {
        Ok(Self {
            index: Arc::new(Index::open(options.index)?),
            roots: options.roots,
            boot: options.boot,
            catalogue: Mutex::default(),
            open: Mutex::default(),
            observer: options.observer,
        })
    }

    /// The stores that are read, in the order of lookup.
    pub fn roots(&self) -> &[ShelvedRoot] {
        &self.roots
    }

    fn root_path(&self, root: usize) -> &Path {
        self.roots
            .get(root)
            .map_or(Path::new(""), |root| &root.path)
    }

    fn path_of(&self, place: &CopyPlace) -> PathBuf {
        match place {
            CopyPlace::Tree { root, name, .. } => self.root_path(*root).join(name),
            CopyPlace::File { path, .. } => path.clone(),
        }
    }

    /// Whether what lies there is offered to peers, once it is verified.
    fn is_offered(&self, place: &CopyPlace) -> bool {
        match place {
            CopyPlace::Tree { root, .. } => self.is_shared(*root),
            CopyPlace::File { .. } => true,
        }
    }

    fn is_shared(&self, root: usize) -> bool {
        self.roots.get(root).is_some_and(|root| root.shared)
    }

    fn tell(&self, event: ShelfEvent) {
        (self.observer)(event);
    }

    fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        // No change of the catalogue takes more than one step.
        self.catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn open_trees(&self) -> MutexGuard<'_, OpenTrees> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf")
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ShelfOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            roots, index, boot, ..
        } = self;
        f.debug_struct("ShelfOptions")
            .field("roots", roots)
            .field("index", index)
            .field("boot", boot)
            .finish_non_exhaustive()
    }
}

/// Anything that was opened for reading pieces.
type Source = Arc<PieceSource>;

#[cfg(test)]
mod tests;
