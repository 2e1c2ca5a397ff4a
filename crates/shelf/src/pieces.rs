//! Reading the pieces of one tree from disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;
use zeroshare_content::{
    BlobId, GRAIN, HashKind, Item, ItemKind, Layout, Manifest, Piece, TreePath,
};
use zeroshare_proof::{GrainVerdict, Midstates, check_grain};

use crate::beneath::Beneath;
use crate::digest::{DigestError, FileDigester};
use crate::index::{Index, IndexError, TreeKey};
use crate::stamp::Stamp;

/// Bytes are handed over in parts of at most this size.
pub const PART_BYTES: usize = 256 * 1024;

/// A tree whose pieces can be read: verified and indexed, or still being staged.
#[derive(Debug)]
pub struct PieceSource {
    pub(crate) dir: Beneath,
    manifest: Manifest,
    layout: Layout,
    records: Records,
}

/// What is known of the files.
#[derive(Debug)]
enum Records {
    /// What they were when they were hashed.
    Indexed { index: Arc<Index>, tree: TreeKey },
    /// Nothing but that their writer vouches for them.
    Staged,
}

/// Whether bytes are hashed before they are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// The stamps suffice.
    No,
    /// Somebody doubts them.
    Yes,
}

/// Why a piece could not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The layout has no such piece.
    #[error("there is no piece {piece}")]
    NoSuchPiece {
        /// Which.
        piece: u32,
    },
    /// A file is not the one that was hashed: verify the tree again.
    #[error("{path} changed since it was verified")]
    Changed {
        /// Which.
        path: TreePath,
    },
    /// A file does not have its hash any more, though it looks untouched.
    #[error("{path} is corrupt on disk")]
    Corrupt {
        /// Which.
        path: TreePath,
    },
    /// The system refused.
    #[error("cannot read {path}")]
    Io {
        /// Which.
        path: TreePath,
        /// What it says.
        source: io::Error,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Who reads did not want more.
    #[error("the reader stopped")]
    Stopped,
}

impl PieceSource {
    pub(crate) fn indexed(
        dir: Beneath,
        manifest: Manifest,
        layout: Layout,
        index: Arc<Index>,
        tree: TreeKey,
    ) -> Self {
        Self {
            dir,
            manifest,
            layout,
            records: Records::Indexed { index, tree },
        }
    }

    pub(crate) fn staged(dir: Beneath, manifest: Manifest, layout: Layout) -> Self {
        Self {
            dir,
            manifest,
            layout,
            records: Records::Staged,
        }
    }

    /// Lists what the tree consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Says how it is cut.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Names the midstates by which a slice asks to be judged; `None` for runs, and while they are unknown.
    pub fn list_digest(&self, piece: u32) -> Result<Option<[u8; 32]>, IndexError> {
        match (self.layout.piece(piece), &self.records) {
            (Some(Piece::Slice { item, .. }), Records::Indexed { index, tree }) => {
                match self.layout.items().get(item as usize) {
                    Some(item) => index.list_digest(*tree, item.line),
                    None => Ok(None),
                }
            }
            (Some(Piece::Slice { .. } | Piece::Run { .. }) | None, _) => Ok(None),
        }
    }

    /// The key of the index; `None` while staged.
    pub(crate) fn key(&self) -> Option<TreeKey> {
        match &self.records {
            Records::Indexed { tree, .. } => Some(*tree),
            Records::Staged => None,
        }
    }

    fn path_of(&self, item: &Item) -> Option<&TreePath> {
        self.manifest
            .lines()
            .get(item.line as usize)
            .map(|line| &line.path)
    }
}

/// Takes the next bytes, in parts of at most [`PART_BYTES`], and may stop the reading.
pub type Sink<'a> = dyn FnMut(Bytes) -> ControlFlow<()> + 'a;

/// Reads pieces of one source for one reader.
#[derive(Debug)]
pub struct PieceReader<'a> {
    source: &'a PieceSource,
    recheck: Recheck,
    /// Items whose files were hashed for this reader already.
    rechecked: BTreeSet<u32>,
}

impl<'a> PieceReader<'a> {
    /// Starts reading; with [`Recheck::Yes`] every byte is hashed before it is handed over.
    pub fn new(source: &'a PieceSource, recheck: Recheck) -> Self {
        Self {
            source,
            recheck,
            rechecked: BTreeSet::new(),
        }
    }

