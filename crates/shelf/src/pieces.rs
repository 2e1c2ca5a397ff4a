//! Reading the pieces of one tree or blob from disk.

mod parts;
mod reader;

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use zeroshare_content::{ContentId, Item, Layout, Manifest, Piece, TreePath};

use crate::beneath::Beneath;
use crate::index::{Index, IndexError, TreeKey};

pub use parts::Sink;
pub use reader::PieceReader;

/// Something whose pieces can be read: verified and indexed, or still being staged.
///
/// A blob is read as the tree that consists of it alone.
#[derive(Debug)]
pub struct PieceSource {
    id: ContentId,
    pub(crate) dir: Beneath,
    manifest: Manifest,
    layout: Layout,
    records: Records,
}

/// What is known of the files.
#[derive(Debug)]
enum Records {
    /// What they were when they were hashed.
    Indexed { index: Arc<Index>, tree: TreeKey },
    /// Nothing but that their writer vouches for them.
    Staged,
}

/// Whether bytes are hashed before they are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// The stamps suffice.
    No,
    /// Somebody doubts them.
    Yes,
}

/// Why a piece could not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The layout has no such piece.
    #[error("there is no piece {piece}")]
    NoSuchPiece {
        /// Which.
        piece: u32,
    },
    /// A file is not the one that was hashed: verify the tree again.
    #[error("{path} changed since it was verified")]
    Changed {
        /// Which.
        path: TreePath,
    },
    /// A file does not have its hash any more, though it looks untouched.
    #[error("{path} is corrupt on disk")]
    Corrupt {
        /// Which.
        path: TreePath,
    },
    /// The system refused.
    #[error("cannot read {path}")]
    Io {
        /// Which.
        path: TreePath,
        /// What it says.
        source: io::Error,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Who reads did not want more.
    #[error("the reader stopped")]
    Stopped,
}

impl PieceSource {
    pub(crate) fn indexed(
        id: ContentId,
        dir: Beneath,
        (manifest, layout): (Manifest, Layout),
        index: Arc<Index>,
        tree: TreeKey,
    ) -> Self {
        Self {
            id,
            dir,
            manifest,
            layout,
            records: Records::Indexed { index, tree },
        }
    }

    pub(crate) fn staged(id: ContentId, dir: Beneath, manifest: Manifest, layout: Layout) -> Self {
        Self {
            id,
            dir,
            manifest,
            layout,
            records: Records::Staged,
        }
    }

    /// Says what it is.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// Lists what it consists of: for a blob one file, under the name that its sharer gave it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The text whose digest is the id; a blob has none.
    pub fn manifest_text(&self) -> &[u8] {
        match self.id {
            ContentId::Tree(_) => self.manifest.text(),
            ContentId::Blob(_) => &[],
        }
    }

    /// What its sharer calls a verified blob.
    pub fn file_name(&self) -> Option<&[u8]> {
        let line = self.manifest.lines().first()?;
        match (&self.id, &self.records) {
            (ContentId::Blob(_), Records::Indexed { .. }) => Some(line.path.name()),
            (ContentId::Blob(_), Records::Staged) | (ContentId::Tree(_), _) => None,
        }
    }

    /// Says how it is cut.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Names the midstates by which slices of the file on a line ask to be judged; `None` while they are unknown.
    pub fn list_digest(&self, line: u32) -> Result<Option<[u8; 32]>, IndexError> {
        match &self.records {
            Records::Indexed { index, tree } => index.list_digest(*tree, line),
            Records::Staged => Ok(None),
        }
    }

    /// The line of the file that a slice is of; `None` for runs.
    pub fn slice_line(&self, piece: u32) -> Option<u32> {
        match self.layout.piece(piece)? {
            Piece::Slice { item, .. } => Some(self.layout.items().get(item as usize)?.line),
            Piece::Run { .. } => None,
        }
    }

    /// Counts the midstates of all files that are known; none while staged.
    pub fn known_midstates(&self) -> Result<u64, IndexError> {
        match &self.records {
            Records::Indexed { index, tree } => index.midstate_count(*tree),
            Records::Staged => Ok(0),
        }
    }

    /// The key of the index; `None` while staged.
    pub(crate) fn key(&self) -> Option<TreeKey> {
        match &self.records {
            Records::Indexed { tree, .. } => Some(*tree),
            Records::Staged => None,
        }
    }

    fn path_of(&self, item: &Item) -> Option<&TreePath> {
        self.manifest
            .lines()
            .get(item.line as usize)
            .map(|line| &line.path)
    }
}

/// Not there, or something else is there now.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    let kind = error.kind();
    let absent = [
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::InvalidInput,
    ];
    absent.contains(&kind) || Errno::from_io_error(error) == Some(Errno::LOOP)
}
