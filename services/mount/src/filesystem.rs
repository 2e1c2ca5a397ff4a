//! What the kernel asks, and what it is answered.
//!
//! Whatever is known is answered at once; what takes time is handed to a task that answers later, so that nobody
//! waits for somebody else's tree.

mod attributes;
mod files;
mod named;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyXattr, Request,
};
use zeroshare_content::TreeId;

use crate::answers::Answer;
use crate::by_name;
use crate::place::{Place, ROOT};
use crate::root;
use crate::shared::Shared;
use crate::shown::{Node, Shown};
use crate::table::Content;
use attributes::Attributes;

/// How long the kernel may believe what stands in the root: a tree that is complete becomes a link.
const ROOT_TTL: Duration = Duration::from_secs(1);

/// How long it may believe what a tree consists of: that never changes.
const TREE_TTL: Duration = Duration::from_hours(1);

/// Requests that the kernel sends ahead of those who wait for them.
const MAX_BACKGROUND: u16 = 64;

/// As on other file systems; the kernel itself lets longer ones through to us.
const LONGEST_NAME: usize = 255;

/// Stored files that the kernel reads by itself lie on a plain file system; so others may be stacked on ours.
const STACK_DEPTH: u32 = 1;

/// All trees, as a file system.
#[derive(Debug, Clone)]
pub(crate) struct Trees {
    shared: Arc<Shared>,
    attributes: Attributes,
}

