//! Opening trees for reading, and keeping a few open.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroshare_content::{
    BlobId, ContentId, Layout, LayoutError, Manifest, ManifestError, Name, TreeId,
};

use super::catalogue::{CopyPlace, HeldCopy};
use super::{Shelf, Source};
use crate::beneath::Beneath;
use crate::index::{IndexError, TreeKey};
use crate::pieces::{PieceSource, is_absence};
use crate::verify::read_manifest_file;

/// So many trees stay open: each costs a directory and its manifest.
const MAX_OPEN: usize = 16;

/// Open trees have so many bytes of manifests in all, unless a single one has more.
const MAX_OPEN_BYTES: usize = 16 * 1024 * 1024;

/// What staging directories are called; 0install ignores them.
const STAGING_PREFIX: &[u8] = b"tmp-";
/// What they are called beside the place of a blob.
const BLOB_STAGING_PREFIX: &[u8] = b".tmp-zeroshare-";
/// What a blob is called while it is staged.
pub const STAGED_BLOB: &str = "blob";

/// Who asks for a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Other machines, and other users of this one: only what is shared.
    Peers,
    /// The owner of the stores: all that is verified.
    Local,
}

/// Why a tree cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing of it may be served.
    #[error("nothing of {id} to serve")]
    NotHeld {
        /// Which.
        id: ContentId,
    },
    /// No directory where such a thing may be staged.
    #[error("{} is no staging directory for it", path.display())]
    NotStaging {
        /// What was named.
        path: PathBuf,
    },
    /// Its manifest is refused.
    #[error("cannot use the manifest of {id}")]
    Manifest {
        /// Which.
        id: ContentId,
        /// Why.
        source: ManifestError,
    },
    /// It cannot be cut.
    #[error("cannot cut {id} into pieces")]
    Layout {
        /// Which.
        id: ContentId,
        /// Why.
        source: LayoutError,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The system refused.
    #[error("cannot read {id}")]
    Io {
        /// Which.
        id: ContentId,
        /// What it says.
        source: io::Error,
    },
}

/// The trees that were read last.
#[derive(Debug, Default)]
pub(super) struct OpenTrees {
    /// The one used last stands last.
    trees: Vec<(TreeKey, Source, Instant)>,
}

