//! Opening files below a directory, so that no name leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// An open directory below which paths are opened; none leads out of it or through a symbolic link.
#[derive(Debug)]
pub struct Beneath {
    dir: OwnedFd,
    /// Whether reading leaves no trace: when a file was read last tells whether somebody uses it.
    is_own: bool,
}

/// Tells directories apart, whatever they are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

/// What lies in a directory under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: FoundKind,
}

/// What a name stands for, symbolic links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundKind {
    Directory {
        mtime: i64,
        nanoseconds: i64,
    },
    File,
    Symlink,
    /// A pipe, socket or device.
    Other,
}

impl Beneath {
    /// Opens a directory by a path that is trusted, and may lead through symbolic links.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?;
        Ok(Self::of(dir))
    }

    /// Opens a directory below this one.
    pub fn directory(&self, path: &Path) -> io::Result<Self> {
        let dir = open_beneath(self.dir.as_fd(), path, DIRECTORY)?;
        Ok(Self::of(dir))
    }

    fn of(dir: OwnedFd) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let is_own = rustix::fs::fstat(&dir).is_ok_and(|found| found.st_uid == user);
        Self { dir, is_own }
    }

    /// Opens a regular file below this one for reading; everything else is refused, and nothing waits.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        let file = self.anything(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(file)
    }

    /// Opens whatever is below this directory for reading, without waiting for anything: whoever reads has to make sure
    /// that it is what it should be.
    pub(crate) fn anything(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if self.is_own {
            match open_beneath(self.dir.as_fd(), path, flags | OFlags::NOATIME) {
                // Only a file's owner may; the directory's is most often the same.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                opened => return Ok(File::from(opened?)),
            }
        }
        Ok(File::from(open_beneath(self.dir.as_fd(), path, flags)?))
    }

    /// Reads where a symbolic link below this directory points; fails for anything else.
    pub fn link_target(&self, path: &Path) -> io::Result<Vec<u8>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = open_beneath(self.dir.as_fd(), path, flags)?;
        Ok(rustix::fs::readlinkat(&link, c"", Vec::new())?.into_bytes())
    }

    /// Says which directory this name directly in the directory is; `None` for all else, also a symbolic link to one.
    pub(crate) fn directory_identity(&self, name: &Path) -> io::Result<Option<Identity>> {
        let stat = match self.status(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        Ok(is_directory.then_some(Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        }))
    }

    /// Says which directory this is, by whatever path it was opened.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        let stat = rustix::fs::fstat(&self.dir)?;
        Ok(Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// Lists what lies directly in the directory, in no order, at most `limit` entries and one more.
    pub(crate) fn entries(&self, limit: usize) -> io::Result<Vec<Found>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = self.status(Path::new(std::ffi::OsStr::from_bytes(name)))?;
            entries.push(Found {
                name: name.to_vec(),
                kind: FoundKind::of(&stat),
            });
            if entries.len() > limit {
                break;
            }
        }
        Ok(entries)
    }

    /// Lists the names directly in the directory, in no order.
    pub(crate) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    /// Looks at a name directly in the directory itself, not at what it points to.
    pub(crate) fn status(&self, name: &Path) -> io::Result<Stat> {
        Ok(rustix::fs::statat(
            &self.dir,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

impl FoundKind {
    fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Self::Directory {
                mtime: stat.st_mtime,
                nanoseconds: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Self::Other,
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

fn open_beneath(dir: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve) {
        // Older kernels, and containers whose filter knows only older system calls.
        Err(Errno::NOSYS | Errno::PERM) => walk_beneath(dir, path, flags),
        done => Ok(done?),
    }
}

/// Opens name by name, so that no component can be a symbolic link.
fn walk_beneath(dir: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut components = path.components().peekable();
    let mut parent: Option<OwnedFd> = None;
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a path that leads elsewhere",
            ));
        };
        let at = parent.as_ref().map_or(dir, |parent| parent.as_fd());
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let flags = if components.peek().is_some() {
            step
        } else {
            flags
        };
        parent = Some(rustix::fs::openat(
            at,
            name,
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )?);
    }
    parent.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty path"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const READ: OFlags = OFlags::RDONLY
        .union(OFlags::NONBLOCK)
        .union(OFlags::CLOEXEC);

    #[test]
    fn reading_what_is_ours_leaves_no_trace() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "x").unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(1);
        let times = fs::FileTimes::new().set_accessed(long_ago);
        File::open(&path).unwrap().set_times(times).unwrap();
        let beneath = Beneath::open(place.path()).unwrap();
        let read = io::read_to_string(beneath.file(Path::new("file")).unwrap());
        assert_eq!(read.unwrap(), "x");
        let accessed = fs::metadata(&path).unwrap().accessed().unwrap();
        assert_eq!(accessed, long_ago);
    }

    #[test]
    fn files_below_are_opened_and_nothing_else_either_way() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(place.path().join("secret"), "no").unwrap();
        fs::write(tree.join("a/b/file"), "yes").unwrap();
        symlink("../secret", tree.join("out")).unwrap();
        symlink("a", tree.join("alias")).unwrap();
        let beneath = Beneath::open(&tree).unwrap();

        for open in [open_beneath, walk_beneath] {
            let open = |path: &str| open(beneath.dir.as_fd(), Path::new(path), READ);
            assert!(open("a/b/file").is_ok());
            for path in [
                "../secret",
                "out",
                "alias/b/file",
                "a/../../secret",
                "",
                "/etc/passwd",
                "a/none",
            ] {
                assert!(open(path).is_err(), "{path} was opened");
            }
        }
    }

    #[test]
    fn only_regular_files_are_read_and_a_pipe_makes_nobody_wait() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("dir")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(place.path().join("pipe"))
            .status();
        assert!(made.unwrap().success());
        let beneath = Beneath::open(place.path()).unwrap();
        assert!(beneath.file(Path::new("pipe")).is_err());
        assert!(beneath.file(Path::new("dir")).is_err());
    }

    #[test]
    fn targets_are_read_from_links_only() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("dir")).unwrap();
        symlink("anything at all", place.path().join("dir/link")).unwrap();
        symlink("dir", place.path().join("alias")).unwrap();
        fs::write(place.path().join("file"), "x").unwrap();
        let beneath = Beneath::open(place.path()).unwrap();
        assert_eq!(
            beneath.link_target(Path::new("dir/link")).unwrap(),
            b"anything at all"
        );
        assert!(beneath.link_target(Path::new("file")).is_err());
        assert!(beneath.link_target(Path::new("alias/link")).is_err());
        assert!(
            beneath
                .directory_identity(Path::new("dir"))
                .unwrap()
                .is_some()
        );
        assert!(
            beneath
                .directory_identity(Path::new("alias"))
                .unwrap()
                .is_none()
        );
    }
}
