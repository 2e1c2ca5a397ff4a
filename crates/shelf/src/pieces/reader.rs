//! One reader of one source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt as _;

use zeroshare_content::{BlobId, GRAIN, HashKind, Item, ItemKind, Piece, TreePath};
use zeroshare_proof::{GrainVerdict, Midstates, check_grain};

use super::parts::{Parts, Sink};
use super::{PieceSource, ReadError, Recheck, Records, is_absence};
use crate::digest::{DigestError, FileDigester};
use crate::stamp::Stamp;

/// A query for a range of lines may read so many for each one that is wanted.
const SPARSE: usize = 8;

/// Reads pieces of one source for one reader.
pub struct PieceReader<'a> {
    source: &'a PieceSource,
    recheck: Recheck,
    is_wanted: &'a dyn Fn() -> bool,
    /// Items whose files were hashed for this reader already.
    rechecked: BTreeSet<u32>,
}

/// A file of the source, found to be the one that was hashed.
struct Opened<'a> {
    number: u32,
    item: &'a Item,
    path: &'a TreePath,
    file: File,
    stamp: Option<Stamp>,
}

impl<'a> PieceReader<'a> {
    /// Starts reading; with [`Recheck::Yes`] every byte is hashed before it is handed over.
    ///
    /// `is_wanted` is asked now and then while nothing can be handed over.
    pub fn new(source: &'a PieceSource, recheck: Recheck, is_wanted: &'a dyn Fn() -> bool) -> Self {
        Self {
            source,
            recheck,
            is_wanted,
            rechecked: BTreeSet::new(),
        }
    }

