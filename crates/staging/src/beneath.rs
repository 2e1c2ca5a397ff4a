//! Opens, lists and removes below a directory, never through a symlink.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_NOW,
    UTIME_OMIT,
};
use rustix::io::Errno;

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Set once the system turned out not to have `openat2`, or a sandbox not to let it pass.
static WALKS_BY_NAME: AtomicBool = AtomicBool::new(false);

/// Opens the directory at a path of names joined by `/`; an empty path is the directory itself.
pub(crate) fn open_directory(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    if !WALKS_BY_NAME.load(Ordering::Relaxed) {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&root, path, OPEN_DIRECTORY, Mode::empty(), beneath) {
            Err(Errno::NOSYS | Errno::PERM) => WALKS_BY_NAME.store(true, Ordering::Relaxed),
            opened => return Ok(opened?),
        }
    }
    walk_by_name(root, path)
}

fn walk_by_name(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let mut names = path.split(|byte| *byte == b'/');
    let first = names.next().unwrap_or(b".");
    let mut opened = rustix::fs::openat(root, first, OPEN_DIRECTORY, Mode::empty())?;
    for name in names {
        opened = rustix::fs::openat(&opened, name, OPEN_DIRECTORY, Mode::empty())?;
    }
    Ok(opened)
}

/// Makes a file that was not there and opens it for reading and writing.
pub(crate) fn create_file(dir: impl AsFd, name: &[u8], mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?;
    Ok(opened.into())
}

/// Opens a regular file; anything else is an error, and nothing is waited for.
pub(crate) fn open_file(dir: impl AsFd, name: &[u8], access: Access) -> io::Result<(File, Stat)> {
    let access = match access {
        Access::Read => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&opened)?;
    if file_type(&stat) != FileType::RegularFile {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok((opened.into(), stat))
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// Looks at an entry itself, not at what it points to.
pub(crate) fn stat(dir: impl AsFd, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// As [`stat`], with `None` for what is not there.
pub(crate) fn find(dir: impl AsFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The permission bits, set-id and sticky bits included.
pub(crate) fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

pub(crate) fn set_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

/// Sets when a file was changed, in whole seconds, also before the epoch.
pub(crate) fn set_mtime(file: impl AsFd, seconds: i64) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        },
    };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// Says that a file was changed now.
pub(crate) fn touch(file: impl AsFd) -> io::Result<()> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// The target of a symlink.
pub(crate) fn read_link(dir: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// The names in a directory, in the order of their bytes.
pub(crate) fn names(dir: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Writes all bytes at a place in a file.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Removes an entry and all below it; what is not there is removed already.
///
/// Holds one directory open at a time, however deep it is, and gives itself the right to empty read-only directories.
pub(crate) fn remove(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    let Some(found) = find(&dir, name)? else {
        return Ok(());
    };
    if file_type(&found) != FileType::Directory {
        return Ok(gone(rustix::fs::unlinkat(&dir, name, AtFlags::empty()))?);
    }
    // Each directory is met twice: emptied of all but directories, then removed.
    let mut left = vec![(name.to_vec(), Visit::Empty)];
    while let Some((path, visit)) = left.pop() {
        match visit {
            Visit::Remove => {
                gone(rustix::fs::unlinkat(
                    &dir,
                    path.as_slice(),
                    AtFlags::REMOVEDIR,
                ))?;
            }
            Visit::Empty => {
                let opened = open_directory(&dir, &path)?;
                set_mode(&opened, 0o700)?;
                let inner = remove_files(&opened)?;
                left.push((path.clone(), Visit::Remove));
                left.extend(
                    inner
                        .into_iter()
                        .map(|name| ([&path, b"/".as_slice(), &name].concat(), Visit::Empty)),
                );
            }
        }
    }
    Ok(())
}

enum Visit {
    Empty,
    Remove,
}

/// Removes all that is no directory, and names the directories.
fn remove_files(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut directories = Vec::new();
    for name in names(dir)? {
        match rustix::fs::unlinkat(dir, name.as_slice(), AtFlags::empty()) {
            Err(Errno::ISDIR) => directories.push(name),
            removed => gone(removed)?,
        }
    }
    Ok(directories)
}

fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}