impl Trees {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            attributes: Attributes::new(),
        }
    }

    fn content(&self, place: Place) -> Option<Content> {
        self.shared.table().find(place.tree).cloned()
    }

    fn shown(&self, place: Place) -> Option<Arc<Shown>> {
        match self.content(place)? {
            Content::Tree(shown) => Some(shown),
            Content::Link(_) => None,
        }
    }

    fn attributes_of(&self, inode: u64) -> Option<FileAttr> {
        if let Some(number) = named::number(inode) {
            return self.attributes_of_named(number);
        }
        let Some(place) = Place::of(inode) else {
            return (inode == ROOT).then(|| self.attributes.of_root());
        };
        self.attributes.of(place, &self.content(place)?)
    }

    fn lookup_in_root(&self, thread: u32, name: &OsStr, reply: ReplyEntry) {
        if name == by_name::NAME {
            return self.lookup_by_name(reply);
        }
        let Some(id) = TreeId::from_directory_name(name.as_bytes()) else {
            return reply.error(Errno::ENOENT);
        };
        match root::known(&self.shared, id) {
            // Somebody may be getting it, and be waited for.
            Some(Answer::Nobody) if root::may_be_got(&self.shared, id) => {}
            Some(answer) => return answer_root(&self.shared, &self.attributes, answer, reply),
            None => {}
        }
        let (shared, attributes) = (self.shared.clone(), self.attributes.clone());
        self.shared.spawn("look up a tree", async move {
            tokio::select! {
                answer = root::find(shared.clone(), id, thread) => {
                    answer_root(&shared, &attributes, answer, reply);
                }
                () = shared.lifetime.stopping() => {}
            }
        });
    }

    fn list_tree(place: Place, shown: &Shown, offset: u64, mut reply: ReplyDirectory) {
        let Some(entries) = shown.list(place.entry) else {
            return reply.error(Errno::ENOTDIR);
        };
        let above = if place.entry == Shown::ROOT {
            ROOT
        } else {
            let entry = shown.parent(place.entry);
            Place { entry, ..place }.inode()
        };
        let dots = [
            (place.inode(), FileType::Directory, b"." as &[u8]),
            (above, FileType::Directory, b".." as &[u8]),
        ];
        let entries = entries.map(|(entry, name)| {
            let kind = shown.node(entry).map_or(FileType::RegularFile, kind_of);
            (Place { entry, ..place }.inode(), kind, name)
        });
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for ((inode, kind, name), next) in dots.into_iter().chain(entries).zip(1..).skip(skipped) {
            if reply.add(INodeNo(inode), next, kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }
}

impl Filesystem for Trees {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What an old kernel does not know it does without.
        for wanted in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ] {
            let _unknown = config.add_capabilities(wanted);
        }
        let _nearest = config.set_max_background(MAX_BACKGROUND);
        if config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(STACK_DEPTH).is_ok()
        {
            self.shared.handles().ways.allow();
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name.len() > LONGEST_NAME {
            return reply.error(Errno::ENAMETOOLONG);
        }
        if let Some(number) = named::number(parent.into()) {
            return self.lookup_named(number, name, reply);
        }
        let Some(place) = Place::of(parent.into()) else {
            return self.lookup_in_root(request.pid(), name, reply);
        };
        let found = self.shown(place).and_then(|shown| {
            let entry = shown.find(place.entry, name.as_bytes())?;
            let place = Place { entry, ..place };
            self.attributes.of(place, &Content::Tree(shown))
        });
        match found {
            Some(attributes) => {
                self.shared.table().looked_up(place.tree);
                reply.entry(&TREE_TTL, &attributes, Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn forget(&self, _request: &Request, inode: INodeNo, lookups: u64) {
        if let Some(number) = named::number(inode.into()) {
            self.shared.nodes().forgotten(number, lookups);
        } else if let Some(place) = Place::of(inode.into()) {
            self.shared.table().forgotten(place.tree, lookups);
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let ttl = match Place::of(inode.into()) {
            Some(_) => TREE_TTL,
            None => ROOT_TTL,
        };
        match self.attributes_of(inode.into()) {
            Some(attributes) => reply.attr(&ttl, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        if let Some(number) = named::number(inode.into()) {
            return match self.target_of_named(number) {
                Some(target) => reply.data(target.as_bytes()),
                None => reply.error(Errno::EINVAL),
            };
        }
        let place = Place::of(inode.into());
        match place.and_then(|place| Some((place, self.content(place)?))) {
            Some((_, Content::Link(path))) => reply.data(path.as_os_str().as_bytes()),
            Some((place, Content::Tree(shown))) => match shown.target(place.entry) {
                Some(target) => reply.data(target),
                None => reply.error(Errno::EINVAL),
            },
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.open_file(request.pid(), inode, reply);
    }

    fn read(
        &self,
        request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.read_file(request.pid(), handle, (offset, size), reply);
    }

    fn release(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.shared.handles().remove(handle.into());
        reply.ok();
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if Place::of(inode.into()).is_some() {
            let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
            return reply.opened(FileHandle(0), flags);
        }
        match named::number(inode.into()) {
            Some(number) => self.open_named(number, reply),
            None => self.open_root(reply),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let Some(place) = Place::of(inode.into()) else {
            return self.list_names(handle, offset, reply);
        };
        match self.shown(place) {
            Some(shown) => Self::list_tree(place, &shown, offset, reply),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.shared.handles().remove(handle.into());
        reply.ok();
    }

    fn getxattr(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _name: &OsStr,
        _size: u32,
        reply: ReplyXattr,
    ) {
        // Trees have none.
        reply.error(Errno::ENODATA);
    }

    fn listxattr(&self, _request: &Request, _inode: INodeNo, size: u32, reply: ReplyXattr) {
        if size == 0 {
            reply.size(0);
        } else {
            reply.data(&[]);
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }
}

/// Answers a lookup in the root.
fn answer_root(shared: &Shared, attributes: &Attributes, answer: Answer, reply: ReplyEntry) {
    let Answer::Shown(tree) = answer else {
        return reply.error(Errno::ENOENT);
    };
    let place = Place {
        tree,
        entry: Shown::ROOT,
    };
    let content = shared.table().find(tree).cloned();
    match content.and_then(|content| attributes.of(place, &content)) {
        Some(found) => {
            shared.table().looked_up(tree);
            reply.entry(&ROOT_TTL, &found, Generation(0));
        }
        None => reply.error(Errno::ENOENT),
    }
}

fn kind_of(node: Node) -> FileType {
    match node {
        Node::Directory { .. } => FileType::Directory,
        Node::Manifest { .. } | Node::File { .. } => FileType::RegularFile,
        Node::Link { .. } => FileType::Symlink,
    }
}
