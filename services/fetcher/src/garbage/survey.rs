//! What lies in a store: how much, since when, and when it was read last.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroshare_content::{MAX_ENTRIES, TreeId};

use super::uses::Inode;

/// `st_blocks` counts these, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// A tree in a store.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) id: TreeId,
    pub(super) name: String,
    /// What it takes on the disk; a file that several trees share counts in each.
    pub(super) size_bytes: u64,
    pub(super) added: SystemTime,
    pub(super) used: SystemTime,
    /// All that it consists of.
    pub(super) inodes: BTreeSet<Inode>,
}

/// Looks at all trees of a store; what vanishes meanwhile is left out. Blocks.
pub(super) fn survey(store: &Path) -> io::Result<Vec<Surveyed>> {
    let mut trees = Vec::new();
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Some(id) = TreeId::from_directory_name(name.as_bytes()) else {
            continue;
        };
        // A link leads to somebody else's tree.
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(surveyed) = look(id, name, entry.path())
        {
            trees.push(surveyed);
        }
    }
    trees.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(trees)
}

fn look(id: TreeId, name: String, path: PathBuf) -> io::Result<Surveyed> {
    let root = fs::symlink_metadata(&path)?;
    // The rename that made it visible set this; nothing sets it back.
    let added = moment(root.ctime());
    let mut surveyed = Surveyed {
        id,
        name,
        size_bytes: 0,
        added,
        used: added,
        inodes: BTreeSet::new(),
    };
    surveyed.take_in(&root);
    let mut waiting = vec![path];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let found = entry.metadata()?;
            surveyed.take_in(&found);
            if surveyed.inodes.len() > MAX_ENTRIES {
                return Err(io::Error::other("more entries than a tree can have"));
            }
            if found.is_dir() {
                waiting.push(entry.path());
            } else if found.is_file() {
                surveyed.used = surveyed.used.max(moment(found.atime()));
            }
        }
    }
    Ok(surveyed)
}

impl Surveyed {
    fn take_in(&mut self, found: &Metadata) {
        let bytes = found.blocks().saturating_mul(BLOCK_BYTES);
        self.size_bytes = self.size_bytes.saturating_add(bytes);
        self.inodes.insert(found.ino());
    }
}

fn moment(seconds: i64) -> SystemTime {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;

    use super::*;

    #[test]
    fn a_tree_is_as_young_as_its_file_that_was_read_last() {
        let store = tempfile::tempdir().unwrap();
        let name = format!("sha1new={}", "a".repeat(40));
        let tree = store.path().join(&name);
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::create_dir(store.path().join("tmp-1")).unwrap();
        let late = SystemTime::now() + Duration::from_hours(48);
        for (file, read) in [("bin/one", UNIX_EPOCH), ("bin/two", late)] {
            fs::write(tree.join(file), vec![1; 10_000]).unwrap();
            let file = fs::File::open(tree.join(file)).unwrap();
            file.set_times(FileTimes::new().set_accessed(read)).unwrap();
        }
        std::os::unix::fs::symlink(&tree, store.path().join("link")).unwrap();
        let trees = survey(store.path()).unwrap();
        assert_eq!(trees.len(), 1);
        assert_eq!(trees[0].name, name);
        assert!(trees[0].size_bytes >= 20_000 && trees[0].inodes.len() == 4);
        let late = late.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let used = trees[0].used.duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(used.as_secs(), late);
        assert!(trees[0].added < trees[0].used);
    }
}
