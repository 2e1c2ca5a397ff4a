//! Files that are locked, and that nobody else can open to hold the lock.

use std::{
    fs::{File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

/// How often a lock that another has is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// Opens a file to be locked, and makes it if it is missing: whoever can read a file can lock it, so only its owner can.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(flags).map_err(io::Error::other)?)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if found.permissions().mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Locks a file, unless another has it for all of this time.
pub(crate) fn lock_within(file: &File, patience: Duration) -> io::Result<bool> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if began.elapsed() >= patience => return Ok(false),
            Err(TryLockError::WouldBlock) => thread::sleep(RETRY),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    #[test]
    fn only_its_owner_can_open_what_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        for _ in 0..2 {
            drop(open(&path).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_no_file_is_not_locked() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        assert!(open(&link).is_err());
        assert!(!dir.path().join("elsewhere").exists());
        assert!(open(dir.path()).is_err());
    }

    #[test]
    fn a_lock_that_is_held_is_waited_for_no_longer_than_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let (one, other) = (open(&path).unwrap(), open(&path).unwrap());
        assert!(lock_within(&one, Duration::ZERO).unwrap());
        assert!(!lock_within(&other, RETRY).unwrap());
        drop(one);
        assert!(lock_within(&other, Duration::ZERO).unwrap());
    }
}