impl Shelf {
    /// Opens something verified for reading its pieces.
    pub fn open(&self, id: impl Into<ContentId>, audience: Audience) -> Result<Source, OpenError> {
        let id = &id.into();
        let not_held = || OpenError::NotHeld { id: *id };
        let copy = self
            .catalogue()
            .copies(id)
            .iter()
            .find(|copy| self.serves(id, copy, audience))
            .cloned();
        let copy = copy.ok_or_else(not_held)?;
        let key = copy.key.ok_or_else(not_held)?;
        if let Some(source) = self.open_trees().find(key) {
            return Ok(source);
        }
        match self.open_copy(id, &copy, key) {
            Ok(source) => {
                let source = Arc::new(source);
                self.open_trees().put(key, Arc::clone(&source));
                Ok(source)
            }
            // It is not what it was when it was hashed.
            Err(error) if is_changed(&error) => {
                self.set_unverified(id, &copy)?;
                Err(not_held())
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a tree that the fetcher is still putting together in a store, by its word.
    ///
    /// Only a directory directly in a known store that is named like a staging directory is taken, and the manifest in it
    /// must be the one that the id names.
    pub fn open_staged(
        &self,
        store: &Path,
        name: &OsStr,
        id: &TreeId,
    ) -> Result<PieceSource, OpenError> {
        let not_staging = || OpenError::NotStaging {
            path: store.join(name),
        };
        let is_known = self.roots.iter().any(|root| root.path == store);
        let is_name = Path::new(name).components().count() == 1 && !name.as_bytes().contains(&b'/');
        if !is_known || !is_name || !name.as_bytes().starts_with(STAGING_PREFIX) {
            return Err(not_staging());
        }
        let io = |source| OpenError::Io {
            id: id.into(),
            source,
        };
        let root = Beneath::open(store).map_err(io)?;
        let dir = root.directory(Path::new(name)).map_err(io)?;
        let text = read_manifest_file(&dir)
            .map_err(io)?
            .ok_or_else(not_staging)?;
        let (manifest, layout) = read_layout(id, text)?;
        Ok(PieceSource::staged(id.into(), dir, manifest, layout))
    }

    /// Closes what nobody read for a while.
    pub fn close_idle(&self, idle: Duration) {
        self.open_trees()
            .trees
            .retain(|(_, _, used)| used.elapsed() < idle);
    }

    pub(super) fn open_copy(
        &self,
        id: &ContentId,
        copy: &HeldCopy,
        key: TreeKey,
    ) -> Result<PieceSource, OpenError> {
        let (dir, manifest, layout) = match (&copy.place, id) {
            (CopyPlace::Tree { root, name, .. }, ContentId::Tree(tree)) => {
                self.open_tree(tree, *root, name)?
            }
            (CopyPlace::File { path, stamp }, ContentId::Blob(blob)) => {
                let (parent, name) = parts(path).ok_or(OpenError::NotHeld { id: *id })?;
                let dir =
                    Beneath::open(parent).map_err(|source| OpenError::Io { id: *id, source })?;
                let (manifest, layout) =
                    one_file(*blob, stamp.size, stamp.mtime.truncated(), name)?;
                (dir, manifest, layout)
            }
            // Trees lie in stores, blobs do not.
            _ => return Err(OpenError::NotHeld { id: *id }),
        };
        let index = Arc::clone(&self.index);
        Ok(PieceSource::indexed(
            *id,
            dir,
            (manifest, layout),
            index,
            key,
        ))
    }

    fn open_tree(
        &self,
        id: &TreeId,
        root: usize,
        name: &str,
    ) -> Result<(Beneath, Manifest, Layout), OpenError> {
        let io = |source| OpenError::Io {
            id: id.into(),
            source,
        };
        let store = Beneath::open(self.root_path(root)).map_err(io)?;
        let dir = store.directory(Path::new(name)).map_err(io)?;
        let kept = self.index.tree(self.root_path(root), name)?;
        let text = match read_manifest_file(&dir).map_err(io)? {
            Some(text) => text,
            None => kept
                .and_then(|(_, record)| record.manifest)
                .ok_or_else(|| io(io::Error::from(io::ErrorKind::NotFound)))?,
        };
        let (manifest, layout) = read_layout(id, text)?;
        Ok((dir, manifest, layout))
    }

    fn serves(&self, id: &ContentId, copy: &HeldCopy, audience: Audience) -> bool {
        copy.is_verified()
            && id.travels()
            && copy.sizes.pieces_known()
            && self.may_see(copy, audience)
    }

    pub(super) fn may_see(&self, copy: &HeldCopy, audience: Audience) -> bool {
        match audience {
            Audience::Peers => self.is_offered(&copy.place),
            Audience::Local => true,
        }
    }
}

impl PieceSource {
    /// Opens a blob that the fetcher is still putting together, by its word, in a staging directory beside its place.
    ///
    /// The file in it has the name that [`STAGED_BLOB`] is.
    pub fn open_staged_blob(
        place: &Path,
        name: &OsStr,
        (blob, size): (BlobId, u64),
    ) -> Result<Self, OpenError> {
        let id = ContentId::Blob(blob);
        let is_name = Path::new(name).components().count() == 1 && !name.as_bytes().contains(&b'/');
        if !place.is_absolute() || !is_name || !name.as_bytes().starts_with(BLOB_STAGING_PREFIX) {
            return Err(OpenError::NotStaging {
                path: place.join(name),
            });
        }
        let dir = Beneath::open(place)
            .and_then(|place| place.directory(Path::new(name)))
            .map_err(|source| OpenError::Io { id, source })?;
        let (manifest, layout) = one_file(blob, size, 0, OsStr::new(STAGED_BLOB))?;
        Ok(Self::staged(id, dir, manifest, layout))
    }
}

fn is_changed(error: &OpenError) -> bool {
    match error {
        OpenError::Manifest { .. } => true,
        OpenError::Io { source, .. } => is_absence(source),
        OpenError::NotHeld { .. }
        | OpenError::NotStaging { .. }
        | OpenError::Layout { .. }
        | OpenError::Index(_) => false,
    }
}

fn read_layout(id: &TreeId, text: Vec<u8>) -> Result<(Manifest, Layout), OpenError> {
    let tree = *id;
    let id = ContentId::Tree(tree);
    let manifest =
        Manifest::verified(&tree, text).map_err(|source| OpenError::Manifest { id, source })?;
    let layout =
        Layout::of_manifest(&manifest).map_err(|source| OpenError::Layout { id, source })?;
    Ok((manifest, layout))
}

/// A blob as the tree that consists of it alone: it is cut alike.
fn one_file(
    blob: BlobId,
    size: u64,
    mtime: i64,
    name: &OsStr,
) -> Result<(Manifest, Layout), OpenError> {
    let id = ContentId::Blob(blob);
    let name = Name::try_from(name).map_err(|error| OpenError::Io {
        id,
        source: io::Error::new(io::ErrorKind::InvalidInput, error),
    })?;
    let manifest = Manifest::of_one_file(&name, blob, size, mtime)
        .map_err(|source| OpenError::Manifest { id, source })?;
    let layout =
        Layout::of_manifest(&manifest).map_err(|source| OpenError::Layout { id, source })?;
    Ok((manifest, layout))
}

/// The directory that a file lies in, and its name there.
pub(super) fn parts(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

impl OpenTrees {
    fn find(&mut self, key: TreeKey) -> Option<Source> {
        let place = self.trees.iter().position(|(known, _, _)| *known == key)?;
        let (_, source, _) = self.trees.remove(place);
        self.trees.push((key, Arc::clone(&source), Instant::now()));
        Some(source)
    }

    fn put(&mut self, key: TreeKey, source: Source) {
        self.forget(key);
        self.trees.push((key, source, Instant::now()));
        while self.trees.len() > 1 && (self.trees.len() > MAX_OPEN || self.bytes() > MAX_OPEN_BYTES)
        {
            self.trees.remove(0);
        }
    }

    pub(super) fn forget(&mut self, key: TreeKey) {
        self.trees.retain(|(known, _, _)| *known != key);
    }

    fn bytes(&self) -> usize {
        self.trees
            .iter()
            .map(|(_, source, _)| source.manifest().text().len())
            .sum()
    }
}
