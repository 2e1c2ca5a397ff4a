//! The directory that is mounted on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tracing::{debug, info};
use zeroshare_shelf::is_own_mount;

/// Unmounts for users that are not root.
const FUSERMOUNT: &str = "fusermount3";

/// Why a directory cannot be mounted on.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Another mount serves it.
    #[error("{} is mounted already", dir.display())]
    Mounted {
        /// The directory.
        dir: PathBuf,
    },
    /// It cannot be made or looked at.
    #[error("cannot use {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("cannot mount on {}", dir.display())]
    Refused {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes a directory ready to be mounted on, and gives its real path: a mount whose process is gone is replaced.
pub(crate) fn prepare(dir: &Path) -> Result<PathBuf, MountError> {
    let fault = |source| MountError::Directory {
        dir: dir.to_owned(),
        source,
    };
    match fs::metadata(dir) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(dir).map_err(fault)?;
        }
        Err(error) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {
            info!(dir = %dir.display(), "a mount whose process is gone is replaced");
            unmount(dir).map_err(fault)?;
        }
        Err(error) => return Err(fault(error)),
    }
    let dir = dir.canonicalize().map_err(fault)?;
    if is_own_mount(&dir) {
        return Err(MountError::Mounted { dir });
    }
    Ok(dir)
}

/// Takes the file system away, at once for all who do not use it yet.
pub(crate) fn unmount(dir: &Path) -> io::Result<()> {
    match rustix::mount::unmount(dir, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(Errno::PERM) => unmount_as_user(dir),
        Err(error) => Err(error.into()),
    }
}

fn unmount_as_user(dir: &Path) -> io::Result<()> {
    let mut command = Command::new(FUSERMOUNT);
    command.args(["-u", "-z", "--"]).arg(dir);
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    debug!(%status, "{FUSERMOUNT} ended");
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{FUSERMOUNT} failed: {status}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_made() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("a/b");
        assert_eq!(prepare(&dir).unwrap(), dir.canonicalize().unwrap());
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(prepare(&file.join("below")).is_err());
    }
}
