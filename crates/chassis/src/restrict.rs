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
    /// Every way of writing that Landlock knows is forbidden outside the named directories; see [`restrict_thread`].
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
///
/// Landlock guards contents and names: writing, truncating, making, removing, renaming, linking. It does not cover what is
/// written down about a file, so its mode, owner, times and extended attributes (`chmod`, `chown`, `utimes`, `setxattr`)
/// can still be changed where this user may.
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
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => Restriction::None,
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

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, OpenOptions},
        io::{self, Read as _, Write as _},
        os::unix::fs::symlink,
        slice, thread,
    };

    use super::*;

    /// Every way to change what lies below a directory that has a file `old` with contents.
    fn attempts(dir: &Path) -> Vec<(&'static str, io::Result<()>)> {
        let old = dir.join("old");
        let truncate = || {
            OpenOptions::new()
                .write(true)
                .open(&old)
                .and_then(|file| file.set_len(0))
        };
        vec![
            (
                "write",
                OpenOptions::new().append(true).open(&old).map(drop),
            ),
            ("truncate", truncate()),
            ("make a file", File::create(dir.join("new")).map(drop)),
            ("make a directory", fs::create_dir(dir.join("newdir"))),
            ("make a symlink", symlink("old", dir.join("newlink"))),
            (
                "make a socket",
                std::os::unix::net::UnixListener::bind(dir.join("s")).map(drop),
            ),
            ("link", fs::hard_link(&old, dir.join("link"))),
            ("rename", fs::rename(&old, dir.join("older"))),
            ("remove", fs::remove_file(dir.join("doomed"))),
        ]
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["old", "doomed"] {
            fs::write(dir.path().join(name), "contents").unwrap();
        }
        dir
    }

    /// What a restricted thread, and a thread that it started, found they could do.
    fn restricted(writable: &Path, other: &Path) -> (Restriction, Vec<(&'static str, io::Error)>) {
        let (writable, other) = (writable.to_owned(), other.to_owned());
        let work = move || {
            let restriction = restrict_thread(slice::from_ref(&writable)).unwrap();
            let mut text = String::new();
            File::open(other.join("old"))
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "contents", "reading stays as it is");
            File::create(writable.join("mine"))
                .unwrap()
                .write_all(b"mine")
                .unwrap();
            fs::rename(writable.join("mine"), writable.join("mine too")).unwrap();
            let below = thread::spawn(move || attempts(&other)).join().unwrap();
            let refused = below
                .into_iter()
                .filter_map(|(what, done)| Some((what, done.err()?)));
            (restriction, refused.collect())
        };
        thread::spawn(work).join().unwrap()
    }

    #[test]
    fn a_restricted_thread_and_its_children_can_only_read() {
        let (writable, other) = (tree(), tree());
        let (restriction, refused) = restricted(writable.path(), other.path());
        match restriction {
            Restriction::Full { .. } => {
                assert_eq!(refused.len(), 9, "{refused:?}");
                for (what, error) in &refused {
                    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{what}");
                }
                assert_eq!(fs::read(other.path().join("old")).unwrap(), b"contents");
            }
            Restriction::Partial { abi } => assert!(abi < COMPLETE && !refused.is_empty()),
            Restriction::None => assert!(refused.is_empty(), "{refused:?}"),
        }
        // This thread was never restricted.
        for (what, done) in attempts(tree().path()) {
            assert!(done.is_ok(), "{what}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_cannot_stay_writable() {
        let missing = tempfile::tempdir().unwrap().path().join("missing");
        let error = thread::spawn(move || restrict_thread(&[missing]))
            .join()
            .unwrap()
            .unwrap_err();
        assert!(matches!(error, RestrictError::Path { .. }), "{error}");
    }

    #[test]
    fn old_kernels_are_told_from_complete_ones() {
        use RulesetStatus::{FullyEnforced, NotEnforced, PartiallyEnforced};
        assert_eq!(described(&NotEnforced, 7), Restriction::None);
        assert_eq!(
            described(&PartiallyEnforced, 2),
            Restriction::Partial { abi: 2 }
        );
        assert_eq!(
            described(&PartiallyEnforced, 3),
            Restriction::Full { abi: 3 }
        );
        assert_eq!(described(&FullyEnforced, 7), Restriction::Full { abi: 7 });
    }
}
