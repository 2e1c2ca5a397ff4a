use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::StageError;
use crate::place::open_parent;

/// How the names of trees that did not verify begin; Zero Install ignores them.
pub(crate) const QUARANTINE_PREFIX: &[u8] = b"tmp-quarantine-";

/// How many names are tried.
const ATTEMPTS: usize = 16;

/// Moves a tree that does not verify out of the way, and says where to.
///
/// Nobody finds it under its id any more; it is swept when it is old.
pub fn quarantine(store: &Path, directory_name: &OsStr) -> Result<PathBuf, StageError> {
    let parent = open_parent(store)?;
    let moved = move_aside(&parent, directory_name, directory_name);
    moved
        .map(|aside| store.join(aside))
        .map_err(|error| StageError::io(store.join(directory_name), error))
}

/// Gives an entry of a store a name that tells what it was.
pub(crate) fn move_aside(store: &OwnedFd, name: &OsStr, once: &OsStr) -> io::Result<OsString> {
    for _ in 0..ATTEMPTS {
        let chance = getrandom::u32().map_err(|_| io::ErrorKind::Other)?;
        let suffix = format!("-{chance:08x}");
        let aside = [QUARANTINE_PREFIX, once.as_bytes(), suffix.as_bytes()].concat();
        let aside = OsString::from_vec(aside);
        let moved = rustix::fs::renameat_with(store, name, store, &aside, RenameFlags::NOREPLACE);
        match moved {
            Ok(()) => return Ok(aside),
            Err(Errno::EXIST) => {}
            // The name is random: nothing will be replaced.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::renameat(store, name, store, &aside)?;
                return Ok(aside);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
