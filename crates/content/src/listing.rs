use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::{
    Algorithm, BlobId, HashKind, Hasher, MAX_ENTRIES, MAX_LINK_TARGET, MAX_MANIFEST_BYTES, TreeId,
    TreePath,
};

/// What a directory holds, put in from a scan in any order, from which manifests are written.
///
/// One listing gives the text for each algorithm whose hashes its files have.
#[derive(Debug, Clone, Default)]
pub struct TreeListing {
    entries: BTreeMap<TreePath, Listed>,
}

#[derive(Debug, Clone)]
enum Listed {
    Directory {
        mtime: i64,
    },
    File(ListedFile),
    Symlink {
        digests: FileDigests,
        target_len: u64,
    },
}

/// A regular file, as a scan finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedFile {
    /// Whether anybody may run it.
    pub executable: bool,
    /// When it was changed; see [`manifest_mtime`].
    pub mtime: i64,
    /// How many bytes it has.
    pub size: u64,
    /// What its bytes hash to.
    pub digests: FileDigests,
}

/// The hashes of one file, as far as they were computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileDigests {
    sha1: Option<BlobId>,
    sha256: Option<BlobId>,
}

impl FileDigests {
    /// Hashes bytes that are all at hand.
    pub fn of(kinds: &[HashKind], bytes: &[u8]) -> Self {
        let mut hashers: Vec<_> = kinds.iter().map(|kind| Hasher::new(*kind)).collect();
        for hasher in &mut hashers {
            hasher.update(bytes);
        }
        hashers.into_iter().map(Hasher::finish).collect()
    }

    /// Takes in one more hash of the same bytes.
    pub fn insert(&mut self, blob: BlobId) {
        match blob.kind() {
            HashKind::Sha1 => self.sha1 = Some(blob),
            HashKind::Sha256 => self.sha256 = Some(blob),
        }
    }

    /// The hash of one kind, if it was computed.
    pub fn blob(&self, kind: HashKind) -> Option<BlobId> {
        match kind {
            HashKind::Sha1 => self.sha1,
            HashKind::Sha256 => self.sha256,
        }
    }
}

impl FromIterator<BlobId> for FileDigests {
    fn from_iter<T: IntoIterator<Item = BlobId>>(blobs: T) -> Self {
        let mut digests = Self::default();
        for blob in blobs {
            digests.insert(blob);
        }
        digests
    }
}

/// Cuts a file's time to whole seconds as manifests do: towards zero, also before the epoch.
pub fn manifest_mtime(seconds: i64, nanoseconds: u32) -> i64 {
    if seconds < 0 && nanoseconds > 0 {
        seconds + 1
    } else {
        seconds
    }
}

impl TreeListing {
    /// Starts with the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory. Its time matters to the oldest format only.
    pub fn directory(&mut self, path: TreePath, mtime: i64) -> Result<(), ListingError> {
        self.insert(path, Listed::Directory { mtime })
    }

    /// Adds a regular file. One that is called `.manifest` at the root is no part of a tree and
    /// left out.
    pub fn file(&mut self, path: TreePath, file: ListedFile) -> Result<(), ListingError> {
        if path.as_bytes() == b".manifest" {
            return Ok(());
        }
        self.insert(path, Listed::File(file))
    }

    /// Adds a symlink.
    pub fn symlink(&mut self, path: TreePath, target: &[u8]) -> Result<(), ListingError> {
        let target_len = target.len() as u64;
        if !(1..=MAX_LINK_TARGET).contains(&target_len) {
            return Err(ListingError::LinkTarget {
                path,
                bytes: target.len(),
            });
        }
        let digests = FileDigests::of(&HashKind::ALL, target);
        self.insert(
            path,
            Listed::Symlink {
                digests,
                target_len,
            },
        )
    }

    /// Says how many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether the tree is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the manifest as an algorithm wants it.
    pub fn manifest_text(&self, algorithm: Algorithm) -> Result<Vec<u8>, ListingError> {
        self.check_parents()?;
        let mut entries: Vec<_> = self.entries.iter().collect();
        match algorithm {
            Algorithm::Sha1 => entries.sort_by(|a, b| a.0.components().cmp(b.0.components())),
            Algorithm::Sha1New | Algorithm::Sha256 | Algorithm::Sha256New => {
                entries.sort_by(|a, b| leaves_first(*a, *b));
            }
        }
        let mut text = Vec::new();
        for (path, listed) in entries {
            write_line(&mut text, algorithm, path, listed)?;
            if text.len() > MAX_MANIFEST_BYTES {
                return Err(ListingError::TooLong);
            }
        }
        Ok(text)
    }

