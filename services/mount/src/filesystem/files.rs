//! Files: opening and reading them.

use std::sync::Arc;

use fuser::{BackingId, Errno, FileHandle, FopenFlags, INodeNo, ReplyData, ReplyOpen};
use rustix::io::Errno as SystemErrno;
use tracing::{debug, warn};
use zeroshare_content::TreeId;

use super::Trees;
use crate::caller;
use crate::handles::{Open, OpenFile};
use crate::place::Place;
use crate::reading::{self, Range};
use crate::shared::Shared;
use crate::shown::Node;
use crate::ways::{Refusal, Way};

/// A file of so many bytes is proven as a whole, and fetched before it is open.
const SMALL_FILE: u64 = 1024 * 1024;

impl Trees {
    /// Opens a file of a tree; a small one that is not here is brought first, so that nothing is open that cannot be read.
    pub(super) fn open_file(&self, thread: u32, inode: INodeNo, reply: ReplyOpen) {
        let found = Place::of(inode.into()).and_then(|place| {
            let shown = self.shown(place)?;
            let node = shown.node(place.entry)?;
            Some(Arc::new(OpenFile::new(inode.into(), shown, node)))
        });
        let Some(file) = found else {
            return reply.error(Errno::ENOENT);
        };
        let Node::File { line, size, .. } = file.node else {
            return opened(&self.shared, &file, reply);
        };
        if size == 0 || size > SMALL_FILE || file.stored(&self.shared).is_some() {
            return opened(&self.shared, &file, reply);
        }
        let range = Range {
            line,
            offset: 0,
            len: 1,
        };
        let (shared, id) = (self.shared.clone(), file.shown.id());
        self.shared.spawn("open a file", async move {
            match fetched(&shared, thread, id, range).await {
                Ok(_) => opened(&shared, &file, reply),
                Err(errno) => reply.error(errno),
            }
        });
    }

    pub(super) fn read_file(
        &self,
        thread: u32,
        handle: FileHandle,
        (offset, size): (u64, u32),
        reply: ReplyData,
    ) {
        let Some(Open::File(file)) = self.shared.handles().find(handle.into()) else {
            return reply.error(Errno::EBADF);
        };
        let (line, whole) = match file.node {
            Node::Manifest { .. } => return read_manifest(&file, offset, size, reply),
            Node::File { line, size, .. } => (line, size),
            Node::Directory { .. } | Node::Link { .. } => return reply.error(Errno::EINVAL),
        };
        let len = u64::from(size).min(whole.saturating_sub(offset));
        if len == 0 {
            return reply.data(&[]);
        }
        if let Some(stored) = file.stored(&self.shared) {
            let len = usize::try_from(len).unwrap_or(0);
            return stored.read(offset, len, |read| match read {
                Ok(bytes) => reply.data(bytes),
                Err(error) => {
                    warn!(id = %file.shown.id(), %error, "a stored file cannot be read");
                    reply.error(Errno::EIO);
                }
            });
        }
        let (shared, id) = (self.shared.clone(), file.shown.id());
        let range = Range { line, offset, len };
        self.shared.spawn("read a file", async move {
            match fetched(&shared, thread, id, range).await {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(errno),
            }
        });
    }
}

/// Opens a file; of a tree that is here in full the kernel reads it by itself from now on, where it can.
fn opened(shared: &Shared, file: &Arc<OpenFile>, reply: ReplyOpen) {
    let inode = file.inode;
    // Taken before the handles are locked, which is a lock itself.
    let stored = file.stored(shared);
    let hand_over = stored.map(|stored| || handed_over(reply.open_backing(stored.file())));
    let mut handles = shared.handles();
    let way = handles.ways.open(inode, hand_over);
    let handle = handles.add(Open::File(file.clone()));
    if handle.is_none() {
        handles.ways.close(inode);
    }
    drop(handles);
    match (handle, way) {
        (None, _) => reply.error(Errno::ENFILE),
        (Some(handle), Way::Asked) => {
            reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
        }
        (Some(handle), Way::Passed(stored)) => {
            reply.opened_passthrough(FileHandle(handle), FopenFlags::empty(), &stored);
        }
    }
}

fn handed_over(id: std::io::Result<BackingId>) -> Result<BackingId, Refusal> {
    id.map_err(|error| {
        debug!(%error, "the kernel does not read a stored file by itself");
        match error.raw_os_error().map(SystemErrno::from_raw_os_error) {
            Some(SystemErrno::PERM) => Refusal::All,
            _ => Refusal::File,
        }
    })
}

fn read_manifest(file: &OpenFile, offset: u64, size: u32, reply: ReplyData) {
    let text = file.shown.manifest().text();
    let from = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(text.len());
    let to = from.saturating_add(size as usize).min(text.len());
    reply.data(&text[from..to]);
}

/// Bytes that the fetcher brings, unless whoever waits for them is killed or the mount ends.
async fn fetched(shared: &Shared, thread: u32, id: TreeId, range: Range) -> Result<Vec<u8>, Errno> {
    let read = tokio::select! {
        read = reading::read(shared, id, range) => read,
        () = caller::killed(thread) => {
            debug!(%id, thread, "whoever waited for bytes was killed");
            return Err(Errno::EINTR);
        }
        () = shared.lifetime.stopping() => return Err(Errno::EIO),
    };
    read.map_err(|fault| {
        warn!(%id, line = range.line, offset = range.offset, %fault, "a file cannot be read");
        // Whoever looks it up again asks anew who has it.
        shared.answers().void(&id);
        Errno::EIO
    })
}
