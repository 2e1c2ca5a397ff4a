use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfs;
use zeroshare_content::Entry;

use crate::StageError;
use crate::place::PlaceKind;
use crate::plan::Plan;

/// The longest target that file systems keep without a block of its own.
const INLINE_LINK_BYTES: u64 = 59;

/// Says how many bytes a user may still write to the file system of a path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    Ok(free(&rustix::fs::statvfs(path)?))
}

/// What a tree takes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Need {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// Counts in whole blocks, as file systems do.
pub(crate) fn needed(plan: &Plan, kind: PlaceKind, link_files: bool, block: u64) -> Need {
    let blocks = |bytes: u64| bytes.div_ceil(block).saturating_mul(block);
    let mut need = Need {
        bytes: block,
        entries: 1,
    };
    if kind == PlaceKind::Store {
        need.add(blocks(plan.manifest.text().len() as u64));
    }
    for (number, line) in plan.lines() {
        match line.entry {
            Entry::Symlink { target_len, .. } if target_len <= INLINE_LINK_BYTES => need.add(0),
            Entry::Directory | Entry::Symlink { .. } => need.add(block),
            Entry::File { .. } if link_files && is_linked(plan, number) => {}
            Entry::File { size, .. } => need.add(blocks(size)),
        }
    }
    need
}

impl Need {
    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries += 1;
    }
}

/// Says whether a file becomes a hard link of the first one with its contents.
fn is_linked(plan: &Plan, number: u32) -> bool {
    let first = plan
        .item_of_line(number)
        .and_then(|item| plan.file_line(item));
    let line = plan.line(number);
    first.is_some_and(|(first, first_line)| {
        first != number && line.is_some_and(|line| line.entry == first_line.entry)
    })
}

/// Compares what is still needed with what the file system has.
pub(crate) fn check(
    dir: impl AsFd,
    path: &Path,
    quota: Option<u64>,
    demand: impl FnOnce(u64) -> (Need, Need),
) -> Result<(), StageError> {
    let vfs = rustix::fs::fstatvfs(dir).map_err(|error| StageError::io(path, error))?;
    let (whole, present) = demand(vfs.f_frsize.max(1));
    compare(whole, present, quota, &vfs_room(&vfs))
}

/// What a file system has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    bytes: u64,
    /// `None` where entries are not counted.
    entries: Option<u64>,
}

fn vfs_room(vfs: &StatVfs) -> Room {
    Room {
        bytes: free(vfs),
        entries: (vfs.f_files > 0).then_some(vfs.f_favail),
    }
}

fn free(vfs: &StatVfs) -> u64 {
    vfs.f_bavail.saturating_mul(vfs.f_frsize)
}

fn compare(whole: Need, present: Need, quota: Option<u64>, room: &Room) -> Result<(), StageError> {
    if let Some(quota) = quota.filter(|quota| whole.bytes > *quota) {
        return Err(StageError::OverQuota {
            needed: whole.bytes,
            quota,
        });
    }
    let needed = whole.bytes.saturating_sub(present.bytes);
    if needed > room.bytes {
        return Err(StageError::NoSpace {
            needed,
            free: room.bytes,
        });
    }
    let needed = whole.entries.saturating_sub(present.entries);
    match room.entries {
        Some(free) if needed > free => Err(StageError::NoInodes { needed, free }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Need = Need {
        bytes: 1000,
        entries: 10,
    };
    const NOTHING: Need = Need {
        bytes: 0,
        entries: 0,
    };

    fn room(bytes: u64, entries: Option<u64>) -> Room {
        Room { bytes, entries }
    }

    #[test]
    fn what_fits_exactly_is_taken() {
        assert!(compare(WHOLE, NOTHING, Some(1000), &room(1000, Some(10))).is_ok());
    }

    #[test]
    fn one_byte_too_little_says_what_is_needed_and_free() {
        let refused = compare(WHOLE, NOTHING, None, &room(999, None));
        assert!(matches!(
            refused,
            Err(StageError::NoSpace {
                needed: 1000,
                free: 999
            })
        ));
    }

    #[test]
    fn what_is_there_already_is_not_needed_again() {
        let present = Need {
            bytes: 600,
            entries: 5,
        };
        assert!(compare(WHOLE, present, None, &room(400, Some(5))).is_ok());
    }

    #[test]
    fn a_file_system_out_of_inodes_is_out_of_space() {
        let refused = compare(WHOLE, NOTHING, None, &room(1000, Some(9)));
        assert!(matches!(
            refused,
            Err(StageError::NoInodes {
                needed: 10,
                free: 9
            })
        ));
    }

    #[test]
    fn the_quota_is_for_the_whole_tree() {
        let present = Need {
            bytes: 1000,
            entries: 10,
        };
        let refused = compare(WHOLE, present, Some(999), &room(1000, None));
        assert!(matches!(
            refused,
            Err(StageError::OverQuota {
                needed: 1000,
                quota: 999
            })
        ));
    }
}
