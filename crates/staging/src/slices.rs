//! What is known of files that are put together from parts.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use zeroshare_content::Item;
use zeroshare_proof::Midstates;

use crate::extents::Extents;
use crate::hashing::FileHasher;
use crate::linked::Linked;
use crate::lock::locked;

/// How many unfinished files are kept open.
const OPEN_FILES: usize = 64;

/// The files that are being put together from parts.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    items: Mutex<BTreeMap<u32, Arc<Sliced>>>,
    files: Mutex<VecDeque<(u32, Arc<File>)>>,
}

/// One such file. Locks are taken in this order: `prefix`, the table of items, `data`, the journal.
#[derive(Debug)]
pub(crate) struct Sliced {
    pub(crate) prefix: Mutex<Prefix>,
    pub(crate) data: Mutex<Data>,
}

/// What is hashed of a file: its start.
#[derive(Debug)]
pub(crate) struct Prefix {
    pub(crate) hasher: FileHasher,
    pub(crate) end: u64,
    /// The version of the data that was hashed.
    pub(crate) version: u64,
}

/// What is there of a file.
#[derive(Debug, Default)]
pub(crate) struct Data {
    pub(crate) extents: Extents,
    /// Counts how often bytes that were there changed.
    pub(crate) version: u64,
    /// Whether the file is there.
    pub(crate) created: bool,
    /// All is proven, and the file is read-only.
    pub(crate) proven: bool,
    pub(crate) midstates: Option<Midstates>,
    /// What holds by a list.
    pub(crate) linked: Linked,
    /// How many bytes were written since the disk was last told to start.
    pub(crate) unflushed: u64,
}

impl Slices {
    pub(crate) fn has(&self, item: u32) -> bool {
        locked(&self.items).contains_key(&item)
    }

    pub(crate) fn cover(&self, item: u32, range: &Range<u64>) -> bool {
        let sliced = self.find(item);
        sliced.is_some_and(|sliced| locked(&sliced.data).extents.cover(range))
    }

    pub(crate) fn bytes(&self, item: u32) -> u64 {
        let sliced = self.find(item);
        sliced.map_or(0, |sliced| locked(&sliced.data).extents.bytes())
    }

    /// Takes over what an earlier run wrote.
    pub(crate) fn resume(&self, number: u32, item: &Item, extents: Extents) {
        let sliced = Sliced::new(item);
        {
            let mut data = locked(&sliced.data);
            data.extents = extents;
            data.created = true;
        }
        locked(&self.items).insert(number, Arc::new(sliced));
    }

    /// All items, for as long as the lock is held.
    pub(crate) fn all(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Sliced>>> {
        locked(&self.items)
    }

    pub(crate) fn find(&self, item: u32) -> Option<Arc<Sliced>> {
        locked(&self.items).get(&item).cloned()
    }

    pub(crate) fn find_or_add(&self, number: u32, item: &Item) -> Arc<Sliced> {
        let mut items = locked(&self.items);
        let sliced = items.entry(number);
        Arc::clone(sliced.or_insert_with(|| Arc::new(Sliced::new(item))))
    }

    pub(crate) fn forget(&self, item: u32) {
        locked(&self.items).remove(&item);
        locked(&self.files).retain(|(number, _)| *number != item);
    }

    pub(crate) fn open_file(&self, item: u32) -> Option<Arc<File>> {
        let files = locked(&self.files);
        let found = files.iter().find(|(number, _)| *number == item);
        found.map(|(_, file)| Arc::clone(file))
    }

    pub(crate) fn keep_open(&self, item: u32, file: File) -> Arc<File> {
        let file = Arc::new(file);
        let mut files = locked(&self.files);
        if files.len() >= OPEN_FILES {
            files.pop_front();
        }
        files.push_back((item, Arc::clone(&file)));
        file
    }
}

impl Sliced {
    fn new(item: &Item) -> Self {
        Self {
            prefix: Mutex::new(Prefix::new(item, 0)),
            data: Mutex::default(),
        }
    }
}

impl Prefix {
    pub(crate) fn new(item: &Item, version: u64) -> Self {
        Self {
            hasher: FileHasher::new(item.blob.kind(), item.size),
            end: 0,
            version,
        }
    }
}