    /// Reads a range of the bytes of one piece, which must lie inside it.
    ///
    /// `is_wanted` is asked now and then while nothing can be handed over.
    pub fn read(
        &mut self,
        piece: u32,
        range: Range<u64>,
        is_wanted: &dyn Fn() -> bool,
        sink: &mut Sink<'_>,
    ) -> Result<(), ReadError> {
        let mut parts = Parts::new(range.end.saturating_sub(range.start), sink);
        match self
            .source
            .layout
            .piece(piece)
            .ok_or(ReadError::NoSuchPiece { piece })?
        {
            Piece::Run { items } => self.read_run(items, &range, is_wanted, &mut parts)?,
            Piece::Slice {
                item: number,
                offset,
                ..
            } => {
                let item = self.item(number).ok_or(ReadError::NoSuchPiece { piece })?;
                let stamp = self.stamps(&[item])?.remove(&item.line);
                let range = offset + range.start..offset + range.end;
                self.read_slice(number, item, stamp, range, is_wanted, &mut parts)?;
            }
        }
        parts.flush()
    }

    fn read_run(
        &mut self,
        items: Range<u32>,
        range: &Range<u64>,
        is_wanted: &dyn Fn() -> bool,
        parts: &mut Parts<'_, '_>,
    ) -> Result<(), ReadError> {
        let mut wanted = Vec::new();
        let mut start = 0;
        for number in items {
            let Some(item) = self.item(number) else {
                continue;
            };
            let here = start..start + item.size;
            let inside = range.start.max(here.start)..range.end.min(here.end);
            if inside.start < inside.end {
                wanted.push((number, item, inside.start - start..inside.end - start));
            }
            start = here.end;
        }
        let files: Vec<&Item> = wanted.iter().map(|(_, item, _)| *item).collect();
        let stamps = self.stamps(&files)?;
        for (number, item, range) in wanted {
            match item.kind {
                ItemKind::Link => self.read_link(item, range, parts)?,
                ItemKind::File => {
                    let file = self.open(item, stamps.get(&item.line).copied())?;
                    if self.recheck == Recheck::Yes {
                        self.check_file(number, item, &file, is_wanted)?;
                    }
                    self.copy(item, &file, range, parts)?;
                }
            }
        }
        Ok(())
    }

    fn read_link(
        &self,
        item: &Item,
        range: Range<u64>,
        parts: &mut Parts<'_, '_>,
    ) -> Result<(), ReadError> {
        let path = self.path(item)?;
        let target = match self.source.dir.link_target(path.as_path()) {
            Ok(target) => target,
            Err(_) if self.is_indexed() => return Err(ReadError::Changed { path: path.clone() }),
            Err(source) => {
                return Err(ReadError::Io {
                    path: path.clone(),
                    source,
                });
            }
        };
        // Links have no stamp that would say that they are untouched, but hashing them is cheap.
        if BlobId::of(item.blob.kind(), &target) != item.blob {
            return Err(ReadError::Changed { path: path.clone() });
        }
        let bytes = as_index(&range)
            .and_then(|range| target.get(range))
            .unwrap_or_default();
        parts.push(bytes)
    }

    fn read_slice(
        &mut self,
        number: u32,
        item: &Item,
        stamp: Option<Stamp>,
        range: Range<u64>,
        is_wanted: &dyn Fn() -> bool,
        parts: &mut Parts<'_, '_>,
    ) -> Result<(), ReadError> {
        let opened = self.open(item, stamp)?;
        match (self.recheck, &self.source.records, item.blob) {
            (Recheck::Yes, Records::Indexed { index, tree }, BlobId::Sha256(digest)) => {
                let list = index.midstates(*tree, item.line)?;
                let list = list.and_then(|list| Midstates::from_bytes(item.size, list).ok());
                match list {
                    Some(list) => {
                        return self.copy_checked(item, &opened, (&list, &digest), range, parts);
                    }
                    None => self.check_file(number, item, &opened, is_wanted)?,
                }
            }
            (Recheck::Yes, Records::Indexed { .. }, BlobId::Sha1(_)) => {
                self.check_file(number, item, &opened, is_wanted)?;
            }
            // A staged file is not whole, so that nothing but its slices' links could be checked: its reader does that.
            (Recheck::Yes, Records::Staged, _) | (Recheck::No, _, _) => {}
        }
        self.copy(item, &opened, range, parts)
    }

