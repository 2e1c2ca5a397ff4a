//! Directories whose names are taken when they are opened: the root, and those of `by-name`.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyDirectory,
    ReplyEntry, ReplyOpen,
};

use super::{ROOT_TTL, Trees};
use crate::by_name::{self, Nodes, What};
use crate::handles::{Listing, Open};
use crate::place::ROOT;
use crate::root;

/// How long the kernel may believe what a feed says.
const FEED_TTL: Duration = ROOT_TTL;

impl Trees {
    /// Answers who looks for `by-name` in the root.
    pub(super) fn lookup_by_name(&self, reply: ReplyEntry) {
        let attributes = self.attributes.of_named(Nodes::ROOT, What::Directory, 0);
        reply.entry(&FEED_TTL, &attributes, Generation(0));
    }

    /// Answers who looks for a name in a directory of `by-name`.
    pub(super) fn lookup_named(&self, above: u32, name: &OsStr, reply: ReplyEntry) {
        let path = self.shared.nodes().find(above);
        let path = path.zip(name.to_str()).map(|(above, name)| {
            let mut path = (*above.path).clone();
            path.push(name.to_owned());
            path
        });
        let Some(path) = path else {
            return reply.error(Errno::ENOENT);
        };
        let Some(what) = self.shared.feeds.look(Instant::now(), &path) else {
            return reply.error(Errno::ENOENT);
        };
        let len = target_of(&path, what).map_or(0, |target| target.len());
        match self.shared.nodes().show(path, what) {
            Some(number) => {
                let attributes = self.attributes.of_named(number, what, len);
                reply.entry(&FEED_TTL, &attributes, Generation(0));
            }
            None => reply.error(Errno::ENFILE),
        }
    }

    pub(super) fn attributes_of_named(&self, number: u32) -> Option<FileAttr> {
        let node = self.shared.nodes().find(number)?;
        let len = target_of(&node.path, node.what).map_or(0, |target| target.len());
        Some(self.attributes.of_named(number, node.what, len))
    }

    /// Where a link of `by-name` points; `None` for what is no link.
    pub(super) fn target_of_named(&self, number: u32) -> Option<String> {
        let node = self.shared.nodes().find(number)?;
        target_of(&node.path, node.what)
    }

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

    pub(super) fn open_named(&self, number: u32, reply: ReplyOpen) {
        let node = self.shared.nodes().find(number);
        let inside = node.and_then(|node| self.shared.feeds.list(Instant::now(), &node.path));
        let Some(inside) = inside else {
            return reply.error(Errno::ENOENT);
        };
        let names = inside.into_iter().map(|(name, what)| {
            let kind = match what {
                What::Directory => FileType::Directory,
                What::Link(_) => FileType::Symlink,
            };
            (name.into(), kind)
        });
        self.opened_listing(u64::from(number), names.collect(), reply);
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

/// The number of a path of `by-name`, if an inode is one.
pub(super) fn number(inode: u64) -> Option<u32> {
    u32::try_from(inode)
        .ok()
        .filter(|number| *number >= Nodes::ROOT)
}

fn target_of(path: &by_name::Path, what: What) -> Option<String> {
    match what {
        What::Directory => None,
        What::Link(tree) => Some(by_name::target(path, &tree.to_string())),
    }
}
