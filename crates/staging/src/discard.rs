use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::place::open_parent;
use crate::quarantine::move_aside;
use crate::{StageError, beneath};

/// What became of a tree that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discarded {
    /// It is gone.
    Removed,
    /// Somebody used it after all, and it is where it was.
    Kept,
    /// It was gone already.
    Missing,
}

/// Removes a tree from a store: moved aside first, so that nobody begins to use it, and asked about once more.
///
/// A crash leaves it in its place, or aside, where it is swept when it is old.
pub fn discard(
    store: &Path,
    directory_name: &OsStr,
    is_unused: impl FnOnce(&Path) -> bool,
) -> Result<Discarded, StageError> {
    let path = store.join(directory_name);
    let failed = |error| StageError::io(&path, error);
    let parent = open_parent(store)?;
    if beneath::find(&parent, directory_name.as_bytes())
        .map_err(failed)?
        .is_none()
    {
        return Ok(Discarded::Missing);
    }
    let aside = move_aside(&parent, directory_name, directory_name).map_err(failed)?;
    if is_unused(&store.join(&aside)) {
        beneath::remove(&parent, aside.as_bytes()).map_err(failed)?;
        return Ok(Discarded::Removed);
    }
    let flags = RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(&parent, &aside, &parent, directory_name, flags) {
        // Where somebody fetched it anew meanwhile, the old one is used by those who have it open, and swept when it is old.
        Ok(()) | Err(Errno::EXIST) => Ok(Discarded::Kept),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let moved = rustix::fs::renameat(&parent, &aside, &parent, directory_name);
            moved.map_err(|error| failed(error.into()))?;
            Ok(Discarded::Kept)
        }
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A store with one tree, read-only as trees are.
    fn store() -> tempfile::TempDir {
        let store = tempfile::tempdir().unwrap();
        let inner = store.path().join("sha256=x/bin/deep");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", inner.join("link")).unwrap();
        for directory in inner.ancestors().take(3) {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o555)).unwrap();
        }
        store
    }

    fn names(store: &Path) -> Vec<std::ffi::OsString> {
        let names = fs::read_dir(store).unwrap();
        names.map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_tree_is_found_by_nobody_before_it_is_removed() {
        let store = store();
        let name = OsStr::new("sha256=x");
        let removed = discard(store.path(), name, |aside| {
            assert!(!store.path().join(name).exists());
            assert!(aside.join("bin/deep/file").exists());
            true
        });
        assert_eq!(removed.unwrap(), Discarded::Removed);
        assert!(names(store.path()).is_empty());
        assert!(Path::new("/etc").exists());
        let again = discard(store.path(), name, |_| true);
        assert_eq!(again.unwrap(), Discarded::Missing);
    }

    #[test]
    fn a_tree_that_is_used_after_all_is_where_it_was() {
        let store = store();
        let name = OsStr::new("sha256=x");
        let kept = discard(store.path(), name, |_| false);
        assert_eq!(kept.unwrap(), Discarded::Kept);
        assert_eq!(names(store.path()), [name]);
        let kept = discard(store.path(), name, |_| {
            fs::create_dir(store.path().join(name)).unwrap();
            false
        });
        assert_eq!(kept.unwrap(), Discarded::Kept);
        assert_eq!(names(store.path()).len(), 2, "the new one and the old one");
    }
}
