use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use zeroshare_content::{BlobId, ContentId, HashKind, Item, Layout, Manifest, Name, Piece};
use zeroshare_proof::Midstates;

use crate::beneath;
use crate::journal::{self, Journal, Owner};
use crate::lock::locked;
use crate::place::{LockedDirectory, Place, PlaceKind};
use crate::plan::Plan;
use crate::process;
use crate::slices::Slices;
use crate::sweep::sweep_copies;
use crate::{PutError, StageError, StageOptions, Step};

/// How many locks share the items, so that two threads seldom wait for each other.
const STRIPES: usize = 64;

/// How many directories are kept open: a few threads write a few directories at a time.
const OPEN_DIRECTORIES: usize = 32;

/// What a single file is called in its staging directory, whatever it will be called: a store that serves it meanwhile
/// knows it by this name.
pub(crate) const STAGED_NAME: &[u8] = b"blob";
/// Its time there: one that every file system can keep.
const STAGED_TIME: i64 = 1_000_000_000;

/// A tree or a single file being put together in a directory beside its place, which nobody else writes.
///
/// Items are given whole ([`put_item`](Self::put_item)), in parts ([`put_slice`](Self::put_slice),
/// [`finish_item`](Self::finish_item)) or taken from files of this machine ([`adopt`](Self::adopt)), in any order and from
/// any number of threads; all of it blocks. When all are proven, [`commit`](Self::commit) makes the tree visible. Dropping it
/// keeps what is there for the next one of the same tree and place.
///
/// Invariant: a staged file that is read-only and as long as it should be was proven.
pub struct Staged {
    pub(crate) content: ContentId,
    pub(crate) plan: Plan,
    pub(crate) place: Place,
    pub(crate) path: PathBuf,
    pub(crate) target_path: PathBuf,
    /// The staging directory; it holds the lock.
    pub(crate) dir: LockedDirectory,
    pub(crate) options: StageOptions,
    pub(crate) owner: Owner,
    /// Whether the process's mask takes bits from the modes that new files and directories get here.
    pub(crate) masked: bool,
    pub(crate) slices: Slices,
    /// `None` until all that an earlier run left was looked at: a journal says that it can be believed.
    pub(crate) journal: Mutex<Option<Journal>>,
    proven: Box<[AtomicBool]>,
    midstates: Mutex<BTreeMap<u32, Midstates>>,
    open: Mutex<VecDeque<(u32, Arc<OwnedFd>)>>,
    stripes: [Mutex<()>; STRIPES],
}

impl Staged {
    /// Begins a tree in a store, or goes on with what an earlier run left of it.
    ///
    /// The store is made if it is not there. What was left under another boot of the machine is hashed first, which takes its time.
    pub fn begin(
        store: &Path,
        manifest: &Manifest,
        options: &StageOptions,
    ) -> Result<Self, StageError> {
        let plan = Plan::new(manifest.clone())?;
        let content = manifest.id().into();
        Self::begin_at(content, Place::in_store(store, manifest)?, plan, options)
    }

    /// Begins an ordinary copy of a tree: writable, without a manifest in it; `target` must not be there yet, but
    /// the directory that it lies in must.
    pub fn begin_copy(
        target: &Path,
        manifest: &Manifest,
        options: &StageOptions,
    ) -> Result<Self, StageError> {
        let plan = Plan::new(manifest.clone())?;
        let content = manifest.id().into();
        Self::begin_at(content, Place::of_copy(target, manifest)?, plan, options)
    }

    /// Begins a single file, which is staged as the tree that consists of it alone: its only item is the file.
    ///
    /// The directory that `target` lies in must be there. A file that stands at `target` when it is committed stays, and
    /// counts if it is equal.
    pub fn begin_blob(
        target: &Path,
        blob: BlobId,
        size: u64,
        options: &StageOptions,
    ) -> Result<Self, StageError> {
        let place = Place::of_file(target, blob)?;
        let bad_target = |_| StageError::BadTarget {
            path: target.to_owned(),
        };
        let name = Name::new(STAGED_NAME).map_err(bad_target)?;
        Layout::of_blob(blob, size)?;
        let manifest = Manifest::of_one_file(&name, blob, size, STAGED_TIME).map_err(|_| {
            StageError::BadTarget {
                path: target.to_owned(),
            }
        })?;
        Self::begin_at(blob.into(), place, Plan::new(manifest)?, options)
    }

    fn begin_at(
        content: ContentId,
        mut place: Place,
        plan: Plan,
        options: &StageOptions,
    ) -> Result<Self, StageError> {
        let locked_place = place.lock()?;
        if place.kind != PlaceKind::Store {
            sweep_copies(&place.parent, &place.parent_path, SystemTime::now());
        }
        let path = place.path();
        let owner = Owner {
            boot_id: process::boot_id(),
            manifest: BlobId::of(HashKind::Sha256, plan.manifest.text()),
        };
        let journal_name = place.journal_name();
        let recorded = locked_place
            .resumed
            .then(|| journal::read(&place.parent, &journal_name, &owner))
            .flatten();
        let items = plan.layout.items().len();
        let staged = Self {
            content,
            target_path: place.target_path(),
            path,
            dir: locked_place.dir,
            options: StageOptions {
                link_files: options.link_files && place.kind == PlaceKind::Store,
                link_trees: options.link_trees && place.kind == PlaceKind::Store,
                ..options.clone()
            },
            owner,
            masked: process::umask().is_none_or(|umask| umask & 0o755 != 0),
            slices: Slices::default(),
            journal: Mutex::default(),
            proven: (0..items).map(|_| AtomicBool::new(false)).collect(),
            midstates: Mutex::default(),
            open: Mutex::default(),
            stripes: [const { Mutex::new(()) }; STRIPES],
            plan,
            place,
        };
        staged.reached(Step::Locked);
        staged.prepare(locked_place.resumed, recorded)?;
        Ok(staged)
    }

