use rustix::fs::Stat;

/// What tells whether a file is still the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileStamp {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// How many bytes it has.
    pub size: u64,
    /// When its contents changed, in seconds and nanoseconds since the epoch.
    pub modify_time: (i64, u32),
    /// When anything of it changed; nobody can set this back.
    pub change_time: (i64, u32),
}

impl FileStamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: size(stat),
            modify_time: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            change_time: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        }
    }
}

/// The size as the system never gives it: not negative.
pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The bytes that a file takes on disk.
pub(crate) fn allocated(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512)
}

/// The part of the modification time that a manifest does not have.
pub(crate) fn nanoseconds(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds).unwrap_or(0)
}
