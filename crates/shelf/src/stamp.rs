//! How the kernel tells that a file was touched.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::Stat;
use zeroshare_content::manifest_mtime;

/// What changes when somebody changes a file, short of decaying disks.
///
/// Trees set their own modification times, so only all five together say that a file is still the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device that holds the inode.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last change of the contents, as far as their writer says.
    pub mtime: Moment,
    /// Last change of anything, as the kernel says.
    pub ctime: Moment,
}

/// A time as the kernel gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Whole seconds since the epoch, rounded down.
    pub seconds: i64,
    /// The rest, less than a second.
    pub nanoseconds: u32,
}

impl Stamp {
    /// Takes the stamp of an open file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime: Moment::new(metadata.mtime(), metadata.mtime_nsec()),
            ctime: Moment::new(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Stamp {
    /// Takes the stamp of a name in a directory.
    pub(crate) fn of_stat(stat: &Stat) -> Self {
        let moment = |seconds, nanoseconds: u64| Moment {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
        };
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: moment(stat.st_mtime, stat.st_mtime_nsec),
            ctime: moment(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Moment {
    fn new(seconds: i64, nanoseconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
        }
    }

    /// Whole seconds, truncated toward zero: -0.5 s is 0, as manifests write it.
    pub fn truncated(&self) -> i64 {
        manifest_mtime(self.seconds, self.nanoseconds)
    }
}
