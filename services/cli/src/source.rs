//! A tree that the user names: a directory, or an archive that is unpacked first.

use std::env;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zeroshare_content::MAX_ENTRIES;

use crate::archive::{self, Limits};
use crate::failure::Failure;

/// A directory to read; what was unpacked for it is removed with it.
#[derive(Debug)]
pub struct Source {
    directory: PathBuf,
    _unpacked: Option<TempDir>,
}

impl Source {
    /// Opens a directory, or unpacks an archive of at most `max_bytes` (what is free, if `None`).
    ///
    /// `inside` names the directory in it that is meant. Blocks.
    pub fn open(
        path: &Path,
        inside: Option<&Path>,
        max_bytes: Option<u64>,
    ) -> Result<Self, Failure> {
        let shown = path.display();
        let facts = path
            .metadata()
            .map_err(|error| Failure::because(&format!("cannot read {shown}"), &error))?;
        let (directory, unpacked) = if facts.is_dir() {
            (path.to_owned(), None)
        } else if facts.is_file() {
            let unpacked = unpack(path, max_bytes)?;
            (unpacked.path().to_owned(), Some(unpacked))
        } else {
            return Err(Failure::usage(format!(
                "{shown} is neither a directory nor an archive"
            )));
        };
        let directory = match inside {
            Some(inside) => beneath(&directory, inside)?,
            None => directory,
        };
        Ok(Self {
            directory,
            _unpacked: unpacked,
        })
    }

    /// Where its files lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

fn beneath(directory: &Path, inside: &Path) -> Result<PathBuf, Failure> {
    let plain = inside
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    let wanted = directory.join(inside);
    let is_directory = wanted.symlink_metadata().is_ok_and(|facts| facts.is_dir());
    if plain && is_directory {
        Ok(wanted)
    } else {
        Err(Failure::usage(format!(
            "there is no directory {} in it",
            inside.display()
        )))
    }
}

/// What a directory's disk has room for.
pub(crate) fn free_bytes(directory: &Path) -> Result<u64, Failure> {
    let free = rustix::fs::statvfs(directory).map_err(|error| unusable(directory, &error))?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

fn unusable(directory: &Path, error: &dyn std::error::Error) -> Failure {
    let message = format!("cannot use {} for unpacking: {error}", directory.display());
    Failure::failed(message).advise("TMPDIR names another directory.")
}

fn unpack(archive: &Path, max_bytes: Option<u64>) -> Result<TempDir, Failure> {
    let parent = temporary_parent();
    let free_bytes = free_bytes(&parent)?;
    let into = tempfile::Builder::new()
        .prefix("zeroshare-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(|error| unusable(&parent, &error))?;
    let limits = Limits {
        bytes: max_bytes.unwrap_or(free_bytes),
        entries: MAX_ENTRIES as u64,
    };
    archive::unpack(archive, into.path(), limits)
        .map_err(|error| Failure::because(&archive.display().to_string(), &error))?;
    Ok(into)
}

/// `TMPDIR`, else the place for what is large: `/tmp` may lie in memory.
pub(crate) fn temporary_parent() -> PathBuf {
    let large = Path::new("/var/tmp");
    match env::var_os("TMPDIR") {
        Some(named) if !named.is_empty() => named.into(),
        _ if large.is_dir() => large.to_owned(),
        _ => env::temp_dir(),
    }
}