    /// Names the tree as an algorithm does.
    pub fn tree_id(&self, algorithm: Algorithm) -> Result<TreeId, ListingError> {
        Ok(TreeId::of_manifest(
            algorithm.family(),
            &self.manifest_text(algorithm)?,
        ))
    }

    fn insert(&mut self, path: TreePath, listed: Listed) -> Result<(), ListingError> {
        if self.entries.len() == MAX_ENTRIES {
            return Err(ListingError::TooManyEntries);
        }
        match self.entries.entry(path) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(listed);
                Ok(())
            }
            std::collections::btree_map::Entry::Occupied(occupied) => {
                Err(ListingError::Duplicate {
                    path: occupied.key().clone(),
                })
            }
        }
    }

    fn check_parents(&self) -> Result<(), ListingError> {
        for path in self.entries.keys() {
            let Some(parent) = path.parent() else {
                continue;
            };
            match self.entries.get(&parent) {
                Some(Listed::Directory { .. }) => {}
                Some(Listed::File(_) | Listed::Symlink { .. }) | None => {
                    return Err(ListingError::NoParent { path: path.clone() });
                }
            }
        }
        Ok(())
    }
}

/// The order of the newer formats: in each directory files and symlinks by name, then
/// subdirectories by name, each followed by all that it holds.
fn leaves_first(a: (&TreePath, &Listed), b: (&TreePath, &Listed)) -> Ordering {
    let mut of_a = a.0.components().peekable();
    let mut of_b = b.0.components().peekable();
    loop {
        let (name_of_a, name_of_b) = match (of_a.next(), of_b.next()) {
            (Some(name_of_a), Some(name_of_b)) => (name_of_a, name_of_b),
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
        };
        if name_of_a == name_of_b {
            continue;
        }
        let a_is_inner = of_a.peek().is_some() || a.1.is_directory();
        let b_is_inner = of_b.peek().is_some() || b.1.is_directory();
        return a_is_inner
            .cmp(&b_is_inner)
            .then_with(|| name_of_a.cmp(name_of_b));
    }
}

impl Listed {
    fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

fn write_line(
    text: &mut Vec<u8>,
    algorithm: Algorithm,
    path: &TreePath,
    listed: &Listed,
) -> Result<(), ListingError> {
    let kind = algorithm.family().hash_kind();
    let hash = |digests: &FileDigests| {
        let missing = || ListingError::NoDigest {
            path: path.clone(),
            kind,
        };
        digests
            .blob(kind)
            .map(|blob| blob.hex())
            .ok_or_else(missing)
    };
    let start = match listed {
        Listed::Directory { mtime } if algorithm == Algorithm::Sha1 => format!("D {mtime} /"),
        Listed::Directory { .. } => "D /".to_owned(),
        Listed::File(file) => {
            let letter = if file.executable { 'X' } else { 'F' };
            format!(
                "{letter} {} {} {} ",
                hash(&file.digests)?,
                file.mtime,
                file.size
            )
        }
        Listed::Symlink {
            digests,
            target_len,
        } => format!("S {} {target_len} ", hash(digests)?),
    };
    text.extend_from_slice(start.as_bytes());
    text.extend_from_slice(if listed.is_directory() {
        path.as_bytes()
    } else {
        path.name()
    });
    text.push(b'\n');
    Ok(())
}

/// Why a listing gives no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// One path was put in twice.
    #[error("{path} occurs twice")]
    Duplicate {
        /// Which.
        path: TreePath,
    },
    /// What it lies in was not put in as a directory.
    #[error("{path} lies in a directory that is not listed")]
    NoParent {
        /// Which.
        path: TreePath,
    },
    /// It was not hashed in the way that the algorithm needs.
    #[error("{path} has no {kind} hash")]
    NoDigest {
        /// Which.
        path: TreePath,
        /// The hash that it lacks.
        kind: HashKind,
    },
    /// No file system stores such a target.
    #[error(
        "the target of the symlink {path} has {bytes} bytes, where 1 to {MAX_LINK_TARGET} are possible"
    )]
    LinkTarget {
        /// Which.
        path: TreePath,
        /// How long its target is.
        bytes: usize,
    },
    /// There are more entries than a manifest may list.
    #[error("there are more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// The manifest would be longer than what is read.
    #[error("its manifest has more than {MAX_MANIFEST_BYTES} bytes")]
    TooLong,
}
