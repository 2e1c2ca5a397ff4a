use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};

use crate::{Made, Mtime, Planned, TreePlan};

/// The time of every tree's root.
const ROOT_TIME: Mtime = Mtime::at(1_000_000_000);

impl TreePlan {
    /// Makes the tree as a new directory; nothing depends on the umask or the clock.
    pub fn create(&self, root: &Path) -> io::Result<()> {
        fs::create_dir(root)?;
        for planned in &self.entries {
            make(root, planned)?;
        }
        // Children before parents: a directory without its w bit takes no more entries.
        for planned in self.entries.iter().rev() {
            let path = root.join(OsStr::from_bytes(&planned.path));
            match planned.made {
                Made::File { mtime, mode, .. } | Made::Directory { mtime, mode } => {
                    stamp(&path, mtime, mode)?;
                }
                Made::Symlink { .. }
                | Made::HardLink { .. }
                | Made::Fifo
                | Made::Socket
                | Made::Device => {}
            }
        }
        stamp(root, ROOT_TIME, 0o755)
    }
}

fn make(root: &Path, planned: &Planned) -> io::Result<()> {
    let path = root.join(OsStr::from_bytes(&planned.path));
    match &planned.made {
        Made::File { content, .. } => fs::write(&path, content),
        Made::Directory { .. } => {
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        }
        Made::Symlink { target } => symlink(OsStr::from_bytes(target), &path),
        Made::HardLink { existing } => fs::hard_link(root.join(OsStr::from_bytes(existing)), &path),
        Made::Fifo => Ok(mknodat(
            CWD,
            &path,
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )?),
        // The name stays when the listener is closed.
        Made::Socket => UnixListener::bind(&path).map(drop),
        Made::Device => {
            let mode = Mode::from_raw_mode(0o644);
            Ok(mknodat(
                CWD,
                &path,
                FileType::CharacterDevice,
                mode,
                makedev(1, 3),
            )?)
        }
    }
}

fn stamp(path: &Path, mtime: Mtime, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    let time = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: mtime.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