    /// Hands over a range of a file.
    fn copy(
        &self,
        item: &Item,
        opened: &Opened,
        range: Range<u64>,
        parts: &mut Parts<'_, '_>,
    ) -> Result<(), ReadError> {
        let mut at = range.start;
        while at < range.end {
            let room = parts.room(range.end - at);
            let length = room.len() as u64;
            opened
                .file
                .read_exact_at(room, at)
                .map_err(|source| self.read_failure(item, source))?;
            self.check_stamp(item, opened)?;
            parts.filled(length)?;
            at += length;
        }
        Ok(())
    }

    /// Hands over a range of a file grain by grain, each checked by the file's midstates first.
    fn copy_checked(
        &self,
        item: &Item,
        opened: &Opened,
        (list, digest): (&Midstates, &[u8; 32]),
        range: Range<u64>,
        parts: &mut Parts<'_, '_>,
    ) -> Result<(), ReadError> {
        let mut grain = range.start / GRAIN;
        while grain * GRAIN < range.end {
            let start = grain * GRAIN;
            let end = (start + GRAIN).min(item.size);
            let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
            opened
                .file
                .read_exact_at(&mut bytes, start)
                .map_err(|source| self.read_failure(item, source))?;
            self.check_stamp(item, opened)?;
            let index = u32::try_from(grain).unwrap_or(u32::MAX);
            match check_grain(list, item.size, digest, index, &bytes) {
                GrainVerdict::Linked => {}
                GrainVerdict::Broken | GrainVerdict::Unfit => {
                    return Err(ReadError::Corrupt {
                        path: self.path(item)?.clone(),
                    });
                }
            }
            let inside = range.start.max(start) - start..range.end.min(end) - start;
            parts.push(
                as_index(&inside)
                    .and_then(|inside| bytes.get(inside))
                    .unwrap_or_default(),
            )?;
            grain += 1;
        }
        Ok(())
    }

