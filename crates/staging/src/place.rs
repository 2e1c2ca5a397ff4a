use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use zeroshare_content::{BlobId, HashKind, Manifest};

use crate::StageError;
use crate::beneath;

/// How the names of our staging directories in a store begin; Zero Install ignores all that begins with `tmp-`.
pub(crate) const STAGING_PREFIX: &[u8] = b"tmp-zeroshare-";

/// How the names of staging directories beside an ordinary copy begin.
pub(crate) const COPY_PREFIX: &[u8] = b".tmp-zeroshare-";

/// How the name of a staging directory's journal ends.
pub(crate) const JOURNAL_SUFFIX: &[u8] = b".state";

/// How often a staging directory may vanish (committed or swept by others) while we try to lock it.
const LOCK_ATTEMPTS: usize = 16;

/// Where a tree is staged, and what it becomes.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) kind: PlaceKind,
    /// The store, or the directory that an ordinary copy is made in.
    pub(crate) parent: OwnedFd,
    pub(crate) parent_path: PathBuf,
    /// The name of the staging directory.
    pub(crate) name: OsString,
    /// The name that it gets.
    pub(crate) target: OsString,
}

/// What a tree is staged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaceKind {
    /// A store: read-only, with its manifest.
    Store,
    /// An ordinary copy, to be changed at will.
    Copy,
    /// A single file, staged as the tree that consists of it alone.
    File,
}

/// An open directory that nobody else has locked.
///
/// It is unlocked when dropped, and not only closed: a process that is being started at this moment may have a copy.
#[derive(Debug)]
pub(crate) struct LockedDirectory(OwnedFd);

impl AsFd for LockedDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for LockedDirectory {
    fn drop(&mut self) {
        // Closing does it too, a moment later at worst.
        let _unlocked = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// A staging directory that nobody else has.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) dir: LockedDirectory,
    /// Whether an earlier run had made it.
    pub(crate) resumed: bool,
}

impl Place {
    /// A tree's place in a store, which is made if it is not there.
    pub(crate) fn in_store(store: &Path, manifest: &Manifest) -> Result<Self, StageError> {
        fs::create_dir_all(store).map_err(|error| StageError::io(store, error))?;
        let target = manifest.id().to_string();
        let name = [STAGING_PREFIX, target.as_bytes()].concat();
        Ok(Self {
            kind: PlaceKind::Store,
            parent: open_parent(store)?,
            parent_path: store.to_owned(),
            name: OsString::from_vec(name),
            target: OsString::from(target),
        })
    }

    /// The place of an ordinary copy, which must be free.
    pub(crate) fn of_copy(path: &Path, manifest: &Manifest) -> Result<Self, StageError> {
        let (parent_path, target) = split(path)?;
        let parent = open_parent(parent_path)?;
        if beneath::find(&parent, target.as_bytes())
            .map_err(|error| StageError::io(path, error))?
            .is_some()
        {
            return Err(StageError::TargetExists {
                path: path.to_owned(),
            });
        }
        let name = copy_name(&manifest.id().to_string(), target);
        Ok(Self {
            kind: PlaceKind::Copy,
            parent,
            parent_path: parent_path.to_owned(),
            name,
            target: target.to_owned(),
        })
    }

    /// The place of a single file, which may be taken by an equal one.
    pub(crate) fn of_file(path: &Path, blob: BlobId) -> Result<Self, StageError> {
        let (parent_path, target) = split(path)?;
        Ok(Self {
            kind: PlaceKind::File,
            parent: open_parent(parent_path)?,
            parent_path: parent_path.to_owned(),
            name: copy_name(&blob.to_string(), target),
            target: target.to_owned(),
        })
    }

    /// Where the tree is staged.
    pub(crate) fn path(&self) -> PathBuf {
        self.parent_path.join(&self.name)
    }

    /// Where the tree ends.
    pub(crate) fn target_path(&self) -> PathBuf {
        self.parent_path.join(&self.target)
    }

    /// The name of the journal, beside the staging directory.
    pub(crate) fn journal_name(&self) -> Vec<u8> {
        [self.name.as_bytes(), JOURNAL_SUFFIX].concat()
    }

