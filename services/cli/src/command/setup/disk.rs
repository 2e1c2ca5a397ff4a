//! Reading and writing a few small files so that each is there as it was or as it is to be.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// No file that is set up, or edited for it, is larger.
const MAX_BYTES: u64 = 1024 * 1024;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Whether links lead to what is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// In a home, whoever made them is whoever asks.
    Followed,
    /// In the system's places nobody but root should be able to say where root writes.
    Refused,
}

/// The file system, from some directory that stands for `/`.
#[derive(Debug)]
pub(crate) struct Disk {
    root: OwnedFd,
    shown: PathBuf,
    links: Links,
}

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// Somebody could lead us elsewhere.
    #[error("{}, or a directory above it, is a symbolic link, which is not followed here", path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// It is no regular file, or much too large.
    #[error("{} is not a file as it should be there", path.display())]
    Odd {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Disk {
    /// Takes a directory for `/`.
    pub(crate) fn open(root: &Path, links: Links) -> Result<Self, DiskError> {
        let opened = rustix::fs::openat(CWD, root, DIRECTORY, Mode::empty());
        let opened = opened.map_err(|error| DiskError::Io {
            path: root.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            root: opened,
            shown: root.to_owned(),
            links,
        })
    }

    /// A path as it is from outside.
    pub(crate) fn shown(&self, path: &Path) -> PathBuf {
        self.shown.join(below(path))
    }

    /// Reads a file; `None` when it is not there.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat2(
            &self.root,
            below(path),
            flags,
            Mode::empty(),
            self.resolve(),
        );
        let mut file = match opened {
            Ok(opened) => File::from(opened),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(self.refused(path, error)),
        };
        let read = file.metadata().and_then(|found| {
            let mut bytes = Vec::new();
            let is_usual = found.is_file() && found.len() <= MAX_BYTES;
            (&mut file).take(MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(is_usual.then_some(bytes))
        });
        match read {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => Err(DiskError::Odd {
                path: self.shown(path),
            }),
            Err(source) => Err(DiskError::Io {
                path: self.shown(path),
                source,
            }),
        }
    }

    /// Puts a file in its place, whole; a file that is there keeps its mode.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
        let path = self.led(path)?;
        let (parent, name) = self.parent(&path, true)?;
        let written = replace(&parent, &name, bytes, mode);
        written.map_err(|source| DiskError::Io {
            path: self.shown(&path),
            source,
        })
    }

    /// Removes a file or link; that it is gone already is as good.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let (parent, name) = match self.parent(path, false) {
            Ok(found) => found,
            Err(DiskError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.refused(path, error)),
        }
    }

    /// Whether there is a link of this name.
    pub(crate) fn is_link(&self, path: &Path) -> bool {
        let Ok((parent, name)) = self.parent(path, false) else {
            return false;
        };
        let found = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
    }

    /// Where a link leads that may be followed: what it leads to is replaced, and not the link.
    fn led(&self, path: &Path) -> Result<PathBuf, DiskError> {
        if self.links == Links::Refused || !self.is_link(path) {
            return Ok(path.to_owned());
        }
        fs::canonicalize(path).map_err(|source| DiskError::Io {
            path: path.to_owned(),
            source,
        })
    }

    fn parent(&self, path: &Path, is_made: bool) -> Result<(OwnedFd, OsString), DiskError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(DiskError::Odd {
                path: self.shown(path),
            });
        };
        let opened = match self.open_directory(parent) {
            Err(Errno::NOENT) if is_made => self.make(parent),
            opened => opened,
        };
        match opened {
            Ok(opened) => Ok((opened, name.into())),
            Err(error) => Err(self.refused(parent, error)),
        }
    }

    /// Makes a directory and what is missing above it, for all to read.
    fn make(&self, directory: &Path) -> Result<OwnedFd, Errno> {
        let mut made = PathBuf::new();
        for part in below(directory).components() {
            made.push(part);
            if matches!(self.open_directory(&made), Err(Errno::NOENT)) {
                let above = self.open_directory(made.parent().unwrap_or(Path::new("")))?;
                let mode = Mode::from_raw_mode(0o755);
                match rustix::fs::mkdirat(&above, part.as_os_str(), mode) {
                    // Root's umask is not what all users' files depend on.
                    Ok(()) if self.links == Links::Refused => {
                        rustix::fs::fchmod(self.open_directory(&made)?, mode)?;
                    }
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.open_directory(directory)
    }

    fn open_directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = below(path);
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        rustix::fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), self.resolve())
    }

    fn resolve(&self) -> ResolveFlags {
        match self.links {
            Links::Followed => ResolveFlags::empty(),
            Links::Refused => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        }
    }

    fn refused(&self, path: &Path, error: Errno) -> DiskError {
        let path = self.shown(path);
        match error {
            Errno::LOOP | Errno::XDEV => DiskError::Link { path },
            error => DiskError::Io {
                path,
                source: error.into(),
            },
        }
    }
}

fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Writes beside the place, syncs, and moves: whatever happens, the old file or the new one is there.
fn replace(parent: &OwnedFd, name: &OsStr, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(".new");
    let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    let mode = found.map_or(mode, |found| found.st_mode & 0o777);
    match rustix::fs::unlinkat(parent, &draft, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, &draft, flags, Mode::from_raw_mode(0o600))?;
    let written = (|| {
        let mut file = File::from(made);
        file.write_all(bytes)?;
        rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(mode))?;
        file.sync_all()?;
        rustix::fs::renameat(parent, &draft, parent, name)?;
        Ok(rustix::fs::fsync(parent)?)
    })();
    if written.is_err() {
        // Best effort: a draft is unlinked by the next try.
        let _gone = rustix::fs::unlinkat(parent, &draft, AtFlags::empty());
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn disk(root: &Path, links: Links) -> Disk {
        Disk::open(root, links).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_written_whole_with_what_is_missing_above_it() {
        let scratch = tempfile::tempdir().unwrap();
        let disk = disk(scratch.path(), Links::Refused);
        let path = Path::new("/etc/xdg/a/list");
        assert_eq!(disk.read(path).unwrap(), None);
        disk.write(path, b"one", 0o644).unwrap();
        assert_eq!(disk.read(path).unwrap().unwrap(), b"one");
        let there = scratch.path().join("etc/xdg/a/list");
        assert_eq!(disk.shown(path), there);
        assert_eq!(mode(&there), 0o644);
        fs::set_permissions(&there, fs::Permissions::from_mode(0o600)).unwrap();
        disk.write(path, b"two", 0o644).unwrap();
        assert_eq!(
            (fs::read(&there).unwrap(), mode(&there)),
            (b"two".to_vec(), 0o600)
        );
        let names = fs::read_dir(there.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "no draft stays behind");
        disk.remove(path).unwrap();
        disk.remove(path).unwrap();
        disk.remove(Path::new("/never/was/there")).unwrap();
        assert!(!there.exists());
    }

    #[test]
    fn in_the_systems_places_no_link_is_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("list"), "theirs").unwrap();
        symlink(elsewhere.path(), scratch.path().join("etc")).unwrap();
        fs::create_dir(scratch.path().join("usr")).unwrap();
        symlink(
            elsewhere.path().join("list"),
            scratch.path().join("usr/list"),
        )
        .unwrap();
        let disk = disk(scratch.path(), Links::Refused);
        for path in ["/etc/list", "/etc/new", "/etc/a/b", "/usr/list"] {
            let path = Path::new(path);
            let read = disk.read(path);
            assert!(matches!(read, Err(DiskError::Link { .. })), "{read:?}");
        }
        for path in ["/etc/list", "/etc/new", "/etc/a/b"] {
            let written = disk.write(Path::new(path), b"x", 0o644);
            assert!(
                matches!(written, Err(DiskError::Link { .. })),
                "{written:?}"
            );
        }
        let out = disk.read(Path::new("/../../etc/passwd"));
        assert!(out.is_err(), "{out:?}");
        assert_eq!(fs::read(elsewhere.path().join("list")).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    }

    #[test]
    fn in_a_home_what_a_link_leads_to_is_replaced_and_the_link_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let real = scratch.path().join("dotfiles");
        fs::write(&real, "old").unwrap();
        let link = scratch.path().join("list");
        symlink(&real, &link).unwrap();
        let disk = disk(Path::new("/"), Links::Followed);
        disk.write(&link, b"new", 0o644).unwrap();
        assert!(disk.is_link(&link) && !disk.is_link(&real));
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert_eq!(disk.read(&link).unwrap().unwrap(), b"new");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("directory")).unwrap();
        let disk = disk(scratch.path(), Links::Refused);
        let read = disk.read(Path::new("/directory"));
        assert!(read.is_err(), "{read:?}");
    }
}
