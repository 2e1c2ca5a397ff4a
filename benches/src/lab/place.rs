//! Directories to work in.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Result;

use crate::supervise::{self, remove};

/// Below this much free space finished rounds are removed at once.
const SPARE_BYTES: u64 = 24 << 30;

/// How long ext4 gets after something was removed, before anything is timed.
const REST: Duration = Duration::from_secs(2);

/// A file system to work on: each run gets a fresh directory, and old ones are removed later, because ext4 creates files ten times
/// slower right after a removal.
#[derive(Debug)]
pub(crate) struct Place {
    name: &'static str,
    directory: PathBuf,
    is_memory: bool,
    count: Cell<u32>,
}

impl Place {
    /// A directory on the disk.
    pub(crate) fn disk() -> Result<Self> {
        Self::at(supervise::disk()?.join("place"), false)
    }

    /// A directory on the tmpfs.
    pub(crate) fn tmpfs() -> Result<Self> {
        Self::at(supervise::tmpfs()?.join("place"), true)
    }

    fn at(directory: PathBuf, is_memory: bool) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self {
            name: kind(&directory)?,
            directory,
            is_memory,
            count: Cell::new(0),
        })
    }

    /// What file system it is.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether nothing written there reaches a disk.
    pub(crate) fn is_memory(&self) -> bool {
        self.is_memory
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A new directory.
    pub(crate) fn fresh(&self) -> Result<PathBuf> {
        self.count.update(|count| count + 1);
        let fresh = self.directory.join(format!("run-{}", self.count.get()));
        fs::create_dir(&fresh)?;
        Ok(fresh)
    }

    /// Takes back what is no longer needed: at once where it takes memory, or where space is short.
    pub(crate) fn done_with(&self, fresh: &Path) -> Result<()> {
        if self.is_memory || self.free_bytes()? < SPARE_BYTES {
            remove(fresh)?;
        }
        Ok(())
    }

    /// Writes back what is dirty, so that no run pays for the one before.
    pub(crate) fn settle(&self) {
        if !self.is_memory {
            rustix::fs::sync();
        }
    }

    /// Removes everything in it, and lets the file system rest.
    pub(crate) fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            remove(&entry?.path())?;
        }
        self.settle();
        if !self.is_memory {
            thread::sleep(REST);
        }
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64> {
        let room = rustix::fs::statvfs(&self.directory)?;
        Ok(room.f_bavail * room.f_frsize)
    }
}

/// The name of a file system (statfs(2)).
fn kind(directory: &Path) -> Result<&'static str> {
    Ok(match rustix::fs::statfs(directory)?.f_type {
        0xef53 => "ext4",
        0x0102_1994 => "tmpfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x794c_7630 => "overlayfs",
        _ => "another file system",
    })
}
