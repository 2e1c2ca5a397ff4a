//! Files and listings that programs have open.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, OnceLock};

use fuser::{BackingId, FileType};
use tracing::debug;
use zeroshare_content::TreeId;
use zeroshare_shelf::Beneath;

use crate::shared::Shared;
use crate::shown::{Node, Shown};
use crate::stored::Stored;
use crate::ways::Ways;

/// Handles that are open at once.
const MAX_HANDLES: usize = 65_536;

/// All that is open.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    by_number: BTreeMap<u64, Open>,
    last: u64,
    /// How the kernel reads the files among them.
    pub(crate) ways: Ways<BackingId>,
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
    pub(crate) inode: u64,
    pub(crate) shown: Arc<Shown>,
    pub(crate) node: Node,
    /// The file in the store, once the tree is complete.
    stored: OnceLock<Stored>,
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

    /// Whether somebody has a file of this tree open, as who runs a program of it has.
    pub(crate) fn uses(&self, id: &TreeId) -> bool {
        self.by_number.values().any(|open| match open {
            Open::File(file) => file.shown.id() == *id,
            Open::Listing(_) => false,
        })
    }

    pub(crate) fn remove(&mut self, number: u64) {
        if let Some(Open::File(file)) = self.by_number.remove(&number) {
            self.ways.close(file.inode);
        }
    }
}

impl OpenFile {
    pub(crate) fn new(inode: u64, shown: Arc<Shown>, node: Node) -> Self {
        Self {
            inode,
            shown,
            node,
            stored: OnceLock::new(),
        }
    }

    /// The file in the store, if the tree is complete by now.
    pub(crate) fn stored(&self, shared: &Shared) -> Option<&Stored> {
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
            Ok((len, file)) if len == size => Some(self.stored.get_or_init(|| Stored::new(file))),
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