    /// Hashes a whole file, once for this reader.
    fn check_file(
        &mut self,
        number: u32,
        item: &Item,
        opened: &Opened,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(), ReadError> {
        if self.rechecked.contains(&number) {
            return Ok(());
        }
        let path = self.path(item)?;
        let io = |source| ReadError::Io {
            path: path.clone(),
            source,
        };
        let again = self.source.dir.file(path.as_path()).map_err(io)?;
        let kind: HashKind = item.blob.kind();
        let digested = FileDigester::new(&[kind]).digest(again, &mut |_| {
            if is_wanted() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        match digested {
            Ok(digested) if opened.stamp.is_some_and(|stamp| stamp != digested.stamp) => {
                Err(ReadError::Changed { path: path.clone() })
            }
            Ok(digested) if digested.digests.blob(kind) != Some(item.blob) => {
                Err(ReadError::Corrupt { path: path.clone() })
            }
            Ok(_) => {
                self.rechecked.insert(number);
                Ok(())
            }
            Err(DigestError::Io(source)) => Err(io(source)),
            Err(DigestError::Changed) => Err(ReadError::Changed { path: path.clone() }),
            Err(DigestError::Stopped) => Err(ReadError::Stopped),
        }
    }

    fn open(&self, item: &Item, stamp: Option<Stamp>) -> Result<Opened, ReadError> {
        let path = self.path(item)?;
        let file = match self.source.dir.file(path.as_path()) {
            Ok(file) => file,
            Err(error) if is_absence(&error) => {
                return Err(ReadError::Changed { path: path.clone() });
            }
            Err(source) => {
                return Err(ReadError::Io {
                    path: path.clone(),
                    source,
                });
            }
        };
        if self.is_indexed() && stamp.is_none() {
            return Err(ReadError::Changed { path: path.clone() });
        }
        let opened = Opened { file, stamp };
        self.check_stamp(item, &opened)?;
        Ok(opened)
    }

    fn check_stamp(&self, item: &Item, opened: &Opened) -> Result<(), ReadError> {
        let Some(stamp) = opened.stamp else {
            return Ok(());
        };
        let metadata = opened
            .file
            .metadata()
            .map_err(|source| self.read_failure(item, source))?;
        if Stamp::of(&metadata) == stamp {
            return Ok(());
        }
        Err(ReadError::Changed {
            path: self.path(item)?.clone(),
        })
    }

    fn read_failure(&self, item: &Item, source: io::Error) -> ReadError {
        match self.path(item) {
            Err(error) => error,
            Ok(path) if source.kind() == io::ErrorKind::UnexpectedEof => {
                ReadError::Changed { path: path.clone() }
            }
            Ok(path) => ReadError::Io {
                path: path.clone(),
                source,
            },
        }
    }

    fn stamps(&self, items: &[&Item]) -> Result<BTreeMap<u32, Stamp>, ReadError> {
        let Records::Indexed { index, tree } = &self.source.records else {
            return Ok(BTreeMap::new());
        };
        let lines: Vec<u32> = items
            .iter()
            .filter(|item| item.kind == ItemKind::File)
            .map(|item| item.line)
            .collect();
        let (Some(first), Some(last)) = (lines.first().copied(), lines.last().copied()) else {
            return Ok(BTreeMap::new());
        };
        // One query where most lines between are wanted, else one for each.
        let ranges = if (last - first) as usize <= SPARSE * lines.len() {
            vec![first..=last]
        } else {
            lines.into_iter().map(|line| line..=line).collect()
        };
        let mut stamps = BTreeMap::new();
        for range in ranges {
            stamps.extend(
                index
                    .files(*tree, range)?
                    .into_iter()
                    .map(|file| (file.line, file.stamp)),
            );
        }
        Ok(stamps)
    }

    fn is_indexed(&self) -> bool {
        matches!(self.source.records, Records::Indexed { .. })
    }

    fn item(&self, number: u32) -> Option<&'a Item> {
        self.source.layout.items().get(number as usize)
    }

    fn path(&self, item: &Item) -> Result<&'a TreePath, ReadError> {
        // A layout refers to lines of the manifest that it was made of.
        self.source
            .path_of(item)
            .ok_or(ReadError::NoSuchPiece { piece: item.line })
    }
}

/// A query for a range of lines may read so many for each one that is wanted.
const SPARSE: usize = 8;

struct Opened {
    file: File,
    stamp: Option<Stamp>,
}

/// Collects bytes into parts of a good size.
struct Parts<'a, 'b> {
    buffer: Vec<u8>,
    filled: usize,
    /// How many bytes are still to come, so that a buffer is never larger than needed.
    expected: u64,
    sink: &'a mut Sink<'b>,
}

impl<'a, 'b> Parts<'a, 'b> {
    fn new(expected: u64, sink: &'a mut Sink<'b>) -> Self {
        Self {
            buffer: Vec::new(),
            filled: 0,
            expected,
            sink,
        }
    }

    /// Gives room for at most `wanted` bytes, and at least one.
    fn room(&mut self, wanted: u64) -> &mut [u8] {
        if self.buffer.is_empty() {
            let size =
                usize::try_from(self.expected).map_or(PART_BYTES, |rest| rest.clamp(1, PART_BYTES));
            self.buffer = vec![0; size];
        }
        let free = self.buffer.len() - self.filled;
        let end = self.filled + usize::try_from(wanted).map_or(free, |wanted| wanted.min(free));
        self.buffer.get_mut(self.filled..end).unwrap_or_default()
    }

    /// Notes that so much of the room was filled.
    fn filled(&mut self, bytes: u64) -> Result<(), ReadError> {
        self.filled += usize::try_from(bytes).unwrap_or(0);
        if self.filled >= self.buffer.len() {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), ReadError> {
        while !bytes.is_empty() {
            let room = self.room(bytes.len() as u64);
            let (now, later) = bytes.split_at(room.len());
            room.copy_from_slice(now);
            self.filled(now.len() as u64)?;
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ReadError> {
        if self.filled == 0 {
            return Ok(());
        }
        let mut part = std::mem::take(&mut self.buffer);
        part.truncate(self.filled);
        self.expected = self.expected.saturating_sub(self.filled as u64);
        self.filled = 0;
        match (self.sink)(Bytes::from(part)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ReadError::Stopped),
        }
    }
}

fn as_index(range: &Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// Not there, or something else is there now.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    let kind = error.kind();
    let absent = [
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::InvalidInput,
    ];
    absent.contains(&kind) || Errno::from_io_error(error) == Some(Errno::LOOP)
}