    /// Reads a range of the bytes of one piece, which must lie inside it.
    pub fn read(
        &mut self,
        piece: u32,
        range: Range<u64>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ReadError> {
        let mut parts = Parts::new(range.end.saturating_sub(range.start), sink);
        let no_such_piece = ReadError::NoSuchPiece { piece };
        match self.source.layout().piece(piece) {
            None => return Err(no_such_piece),
            Some(Piece::Run { items }) => self.read_run(items, &range, &mut parts)?,
            Some(Piece::Slice {
                item: number,
                offset,
                ..
            }) => {
                let item = self.item(number).ok_or(no_such_piece)?;
                let stamp = self.stamps(&[item])?.remove(&item.line);
                let opened = self.open(number, item, stamp)?;
                self.read_slice(
                    &opened,
                    offset + range.start..offset + range.end,
                    &mut parts,
                )?;
            }
        }
        parts.flush()
    }

    fn read_run(
        &mut self,
        items: Range<u32>,
        range: &Range<u64>,
        parts: &mut Parts<'_, '_>,
    ) -> Result<(), ReadError> {
        let mut wanted = Vec::new();
        let mut start = 0;
        for number in items {
            let Some(item) = self.item(number) else {
                continue;
            };
            let end = start + item.size;
            let inside = range.start.max(start)..range.end.min(end);
            if inside.start < inside.end {
                wanted.push((number, item, inside.start - start..inside.end - start));
            }
            start = end;
        }
        let items: Vec<&Item> = wanted.iter().map(|(_, item, _)| *item).collect();
        let stamps = self.stamps(&items)?;
        for (number, item, range) in wanted {
            match item.kind {
                ItemKind::Link => self.read_link(item, &range, parts)?,
                ItemKind::File => {
                    let opened = self.open(number, item, stamps.get(&item.line).copied())?;
                    if self.recheck == Recheck::Yes {
                        self.check_file(&opened)?;
                    }
                    copy(&opened, range, parts)?;
                }
            }
        }
        Ok(())
    }

    fn read_link(
        &self,
        item: &Item,
        range: &Range<u64>,
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
        parts.push(cut(&target, range))
    }

    fn read_slice(
        &mut self,
        opened: &Opened<'_>,
        range: Range<u64>,
        parts: &mut Parts<'_, '_>,
    ) -> Result<(), ReadError> {
        match (self.recheck, &self.source.records, opened.item.blob) {
            (Recheck::Yes, Records::Indexed { index, tree }, BlobId::Sha256(digest)) => {
                let list = index.midstates(*tree, opened.item.line)?;
                let list = list.and_then(|list| Midstates::from_bytes(opened.item.size, list).ok());
                match list {
                    Some(list) => return copy_checked(opened, (&list, &digest), &range, parts),
                    None => self.check_file(opened)?,
                }
            }
            (Recheck::Yes, Records::Indexed { .. }, BlobId::Sha1(_)) => self.check_file(opened)?,
            // A staged file is not whole, so that nothing but its slices' links could be checked: its reader does that.
            (Recheck::Yes, Records::Staged, _) | (Recheck::No, _, _) => {}
        }
        copy(opened, range, parts)
    }

    /// Hashes a whole file, once for this reader.
    fn check_file(&mut self, opened: &Opened<'_>) -> Result<(), ReadError> {
        if self.rechecked.contains(&opened.number) {
            return Ok(());
        }
        let kind: HashKind = opened.item.blob.kind();
        // A descriptor of its own: this one starts at the first byte.
        let again = self
            .source
            .dir
            .file(opened.path.as_path())
            .map_err(|source| opened.failure(source))?;
        let digested = FileDigester::new(&[kind]).digest(again, &mut |_| {
            if (self.is_wanted)() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        match digested {
            Ok(digested) if opened.stamp.is_some_and(|stamp| stamp != digested.stamp) => {
                Err(opened.changed())
            }
            Ok(digested) if digested.digests.blob(kind) != Some(opened.item.blob) => {
                Err(opened.corrupt())
            }
            Ok(_) => {
                self.rechecked.insert(opened.number);
                Ok(())
            }
            Err(DigestError::Io(source)) => Err(opened.failure(source)),
            Err(DigestError::Changed) => Err(opened.changed()),
            Err(DigestError::Stopped) => Err(ReadError::Stopped),
        }
    }

    fn open(
        &self,
        number: u32,
        item: &'a Item,
        stamp: Option<Stamp>,
    ) -> Result<Opened<'a>, ReadError> {
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
        let opened = Opened {
            number,
            item,
            path,
            file,
            stamp,
        };
        if self.is_indexed() && stamp.is_none() {
            return Err(opened.changed());
        }
        opened.check()?;
        Ok(opened)
    }

    fn stamps(&self, items: &[&Item]) -> Result<BTreeMap<u32, Stamp>, ReadError> {
        let Records::Indexed { index, tree } = &self.source.records else {
            return Ok(BTreeMap::new());
        };
        let files = items.iter().filter(|item| item.kind == ItemKind::File);
        let lines: Vec<u32> = files.map(|item| item.line).collect();
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

impl Opened<'_> {
    /// Makes sure that the file is still the one that was hashed.
    fn check(&self) -> Result<(), ReadError> {
        let Some(stamp) = self.stamp else {
            return Ok(());
        };
        let metadata = self
            .file
            .metadata()
            .map_err(|source| self.failure(source))?;
        if Stamp::of(&metadata) == stamp {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), ReadError> {
        self.file
            .read_exact_at(bytes, at)
            .map_err(|source| self.failure(source))?;
        self.check()
    }

    fn failure(&self, source: io::Error) -> ReadError {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return self.changed();
        }
        ReadError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn changed(&self) -> ReadError {
        ReadError::Changed {
            path: self.path.clone(),
        }
    }

    fn corrupt(&self) -> ReadError {
        ReadError::Corrupt {
            path: self.path.clone(),
        }
    }
}

/// Hands over a range of a file.
fn copy(
    opened: &Opened<'_>,
    range: Range<u64>,
    parts: &mut Parts<'_, '_>,
) -> Result<(), ReadError> {
    let mut at = range.start;
    while at < range.end {
        let room = parts.room(range.end - at);
        let length = room.len() as u64;
        opened.read(room, at)?;
        parts.filled(length)?;
        at += length;
    }
    Ok(())
}

/// Hands over a range of a file grain by grain, each checked by the file's midstates first.
fn copy_checked(
    opened: &Opened<'_>,
    (list, digest): (&Midstates, &[u8; 32]),
    range: &Range<u64>,
    parts: &mut Parts<'_, '_>,
) -> Result<(), ReadError> {
    let size = opened.item.size;
    let mut grain = range.start / GRAIN;
    while grain * GRAIN < range.end {
        let start = grain * GRAIN;
        let end = (start + GRAIN).min(size);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        opened.read(&mut bytes, start)?;
        let index = u32::try_from(grain).unwrap_or(u32::MAX);
        match check_grain(list, size, digest, index, &bytes) {
            GrainVerdict::Linked => {}
            GrainVerdict::Broken | GrainVerdict::Unfit => return Err(opened.corrupt()),
        }
        let inside = range.start.max(start) - start..range.end.min(end) - start;
        parts.push(cut(&bytes, &inside))?;
        grain += 1;
    }
    Ok(())
}

fn cut<'a>(bytes: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    bytes
        .get(index(range.start)..index(range.end))
        .unwrap_or_default()
}

impl std::fmt::Debug for PieceReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PieceReader")
            .field("source", &self.source)
            .field("recheck", &self.recheck)
            .finish_non_exhaustive()
    }
}
