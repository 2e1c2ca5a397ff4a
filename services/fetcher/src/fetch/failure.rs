//! How a fetch ends without what it was to bring.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use zeroshare_api::errors::ErrorReason;
use zeroshare_chassis::process::chain;
use zeroshare_content::{ContentId, ManifestError};
use zeroshare_staging::{CommitError, PutError, StageError};

use crate::targets::TargetError;

/// Why a fetch gave up.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum FetchFailure {
    #[error("nobody was found within {waited:?} who has {id}{}", remark(last.as_ref()))]
    NoProviders {
        id: ContentId,
        waited: Duration,
        last: Option<String>,
    },
    #[error("{} {id}{}", tries(*tried), remark(last.as_ref()))]
    ProvidersExhausted {
        id: ContentId,
        tried: usize,
        last: Option<String>,
    },
    #[error("no peer has {id}, and upstream is of no use: {why}")]
    Upstream { id: ContentId, why: String },
    #[error("the manifest of {id} is refused: {why}")]
    ManifestRefused {
        id: ContentId,
        line: Option<usize>,
        why: String,
    },
    #[error("{id} has {size} bytes, and at most {limit} were allowed")]
    TooLarge {
        id: ContentId,
        size: u64,
        limit: u64,
    },
    #[error("{why}")]
    NoSpace {
        needed: Option<u64>,
        free: Option<u64>,
        why: String,
    },
    #[error("{} exists already", path.display())]
    TargetExists { path: PathBuf },
    #[error("{path} is no place for a file: {why}", path = path.display())]
    BadTarget { path: PathBuf, why: String },
    #[error("somebody else is writing {}", dir.display())]
    InUse { dir: PathBuf },
    #[error("{why}")]
    Disk { why: String },
    #[error("the service is stopping")]
    Stopping,
    #[error("cancelled")]
    Cancelled,
}

impl FetchFailure {
    /// The reason that programs decide by.
    pub(crate) fn reason(&self) -> ErrorReason {
        match self {
            Self::NoProviders { .. } => ErrorReason::NoProviders,
            Self::ProvidersExhausted { .. } => ErrorReason::ProvidersExhausted,
            Self::Upstream { .. } => ErrorReason::UpstreamFailed,
            Self::ManifestRefused { .. } => ErrorReason::ManifestRefused,
            Self::TooLarge { .. } => ErrorReason::TooLarge,
            Self::NoSpace { .. } => ErrorReason::NoSpace,
            Self::TargetExists { .. } | Self::InUse { .. } => ErrorReason::InUse,
            Self::BadTarget { .. } | Self::Disk { .. } => ErrorReason::StoreUnreadable,
            Self::Stopping | Self::Cancelled => ErrorReason::ShuttingDown,
        }
    }

    /// What `errors.proto` promises to say along with the reason.
    pub(crate) fn metadata(&self) -> Vec<(&'static str, String)> {
        let number = |value: &Option<u64>| value.map_or(String::new(), |value| value.to_string());
        match self {
            Self::ManifestRefused { line, why, .. } => {
                let line = line.map_or(String::new(), |line| line.to_string());
                vec![("line", line), ("why", why.clone())]
            }
            Self::TooLarge { size, limit, .. } => {
                vec![
                    ("sizeBytes", size.to_string()),
                    ("limitBytes", limit.to_string()),
                ]
            }
            Self::NoSpace { needed, free, .. } => {
                vec![("neededBytes", number(needed)), ("freeBytes", number(free))]
            }
            Self::NoProviders { id, .. }
            | Self::ProvidersExhausted { id, .. }
            | Self::Upstream { id, .. } => {
                vec![("contentId", id.to_string())]
            }
            Self::TargetExists { path }
            | Self::BadTarget { path, .. }
            | Self::InUse { dir: path } => {
                vec![("path", path.display().to_string())]
            }
            Self::Disk { .. } | Self::Stopping | Self::Cancelled => Vec::new(),
        }
    }

    /// The oldest format cannot be fetched: its manifest does not say which tree it means.
    pub(crate) fn old_format(id: ContentId) -> Self {
        debug_assert!(!id.travels());
        Self::of_manifest(id, &ManifestError::Ambiguous)
    }

    pub(crate) fn of_manifest(id: ContentId, error: &ManifestError) -> Self {
        let line = match error {
            ManifestError::Line { line, .. } => Some(*line),
            ManifestError::Ambiguous
            | ManifestError::TooLong { .. }
            | ManifestError::TooManyEntries
            | ManifestError::WrongDigest { .. } => None,
        };
        Self::ManifestRefused {
            id,
            line,
            why: chain(error),
        }
    }

    pub(crate) fn of_stage(id: ContentId, error: StageError) -> Self {
        let why = chain(&error);
        match error {
            StageError::AlreadyLocked { dir } => Self::InUse { dir },
            StageError::NoSpace { needed, free } | StageError::NoInodes { needed, free } => {
                Self::NoSpace {
                    needed: Some(needed),
                    free: Some(free),
                    why,
                }
            }
            StageError::OverQuota { needed, quota } => Self::NoSpace {
                needed: Some(needed),
                free: Some(quota),
                why,
            },
            StageError::TargetExists { path } => Self::TargetExists { path },
            StageError::Layout(_) => Self::ManifestRefused {
                id,
                line: None,
                why,
            },
            StageError::Resume(put) => Self::of_put(&put),
            StageError::BadTarget { .. }
            | StageError::Foreign { .. }
            | StageError::NameTaken { .. }
            | StageError::TimeNotKept { .. }
            | StageError::Io { .. } => Self::of_io(&error, why),
        }
    }

    pub(crate) fn of_put(error: &PutError) -> Self {
        let why = chain(error);
        match error {
            PutError::NoSpace { .. } => Self::NoSpace {
                needed: None,
                free: None,
                why,
            },
            PutError::NoSuchItem { .. }
            | PutError::OutOfRange { .. }
            | PutError::Mismatch { .. }
            | PutError::Incomplete { .. }
            | PutError::NameTaken { .. }
            | PutError::Io { .. } => Self::Disk { why },
        }
    }

    pub(crate) fn of_commit(error: CommitError) -> Self {
        let why = chain(&error);
        match error {
            CommitError::TargetExists { path } => Self::TargetExists { path },
            CommitError::NoSpace { .. } => Self::NoSpace {
                needed: None,
                free: None,
                why,
            },
            CommitError::Incomplete { .. }
            | CommitError::Differs { .. }
            | CommitError::Io { .. } => Self::Disk { why },
        }
    }

    fn of_io(error: &StageError, why: String) -> Self {
        let source = error
            .source()
            .and_then(|source| source.downcast_ref::<std::io::Error>());
        match source.map(std::io::Error::kind) {
            Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => {
                Self::NoSpace {
                    needed: None,
                    free: None,
                    why,
                }
            }
            _ => Self::Disk { why },
        }
    }
}

impl From<TargetError> for FetchFailure {
    fn from(error: TargetError) -> Self {
        Self::Disk {
            why: error.to_string(),
        }
    }
}

fn tries(count: usize) -> String {
    match count {
        0 => "no peer could be asked for".to_owned(),
        _ => format!("none of {count} peer(s) gave all of"),
    }
}

fn remark(last: Option<&String>) -> String {
    last.map_or(String::new(), |last| format!(" ({last})"))
}
