use std::fmt;
use std::sync::Arc;

use crate::{BlobId, Family, HashKind, MAX_ENTRIES, MAX_MANIFEST_BYTES, Name, TreeId, TreePath};

mod fault;
mod parse;

pub use fault::LineFault;

/// The list of all that a tree consists of, read from its canonical text.
///
/// The text is exactly the one that writing these lines gives, so that text, lines and id stand for
/// each other. Every directory has its line before what lies in it, no path occurs twice, none
/// leads out of the tree, and the name `.manifest` is free at the root, where a store keeps the
/// text. Cloning is cheap.
#[derive(Clone)]
pub struct Manifest(Arc<Parsed>);

struct Parsed {
    id: TreeId,
    text: Vec<u8>,
    lines: Vec<Line>,
    total_size: u64,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it lies.
    pub path: TreePath,
    /// What it is.
    pub entry: Entry,
}

/// What a line of a manifest says about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A directory; its time is not part of the tree.
    Directory,
    /// A regular file.
    File {
        /// Whether it may be run.
        executable: bool,
        /// Its contents.
        blob: BlobId,
        /// When it was changed, in seconds since the epoch, with the fraction cut off towards zero.
        mtime: i64,
        /// How many bytes it has.
        size: u64,
    },
    /// A symlink; its time is not part of the tree.
    Symlink {
        /// Its target, hashed as if it were the contents of a file.
        blob: BlobId,
        /// How many bytes the target has; never 0, which no file system can store.
        target_len: u64,
    },
}

impl Manifest {
    /// Reads the text of a manifest whose digest is not known yet.
    pub fn parse(family: Family, text: impl Into<Vec<u8>>) -> Result<Self, ManifestError> {
        let text = text.into();
        check_length(&text)?;
        let id = TreeId::of_manifest(family, &text);
        Self::read(id, text)
    }

    /// Reads the text of the manifest that an id names: nothing is read before the digest matches.
    pub fn verified(id: &TreeId, text: impl Into<Vec<u8>>) -> Result<Self, ManifestError> {
        let text = text.into();
        check_length(&text)?;
        let found = TreeId::of_manifest(id.family(), &text);
        if found != *id {
            return Err(ManifestError::WrongDigest {
                expected: *id,
                found,
            });
        }
        Self::read(found, text)
    }

    /// Describes the tree that consists of one file with this name.
    ///
    /// It is cut as the blob alone is ([`Layout::of_blob`](crate::Layout::of_blob)), so that whatever handles trees
    /// handles a single file.
    pub fn of_one_file(
        name: &Name,
        blob: BlobId,
        size: u64,
        mtime: i64,
    ) -> Result<Self, ManifestError> {
        let family = match blob.kind() {
            HashKind::Sha1 => Family::Sha1New,
            HashKind::Sha256 => Family::Sha256,
        };
        let mut text = format!("F {} {mtime} {size} ", blob.hex()).into_bytes();
        text.extend_from_slice(name.as_bytes());
        text.push(b'\n');
        Self::parse(family, text)
    }

    fn read(id: TreeId, text: Vec<u8>) -> Result<Self, ManifestError> {
        if id.family() == Family::Sha1 {
            return Err(ManifestError::Ambiguous);
        }
        let (lines, total_size) = parse::lines(id.family().hash_kind(), &text)?;
        Ok(Self(Arc::new(Parsed {
            id,
            text,
            lines,
            total_size,
        })))
    }

    /// The digest of the text, which names the tree.
    pub fn id(&self) -> TreeId {
        self.0.id
    }

    /// The family of its id.
    pub fn family(&self) -> Family {
        self.0.id.family()
    }

    /// The text, byte for byte as it was given.
    pub fn text(&self) -> &[u8] {
        &self.0.text
    }

    /// All entries in the order of the text; others refer to them by their index here.
    pub fn lines(&self) -> &[Line] {
        &self.0.lines
    }

    /// The bytes of all files, each as often as it occurs; at most
    /// [`MAX_CONTENT_BYTES`](crate::MAX_CONTENT_BYTES).
    pub fn total_size(&self) -> u64 {
        self.0.total_size
    }
}

impl PartialEq for Manifest {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id && self.0.text == other.0.text
    }
}

impl Eq for Manifest {}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manifest({}, {} entries)", self.id(), self.lines().len())
    }
}

fn check_length(text: &[u8]) -> Result<(), ManifestError> {
    if text.len() > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLong { bytes: text.len() });
    }
    Ok(())
}

/// Why bytes are not the manifest of a tree that we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The oldest format cannot be read back.
    #[error(
        "a manifest of the oldest format, sha1=, cannot be read into a tree: \
         it does not say whether a file after a directory lies inside or beside it"
    )]
    Ambiguous,
    /// The text is longer than any that is read.
    #[error("a manifest of {bytes} bytes, where at most {MAX_MANIFEST_BYTES} are read")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// There are more lines than are read.
    #[error("a manifest of more than {MAX_ENTRIES} lines")]
    TooManyEntries,
    /// These bytes are the manifest of something else.
    #[error("this is the manifest of {found}, not of {expected}")]
    WrongDigest {
        /// The id that was asked for.
        expected: TreeId,
        /// The id that the bytes have.
        found: TreeId,
    },
    /// One line is not as it must be.
    #[error("line {line} of the manifest: {why}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        why: LineFault,
    },
}
