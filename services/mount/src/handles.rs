//! Files and listings that programs have open.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use fuser::FileType;
use tracing::debug;
use zeroshare_shelf::Beneath;

use crate::shared::Shared;
use crate::shown::{Node, Shown};

/// Handles that are open at once.
const MAX_HANDLES: usize = 65_536;

/// All that is open.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    by_number: BTreeMap<u64, Open>,
    last: u64,
}

/// What a handle stands for.
#[derive(Debug, Clone)]
pub(crate) enum Open {
    File(Arc<OpenFile>),
    Listing(Arc<Listing>),
}

/// The names in a directory, as they were when it was opened.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The directory itself.
    pub(crate) inode: u64,
    pub(crate) names: Vec<(OsString, FileType)>,
}

/// A file of a tree that is shown.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) shown: Arc<Shown>,
    pub(crate) node: Node,
    /// The file in the store, once the tree is complete.
    stored: OnceLock<File>,
}

impl Handles {
    /// Gives it a number; `None` if there are too many.
    pub(crate) fn add(&mut self, open: Open) -> Option<u64> {
        if self.by_number.len() >= MAX_HANDLES {
            return None;
        }
        self.last += 1;
        self.by_number.insert(self.last, open);
        Some(self.last)
    }

    pub(crate) fn find(&self, number: u64) -> Option<Open> {
        self.by_number.get(&number).cloned()
    }

    pub(crate) fn remove(&mut self, number: u64) {
        self.by_number.remove(&number);
    }
}

impl OpenFile {
    pub(crate) fn new(shown: Arc<Shown>, node: Node) -> Self {
        Self {
            shown,
            node,
            stored: OnceLock::new(),
        }
    }

    /// The file in the store, if the tree is complete by now.
    pub(crate) fn stored(&self, shared: &Shared) -> Option<&File> {
        if let Some(file) = self.stored.get() {
            return Some(file);
        }
        let Node::File { line, size, .. } = self.node else {
            return None;
        };
        let path = shared.held().path(&self.shown.id())?.to_owned();
        let line = self.shown.manifest().lines().get(line as usize)?;
        let opened = Beneath::open(&path).and_then(|tree| tree.file(line.path.as_path()));
        match opened.and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((len, file)) if len == size => Some(self.stored.get_or_init(|| file)),
            Ok((len, _)) => {
                debug!(path = %path.display(), len, size, "a stored file is not as long as it should be");
                None
            }
            Err(error) => {
                debug!(path = %path.display(), %error, "a stored file cannot be opened");
                None
            }
        }
    }
}

/// Reads up to `len` bytes, less only at the end of the file.
pub(crate) fn read_at(file: &File, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