    /// Makes or finds the staging directory, and takes it for this process alone.
    ///
    /// Where another user's has the name, this user's gets one of its own.
    pub(crate) fn lock(&mut self) -> Result<Locked, StageError> {
        let mut is_usual_name = true;
        for _ in 0..LOCK_ATTEMPTS {
            let resumed = match rustix::fs::mkdirat(&self.parent, &self.name, Mode::RWXU) {
                Ok(()) => false,
                Err(Errno::EXIST) => true,
                Err(error) => return Err(StageError::io(self.path(), error)),
            };
            match try_lock(&self.parent, &self.name) {
                TryLock::Locked(dir) => {
                    self.tidy(&dir)?;
                    return Ok(Locked { dir, resumed });
                }
                TryLock::Busy => return Err(StageError::AlreadyLocked { dir: self.path() }),
                TryLock::Foreign if is_usual_name => {
                    is_usual_name = false;
                    self.name
                        .push(format!("-u{}", rustix::process::geteuid().as_raw()));
                }
                TryLock::Foreign => return Err(StageError::Foreign { dir: self.path() }),
                // Its name is ours, and a link or file there is nothing that we made.
                TryLock::NoDirectory => beneath::remove(&self.parent, self.name.as_bytes())
                    .map_err(|error| StageError::io(self.path(), error))?,
                TryLock::Vanished => {}
                TryLock::Failed(error) => return Err(StageError::io(self.path(), error)),
            }
        }
        Err(StageError::AlreadyLocked { dir: self.path() })
    }

    /// Takes from a staging directory what it inherited: it decides about modes alone.
    fn tidy(&self, dir: &LockedDirectory) -> Result<(), StageError> {
        for acl in ["system.posix_acl_default", "system.posix_acl_access"] {
            // Where there are no such lists, none was inherited.
            let _removed = rustix::fs::fremovexattr(dir, acl);
        }
        beneath::set_mode(dir, 0o700).map_err(|error| StageError::io(self.path(), error))
    }
}

/// The directory that something lies in, and its name there.
fn split(path: &Path) -> Result<(&Path, &OsStr), StageError> {
    let bad_target = || StageError::BadTarget {
        path: path.to_owned(),
    };
    let target = path.file_name().ok_or_else(bad_target)?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")), target))
}

/// What the staging directory beside a target is called: two targets and two contents have different ones.
fn copy_name(id: &str, target: &OsStr) -> OsString {
    let named = [id.as_bytes(), b"/", target.as_bytes()].concat();
    let hash = BlobId::of(HashKind::Sha256, &named).hex();
    let name = [COPY_PREFIX, &hash.as_bytes()[..32]].concat();
    OsString::from_vec(name)
}

/// How an attempt to lock a directory ended.
#[derive(Debug)]
pub(crate) enum TryLock {
    Locked(LockedDirectory),
    /// Somebody else has it.
    Busy,
    /// It belongs to another user.
    Foreign,
    /// Something else has its name.
    NoDirectory,
    /// It was renamed or removed meanwhile.
    Vanished,
    Failed(Errno),
}

/// Locks a directory by its name, and makes sure that it still has it.
pub(crate) fn try_lock(parent: &OwnedFd, name: &OsStr) -> TryLock {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return TryLock::Vanished,
        // Ours would open.
        Err(Errno::ACCESS) => return TryLock::Foreign,
        Err(Errno::NOTDIR | Errno::LOOP) => return TryLock::NoDirectory,
        Err(error) => return TryLock::Failed(error),
    };
    match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return TryLock::Busy,
        Err(error) => return TryLock::Failed(error),
    }
    let dir = LockedDirectory(dir);
    let opened = match rustix::fs::fstat(&dir) {
        Ok(opened) => opened,
        Err(error) => return TryLock::Failed(error),
    };
    if opened.st_uid != rustix::process::geteuid().as_raw() {
        return TryLock::Foreign;
    }
    match beneath::find(parent, name.as_bytes()) {
        Ok(Some(named))
            if beneath::file_type(&named) == FileType::Directory
                && (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino) =>
        {
            TryLock::Locked(dir)
        }
        Ok(_) => TryLock::Vanished,
        Err(error) => TryLock::Failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// Opens the directory that something is staged in; a store may well be a symlink.
pub(crate) fn open_parent(path: &Path) -> Result<OwnedFd, StageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| StageError::io(path, error))
}
