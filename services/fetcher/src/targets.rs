//! Which store a tree is added to.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;
use zeroshare_shelf::{RootKind, StoreRoot};

/// Nobody may write anywhere where a tree could go.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TargetError {
    /// The store that was named cannot be written.
    #[error("cannot write to the store {}: {why}", path.display())]
    NotWritable {
        /// The store.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// None of the stores can be written.
    #[error("none of the stores can be written; name one with --target-store")]
    NoStore,
}

/// Chooses as 0install does: what was named, else the first of the usual ones that can be written.
///
/// Makes the directory if it is missing. Blocks on the disk.
pub(crate) fn choose_target(
    roots: &[StoreRoot],
    named: Option<&Path>,
    is_machine: bool,
) -> Result<PathBuf, TargetError> {
    if let Some(path) = named {
        return match prepare(path) {
            Ok(()) => Ok(path.to_owned()),
            Err(error) => Err(TargetError::NotWritable {
                path: path.to_owned(),
                why: error.to_string(),
            }),
        };
    }
    let order = if is_machine {
        [
            RootKind::Portable,
            RootKind::System,
            RootKind::User,
            RootKind::Named,
        ]
    } else {
        [
            RootKind::Portable,
            RootKind::User,
            RootKind::Named,
            RootKind::System,
        ]
    };
    order
        .iter()
        .flat_map(|kind| roots.iter().filter(move |root| root.kind == *kind))
        .find(|root| prepare(&root.path).is_ok())
        .map(|root| root.path.clone())
        .ok_or(TargetError::NoStore)
}

fn prepare(store: &Path) -> io::Result<()> {
    if !store.is_dir() {
        make(store)?;
    }
    Ok(rustix::fs::access(
        store,
        Access::WRITE_OK | Access::EXEC_OK,
    )?)
}

/// Makes a directory and those above it as 0install does: their owner alone writes, whatever the umask others may read.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        make(parent)?;
    }
    match rustix::fs::mkdir(directory, Mode::RWXU) {
        Ok(()) => {}
        // Somebody else was faster.
        Err(Errno::EXIST) if directory.is_dir() => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::open(directory, flags, Mode::empty())?;
    Ok(rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_user_gets_their_own_store_which_is_made() {
        let place = tempfile::tempdir().unwrap();
        let roots = roots(place.path());
        assert_eq!(
            choose_target(&roots, None, false).unwrap(),
            place.path().join("user/deep")
        );
        assert!(place.path().join("user/deep").is_dir());
    }

    #[test]
    fn every_directory_that_is_made_can_be_read_by_others() {
        let place = tempfile::tempdir().unwrap();
        make(&place.path().join("cache/implementations")).unwrap();
        for made in ["cache", "cache/implementations"] {
            let status = place.path().join(made).metadata().unwrap();
            // The mode is not left to the umask: what is asked of the system is 0700.
            assert_eq!(status.permissions().mode() & 0o777, 0o755, "{made}");
        }
    }

    #[test]
    fn the_machine_gets_the_machines_store() {
        let place = tempfile::tempdir().unwrap();
        let chosen = choose_target(&roots(place.path()), None, true).unwrap();
        assert_eq!(chosen, place.path().join("system"));
    }

    #[test]
    fn what_was_named_counts_even_if_others_could_be_written() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = choose_target(&roots(place.path()), Some(&file), false).unwrap_err();
        assert!(matches!(error, TargetError::NotWritable { .. }));
    }

    fn roots(place: &Path) -> Vec<StoreRoot> {
        [("user/deep", RootKind::User), ("system", RootKind::System)]
            .map(|(name, kind)| StoreRoot {
                path: place.join(name),
                kind,
            })
            .into()
    }
}
