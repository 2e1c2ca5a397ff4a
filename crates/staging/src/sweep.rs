use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Stat};

use crate::StageError;
use crate::beneath;
use crate::place::{COPY_PREFIX, JOURNAL_SUFFIX, STAGING_PREFIX, TryLock, open_parent, try_lock};
use crate::quarantine::QUARANTINE_PREFIX;

/// A copy that nobody went on with for so long is swept by the next one into the same directory.
const MAX_COPY_AGE: Duration = Duration::from_hours(24);

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// What is gone: staging directories, what was remembered beside them, and trees in quarantine.
    pub removed: Vec<PathBuf>,
    /// Staging directories that somebody is writing.
    pub locked: usize,
    /// What could not be removed.
    pub failed: Vec<PathBuf>,
}

/// Removes from a store, or from a directory that copies are made in, what nobody went on with for `max_age`.
///
/// Never touches what somebody has locked, nor what is not ours: Zero Install has `tmp-…` names of its own.
pub fn sweep(store: &Path, now: SystemTime, max_age: Duration) -> Result<Swept, StageError> {
    let parent = open_parent(store)?;
    let oldest_kept = now.checked_sub(max_age);
    sweep_named(&parent, store, oldest_kept, |_| true).map_err(|error| StageError::io(store, error))
}

/// Removes what copies into this directory left long ago; no store's sweep comes here.
pub(crate) fn sweep_copies(parent: &OwnedFd, path: &Path, now: SystemTime) {
    let oldest_kept = now.checked_sub(MAX_COPY_AGE);
    let is_copy = |name: &[u8]| name.starts_with(COPY_PREFIX);
    if let Err(error) = sweep_named(parent, path, oldest_kept, is_copy) {
        tracing::debug!(path = %path.display(), %error, "leftovers of copies cannot be swept");
    }
}

fn sweep_named(
    parent: &OwnedFd,
    path: &Path,
    oldest_kept: Option<SystemTime>,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<Swept> {
    let names = beneath::names(parent)?;
    let mut swept = Swept::default();
    for name in names.into_iter().filter(|name| is_wanted(name)) {
        let Some(kind) = kind_of(&name) else {
            continue;
        };
        let path = path.join(OsStr::from_bytes(&name));
        match sweep_one(parent, &name, kind, oldest_kept) {
            Ok(Outcome::Removed) => swept.removed.push(path),
            Ok(Outcome::Locked) => swept.locked += 1,
            Ok(Outcome::Kept) => {}
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "a leftover cannot be swept");
                swept.failed.push(path);
            }
        }
    }
    Ok(swept)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Staging,
    /// What is remembered beside a staging directory, or a draft of it.
    Journal,
    Quarantine,
}

enum Outcome {
    Removed,
    Kept,
    Locked,
}

fn kind_of(name: &[u8]) -> Option<Kind> {
    if name.starts_with(QUARANTINE_PREFIX) {
        return Some(Kind::Quarantine);
    }
    let ours = name.starts_with(STAGING_PREFIX) || name.starts_with(COPY_PREFIX);
    ours.then(|| match staging_name(name) {
        Some(_) => Kind::Journal,
        None => Kind::Staging,
    })
}

/// The staging directory that a journal or its draft belongs to.
fn staging_name(journal: &[u8]) -> Option<&[u8]> {
    journal
        .strip_suffix(b".new")
        .unwrap_or(journal)
        .strip_suffix(JOURNAL_SUFFIX)
}

fn sweep_one(
    parent: &OwnedFd,
    name: &[u8],
    kind: Kind,
    oldest_kept: Option<SystemTime>,
) -> io::Result<Outcome> {
    let Some(stat) = beneath::find(parent, name)? else {
        return Ok(Outcome::Kept);
    };
    match kind {
        Kind::Staging => sweep_staging(parent, name, &stat, oldest_kept),
        Kind::Journal => {
            let staging = staging_name(name).unwrap_or(name);
            let orphaned = beneath::find(parent, staging)?.is_none();
            if !orphaned || !is_old(&stat, oldest_kept) {
                return Ok(Outcome::Kept);
            }
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            Ok(Outcome::Removed)
        }
        Kind::Quarantine => {
            // Moving a tree aside sets its ctime, and leaves its mtime as it was.
            if !is_before(stat.st_ctime, oldest_kept) {
                return Ok(Outcome::Kept);
            }
            beneath::remove(parent, name)?;
            Ok(Outcome::Removed)
        }
    }
}

fn sweep_staging(
    parent: &OwnedFd,
    name: &[u8],
    stat: &Stat,
    oldest_kept: Option<SystemTime>,
) -> io::Result<Outcome> {
    let journal = [name, JOURNAL_SUFFIX].concat();
    let recorded = beneath::find(parent, &journal)?;
    let recently = recorded.is_some_and(|journal| !is_old(&journal, oldest_kept));
    // The lock is held until all is gone.
    let _lock = match try_lock(parent, OsStr::from_bytes(name)) {
        TryLock::Locked(dir) => dir,
        TryLock::Busy => return Ok(Outcome::Locked),
        TryLock::Foreign | TryLock::NoDirectory | TryLock::Vanished => return Ok(Outcome::Kept),
        TryLock::Failed(error) => return Err(error.into()),
    };
    if recently || !is_old(stat, oldest_kept) {
        return Ok(Outcome::Kept);
    }
    beneath::remove(parent, name)?;
    beneath::remove(parent, &journal)?;
    Ok(Outcome::Removed)
}

fn is_old(stat: &Stat, oldest_kept: Option<SystemTime>) -> bool {
    is_before(stat.st_mtime, oldest_kept)
}

fn is_before(seconds: i64, limit: Option<SystemTime>) -> bool {
    let Some(limit) = limit.and_then(|limit| limit.duration_since(UNIX_EPOCH).ok()) else {
        return false;
    };
    u64::try_from(seconds).is_ok_and(|seconds| seconds < limit.as_secs())
}
