//! Forbids writing to what strangers reach, by Landlock.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible as _, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
};
use tracing::{debug, warn};

/// The newest version that is asked for; an older kernel enforces what it knows of it.
const NEWEST: ABI = ABI::V5;

/// The first version that knows truncation: without it a file's contents could be emptied.
const COMPLETE: i32 = 3;

/// What the kernel holds a thread to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// Every way of writing is forbidden outside the named directories.
    Full {
        /// The version of Landlock in use.
        abi: i32,
    },
    /// Most ways are; the kernel is too old to forbid the rest.
    Partial {
        /// The version of Landlock in use.
        abi: i32,
    },
    /// The kernel has no Landlock, or it is switched off.
    None,
}

/// Why a thread could not be restricted.
#[derive(Debug, thiserror::Error)]
pub enum RestrictError {
    /// A directory that shall stay writable cannot be opened.
    #[error("cannot open {}, which is to stay writable", path.display())]
    Path {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: landlock::PathFdError,
    },
    /// The kernel has Landlock, and refused.
    #[error("the kernel refused to restrict the thread")]
    Refused(#[source] landlock::RulesetError),
}

/// Forbids this thread, and all it starts from now on, to write anywhere but below these directories.
///
/// Reading stays as it is. It cannot be taken back. Call it before a runtime is made on the thread, or its workers
/// escape. Writes through files that are open already stay possible, and so does the network.
pub fn restrict_thread(writable: &[PathBuf]) -> Result<Restriction, RestrictError> {
    let writing = AccessFs::from_write(NEWEST);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writing)
        .and_then(Ruleset::create)
        .map_err(RestrictError::Refused)?;
    for path in writable {
        let opened = open(path)?;
        ruleset = ruleset
            .add_rule(PathBeneath::new(opened, writing))
            .map_err(RestrictError::Refused)?;
    }
    let status = ruleset.restrict_self().map_err(RestrictError::Refused)?;
    let restriction = match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => described(&status.ruleset, kernel_abi.unwrap_or(effective_abi as i32)),
        _ => Restriction::None,
    };
    match restriction {
        Restriction::Full { .. } => debug!(%restriction, "restricted to reading"),
        Restriction::Partial { .. } | Restriction::None => {
            warn!(%restriction, "what strangers reach is not kept from writing by the kernel");
        }
    }
    Ok(restriction)
}

fn open(path: &Path) -> Result<PathFd, RestrictError> {
    PathFd::new(path).map_err(|source| RestrictError::Path {
        path: path.to_owned(),
        source,
    })
}

fn described(enforced: &RulesetStatus, abi: i32) -> Restriction {
    match enforced {
        RulesetStatus::NotEnforced => Restriction::None,
        // What came after truncation is about devices, and nothing of ours opens any.
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced if abi >= COMPLETE => {
            Restriction::Full { abi }
        }
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => {
            Restriction::Partial { abi }
        }
    }
}

impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { abi } => write!(f, "landlock {abi}"),
            Self::Partial { abi } => write!(f, "landlock {abi}, incomplete"),
            Self::None => f.write_str("none"),
        }
    }
}
