//! The root, whose names are taken when it is opened.

use std::ffi::{OsStr, OsString};

use fuser::{Errno, FileHandle, FileType, FopenFlags, INodeNo, ReplyDirectory, ReplyOpen};

use super::Trees;
use crate::handles::{Listing, Open};
use crate::place::ROOT;
use crate::root;

impl Trees {
    pub(super) fn open_root(&self, reply: ReplyOpen) {
        if let Some(names) = root::names_at_once(&self.shared) {
            return self.opened_listing(ROOT, names, reply);
        }
        let own = self.clone();
        self.shared.spawn("list the root", async move {
            tokio::select! {
                names = root::names(&own.shared) => own.opened_listing(ROOT, names, reply),
                () = own.shared.lifetime.stopping() => {}
            }
        });
    }

    fn opened_listing(&self, inode: u64, names: Vec<(OsString, FileType)>, reply: ReplyOpen) {
        let listing = Open::Listing(Listing { inode, names }.into());
        match self.shared.handles().add(listing) {
            Some(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            None => reply.error(Errno::ENFILE),
        }
    }

    /// Lists names as they were when the directory was opened.
    pub(super) fn list_names(&self, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(Open::Listing(listing)) = self.shared.handles().find(handle.into()) else {
            return reply.error(Errno::EBADF);
        };
        // Which numbers they will have when they are looked up is not known, and nobody may ask about this one.
        let unknown = u64::MAX;
        let dots = [(".", listing.inode), ("..", unknown)];
        let dots = dots.map(|(name, inode)| (OsStr::new(name), FileType::Directory, inode));
        let names = listing.names.iter();
        let names = names.map(|(name, kind)| (name.as_os_str(), *kind, unknown));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for ((name, kind, inode), next) in dots.into_iter().chain(names).zip(1..).skip(skipped) {
            if reply.add(INodeNo(inode), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
