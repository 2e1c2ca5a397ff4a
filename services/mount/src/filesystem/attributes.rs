//! What stat(2) says.

use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::by_name::What;
use crate::place::{Place, ROOT};
use crate::shown::Node;
use crate::table::Content;

/// What is read at once is best this large.
const BLOCK: u32 = 4096;

/// Whose everything is.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    uid: u32,
    gid: u32,
}

impl Attributes {
    pub(super) fn new() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    pub(super) fn of_root(&self) -> FileAttr {
        FileAttr {
            nlink: 2,
            ..self.attributes(ROOT, FileType::Directory, 0o555)
        }
    }

    /// Of a path of `by-name`, with the length of the target of what is a link.
    pub(super) fn of_named(&self, number: u32, what: What, len: usize) -> FileAttr {
        let inode = number.into();
        match what {
            What::Directory => FileAttr {
                nlink: 2,
                ..self.attributes(inode, FileType::Directory, 0o555)
            },
            What::Link(_) => sized(self.attributes(inode, FileType::Symlink, 0o777), len as u64),
        }
    }

    /// `None` if there is no such entry.
    pub(super) fn of(&self, place: Place, content: &Content) -> Option<FileAttr> {
        let inode = place.inode();
        let shown = match content {
            Content::Link(path) => {
                let link = self.attributes(inode, FileType::Symlink, 0o777);
                return Some(sized(link, path.as_os_str().as_bytes().len() as u64));
            }
            Content::Tree(shown) => shown,
        };
        Some(match shown.node(place.entry)? {
            Node::Directory { directories } => FileAttr {
                nlink: directories.saturating_add(2),
                ..self.attributes(inode, FileType::Directory, 0o555)
            },
            Node::Manifest { size } => {
                sized(self.attributes(inode, FileType::RegularFile, 0o444), size)
            }
            Node::File {
                size,
                executable,
                mtime,
                ..
            } => {
                let mode = if executable { 0o555 } else { 0o444 };
                let file = self.attributes(inode, FileType::RegularFile, mode);
                let time = time_of(mtime);
                FileAttr {
                    atime: time,
                    mtime: time,
                    ctime: time,
                    ..sized(file, size)
                }
            }
            Node::Link { size } => sized(self.attributes(inode, FileType::Symlink, 0o777), size),
        })
    }

    fn attributes(&self, inode: u64, kind: FileType, mode: u16) -> FileAttr {
        FileAttr {
            ino: INodeNo(inode),
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: mode,
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        }
    }
}

fn sized(attributes: FileAttr, size: u64) -> FileAttr {
    FileAttr {
        size,
        blocks: size.div_ceil(512),
        ..attributes
    }
}

/// The time of so many seconds; the nearest that the system can tell.
fn time_of(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}
