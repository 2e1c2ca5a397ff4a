use std::io;
use std::ops::Range;
use std::path::PathBuf;

use zeroshare_content::{BlobId, LayoutError};

/// Why staging cannot begin, or its surroundings cannot be tended.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Another process, or another part of this one, stages the same tree at the same place.
    #[error("somebody else is writing {}", dir.display())]
    AlreadyLocked {
        /// The staging directory.
        dir: PathBuf,
    },
    /// The file system has not enough room for the whole tree.
    #[error("not enough space: {needed} more bytes are needed, {free} are free")]
    NoSpace {
        /// How many bytes are still to be written, in whole blocks.
        needed: u64,
        /// How many bytes may be written.
        free: u64,
    },
    /// The file system has not enough room for so many entries.
    #[error("not enough space: {needed} more entries are needed, the file system takes {free}")]
    NoInodes {
        /// How many entries are still to be made.
        needed: u64,
        /// How many may be made.
        free: u64,
    },
    /// The tree is larger than it may be.
    #[error("{needed} bytes are needed, {quota} are allowed")]
    OverQuota {
        /// How many bytes the tree takes, in whole blocks.
        needed: u64,
        /// How many it may take.
        quota: u64,
    },
    /// The place of an ordinary copy is taken.
    #[error("{} exists already", path.display())]
    TargetExists {
        /// The place.
        path: PathBuf,
    },
    /// The place of an ordinary copy cannot be one.
    #[error("{} cannot be the name of a new directory", path.display())]
    BadTarget {
        /// The place.
        path: PathBuf,
    },
    /// The staging directory is somebody else's.
    #[error("{} belongs to another user", dir.display())]
    Foreign {
        /// The staging directory.
        dir: PathBuf,
    },
    /// Two names are one here: the file system folds case or normalises names.
    #[error("{} is taken: the file system does not tell its name from another", path.display())]
    NameTaken {
        /// The entry that could not be made.
        path: PathBuf,
    },
    /// The file system cannot store the time of a file, and the tree would have another id.
    #[error("the file system at {} does not keep the time {seconds}", dir.display())]
    TimeNotKept {
        /// The staging directory.
        dir: PathBuf,
        /// The time, in seconds since the epoch.
        seconds: i64,
    },
    /// The content cannot be cut into pieces.
    #[error("the tree cannot be transferred")]
    Layout(#[from] LayoutError),
    /// What an earlier run left could not be completed.
    #[error("cannot go on with what was staged before")]
    Resume(#[source] Box<PutError>),
    /// The disk said no.
    #[error("cannot stage at {}", path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why bytes were not taken. What was proven before stays proven.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The layout has no such item.
    #[error("there is no item {item}")]
    NoSuchItem {
        /// Its number.
        item: u32,
    },
    /// The bytes lie outside of the item, or the item is one that is only taken whole.
    #[error("item {item} has no {len} bytes at {offset}")]
    OutOfRange {
        /// Its number.
        item: u32,
        /// Where they start.
        offset: u64,
        /// How many they are.
        len: u64,
    },
    /// The bytes are those of something else.
    #[error("the bytes are not those of {blob}")]
    Mismatch {
        /// What was wanted.
        blob: BlobId,
        /// What they are.
        found: BlobId,
    },
    /// Some bytes were not written yet.
    #[error("bytes {} to {} of item {item} are missing", missing.start, missing.end)]
    Incomplete {
        /// Its number.
        item: u32,
        /// The first bytes that are missing.
        missing: Range<u64>,
    },
    /// The disk is full, or the user may not have more of it.
    #[error("no space left to write {}", path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// Two names are one here: the file system folds case or normalises names.
    #[error("{} is taken: the file system does not tell its name from another", path.display())]
    NameTaken {
        /// The entry that could not be made.
        path: PathBuf,
    },
    /// The disk said no.
    #[error("cannot write {}", path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a tree did not become visible. It is still staged, and can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Some items are not proven.
    #[error("{missing} items are missing")]
    Incomplete {
        /// How many.
        missing: usize,
    },
    /// The staged tree is not what was written.
    #[error("{} is not as it was written: {how}", path.display())]
    Differs {
        /// The entry.
        path: PathBuf,
        /// In what it differs.
        how: &'static str,
    },
    /// The place of an ordinary copy is taken.
    #[error("{} exists already", path.display())]
    TargetExists {
        /// The place.
        path: PathBuf,
    },
    /// The disk is full, or the user may not have more of it.
    #[error("no space left to finish {}", path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// The disk said no.
    #[error("cannot finish {}", path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Says whether an error means that there is no room left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl StageError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.into(),
            source: source.into(),
        }
    }
}

impl PutError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.into(), source.into());
        if is_full(&source) {
            Self::NoSpace { path }
        } else if source.kind() == io::ErrorKind::AlreadyExists {
            Self::NameTaken { path }
        } else {
            Self::Io { path, source }
        }
    }
}

impl CommitError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.into(), source.into());
        if is_full(&source) {
            Self::NoSpace { path }
        } else {
            Self::Io { path, source }
        }
    }
}