    /// What is staged.
    pub fn content(&self) -> ContentId {
        self.content
    }

    /// What the tree consists of; of a blob, the tree that consists of it alone.
    pub fn manifest(&self) -> &Manifest {
        &self.plan.manifest
    }

    /// How its content is cut; items and pieces are numbered by it.
    pub fn layout(&self) -> &Layout {
        &self.plan.layout
    }

    /// The staging directory. A file lies in it at its path, and is read-only once it is proven.
    pub fn dir(&self) -> &Path {
        &self.path
    }

    /// The name of the staging directory in its store.
    pub fn name(&self) -> &OsStr {
        &self.place.name
    }

    /// The store, or the directory that an ordinary copy is made in.
    pub fn store(&self) -> &Path {
        &self.place.parent_path
    }

    /// Where the tree will lie.
    pub fn target(&self) -> &Path {
        &self.target_path
    }

    /// The item whose bytes stand at a line of the manifest; `None` for directories and files of no bytes.
    pub fn item_of_line(&self, line: u32) -> Option<u32> {
        self.plan.item_of_line(line)
    }

    /// Says whether an item is proven, and stands wherever it belongs.
    pub fn is_proven(&self, item: u32) -> bool {
        let proven = self.proven.get(item as usize);
        proven.is_some_and(|proven| proven.load(Ordering::Acquire))
    }

    /// Says whether all items are proven.
    pub fn is_complete(&self) -> bool {
        self.unproven() == 0
    }

    pub(crate) fn unproven(&self) -> usize {
        let proven = self.proven.iter();
        proven
            .filter(|proven| !proven.load(Ordering::Acquire))
            .count()
    }

    /// Says whether a piece is there: proven, or a slice that was written in full.
    pub fn holds_piece(&self, piece: u32) -> bool {
        match self.plan.layout.piece(piece) {
            None => false,
            Some(Piece::Run { mut items }) => items.all(|item| self.is_proven(item)),
            Some(Piece::Slice { item, offset, len }) => {
                self.is_proven(item) || self.slices.cover(item, &(offset..offset + len))
            }
        }
    }

    /// The pieces that are there, see [`holds_piece`](Self::holds_piece).
    pub fn held_pieces(&self) -> Vec<Range<u32>> {
        let mut held: Vec<Range<u32>> = Vec::new();
        for piece in 0..self.plan.layout.piece_count() {
            if !self.holds_piece(piece) {
                continue;
            }
            match held.last_mut() {
                Some(last) if last.end == piece => last.end = piece + 1,
                _ => held.push(piece..piece + 1),
            }
        }
        held
    }

    /// How many bytes of the content are neither proven nor written.
    pub fn missing_bytes(&self) -> u64 {
        let items = (0..).zip(self.plan.layout.items());
        let missing = items.filter(|(item, _)| !self.is_proven(*item));
        missing
            .map(|(number, item)| item.size.saturating_sub(self.slices.bytes(number)))
            .sum()
    }

    /// Removes all that was staged.
    pub fn discard(self) -> Result<(), StageError> {
        beneath::remove(&self.place.parent, self.place.name.as_encoded_bytes())
            .and_then(|()| beneath::remove(&self.place.parent, &self.place.journal_name()))
            .map_err(|error| StageError::io(&self.path, error))
    }

    pub(crate) fn reached(&self, step: Step) {
        if let Some(observer) = &self.options.observer {
            observer.reached(step);
        }
    }

    pub(crate) fn item(&self, item: u32) -> Result<Item, PutError> {
        let found = self.plan.item(item).copied();
        found.ok_or(PutError::NoSuchItem { item })
    }

    pub(crate) fn mark_proven(&self, item: u32, midstates: Option<Midstates>) {
        if let Some(midstates) = midstates {
            locked(&self.midstates).insert(item, midstates);
        }
        if let Some(proven) = self.proven.get(item as usize) {
            proven.store(true, Ordering::Release);
        }
        self.reached(Step::Proven(item));
    }

    /// The midstates of a large item, once it is proven.
    pub fn midstates_of(&self, item: u32) -> Option<Midstates> {
        locked(&self.midstates).get(&item).cloned()
    }

    /// The lock of all that takes an item whole.
    pub(crate) fn stripe(&self, item: u32) -> &Mutex<()> {
        &self.stripes[item as usize % STRIPES]
    }

    /// A directory of the staged tree, opened.
    pub(crate) fn directory(&self, directory: u32) -> Result<Arc<OwnedFd>, PutError> {
        {
            let mut open = locked(&self.open);
            if let Some(at) = open.iter().position(|(number, _)| *number == directory) {
                let found = open.swap_remove_front(at);
                if let Some(found) = found {
                    let dir = Arc::clone(&found.1);
                    open.push_back(found);
                    return Ok(dir);
                }
            }
        }
        let path = self.plan.directory_path(directory);
        let dir = beneath::open_directory(&self.dir, path)
            .map_err(|error| PutError::io(self.path_below(path), error))?;
        let dir = Arc::new(dir);
        let mut open = locked(&self.open);
        if open.len() >= OPEN_DIRECTORIES {
            open.pop_front();
        }
        open.push_back((directory, Arc::clone(&dir)));
        Ok(dir)
    }

    pub(crate) fn path_below(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        self.path.join(OsStr::from_bytes(path))
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged")
            .field("manifest", &self.plan.manifest)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
