//! One reader of one source.

mod ahead;
mod opened;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use zeroshare_content::{BlobId, GRAIN, HashKind, Item, ItemKind, Piece, TreePath};
use zeroshare_proof::{GrainVerdict, Midstates, check_grain};

use super::parts::{Sink, push, room};
use super::{PieceSource, ReadError, Recheck, Records, is_absence};
use crate::beneath::Beneath;
use crate::digest::{DigestError, FileDigester};
use crate::stamp::Stamp;
use ahead::Ahead;
use opened::Opened;

/// Reads pieces of one source for one reader.
pub struct PieceReader<'a> {
    source: &'a PieceSource,
    recheck: Recheck,
    is_wanted: &'a dyn Fn() -> bool,
    /// Items whose files were hashed for this reader already.
    rechecked: BTreeSet<u32>,
    /// The file of the last slice: the next one is often of the same.
    file: Option<Opened<'a>>,
    /// The directory of the last file of a run: the next one often lies in it too.
    directory: Option<(&'a [u8], Beneath)>,
    /// What the index says of a range of lines.
    ahead: Ahead,
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
            file: None,
            directory: None,
            ahead: Ahead::default(),
        }
    }

    /// Reads a range of the bytes of one piece, which must lie inside it.
    ///
    /// By `list` the slices of a staged file are rechecked: a file that is not whole has no other proof. Without one they
    /// are not handed over when they are to be rechecked.
    pub fn read(
        &mut self,
        piece: u32,
        range: Range<u64>,
        list: Option<&Midstates>,
        sink: &mut dyn Sink,
    ) -> Result<(), ReadError> {
        let no_such_piece = ReadError::NoSuchPiece { piece };
        match self.source.layout().piece(piece) {
            None => Err(no_such_piece),
            Some(Piece::Run { items }) => self.read_run(items, &range, sink),
            Some(Piece::Slice {
                item: number,
                offset,
                ..
            }) => {
                let item = self.item(number).ok_or(no_such_piece)?;
                let opened = match self.file.take() {
                    Some(opened) if opened.number == number => opened,
                    Some(_) | None => {
                        let stamp = self.stamps(&[item])?.remove(&item.line);
                        self.open(number, item, stamp)?
                    }
                };
                let range = offset + range.start..offset + range.end;
                self.read_slice(&opened, range, list, sink)?;
                self.file = Some(opened);
                Ok(())
            }
        }
    }

    fn read_run(
        &mut self,
        items: Range<u32>,
        range: &Range<u64>,
        sink: &mut dyn Sink,
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
                ItemKind::Link => self.read_link(item, &range, sink)?,
                ItemKind::File => {
                    let opened = self.open(number, item, stamps.get(&item.line).copied())?;
                    if self.recheck == Recheck::Yes {
                        self.check_file(&opened)?;
                    }
                    copy(&opened, range, sink)?;
                }
            }
        }
        Ok(())
    }

    fn read_link(
        &self,
        item: &Item,
        range: &Range<u64>,
        sink: &mut dyn Sink,
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
        push(sink, cut(&target, range))
    }

    fn read_slice(
        &mut self,
        opened: &Opened<'_>,
        range: Range<u64>,
        list: Option<&Midstates>,
        sink: &mut dyn Sink,
    ) -> Result<(), ReadError> {
        match (self.recheck, &self.source.records, opened.item.blob) {
            (Recheck::Yes, Records::Indexed { index, tree }, BlobId::Sha256(digest)) => {
                let list = index.midstates(*tree, opened.item.line)?;
                let list = list.and_then(|list| Midstates::from_bytes(opened.item.size, list).ok());
                match list {
                    Some(list) => return copy_checked(opened, (&list, &digest), &range, sink),
                    None => self.check_file(opened)?,
                }
            }
            (Recheck::Yes, Records::Indexed { .. }, BlobId::Sha1(_)) => self.check_file(opened)?,
            (Recheck::Yes, Records::Staged, BlobId::Sha256(digest)) => {
                let list = list.ok_or_else(|| opened.changed())?;
                return copy_checked(opened, (list, &digest), &range, sink);
            }
            (Recheck::Yes, Records::Staged, BlobId::Sha1(_)) => return Err(opened.changed()),
            (Recheck::No, _, _) => {}
        }
        copy(opened, range, sink)
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
        &mut self,
        number: u32,
        item: &'a Item,
        stamp: Option<Stamp>,
    ) -> Result<Opened<'a>, ReadError> {
        let path = self.path(item)?;
        if self.is_indexed() && stamp.is_none() {
            return Err(ReadError::Changed { path: path.clone() });
        }
        match self.open_file(path, stamp.is_some()) {
            Ok(file) => Ok(Opened {
                number,
                item,
                path,
                file,
                stamp,
            }),
            Err(error) if is_absence(&error) => Err(ReadError::Changed { path: path.clone() }),
            Err(source) => Err(ReadError::Io {
                path: path.clone(),
                source,
            }),
        }
    }

    /// Opens a file through its directory, which stays open for the next one.
    fn open_file(&mut self, path: &'a TreePath, is_stamped: bool) -> io::Result<File> {
        let bytes = path.as_bytes();
        let Some(cut) = bytes.iter().rposition(|byte| *byte == b'/') else {
            return open_in(&self.source.dir, path.as_path(), is_stamped);
        };
        let (parent, name) = (
            bytes.get(..cut).unwrap_or_default(),
            bytes.get(cut + 1..).unwrap_or_default(),
        );
        if self.directory.as_ref().is_none_or(|(at, _)| *at != parent) {
            let directory = self.source.dir.directory(path_of(parent))?;
            self.directory = Some((parent, directory));
        }
        match &self.directory {
            Some((_, directory)) => open_in(directory, path_of(name), is_stamped),
            None => open_in(&self.source.dir, path.as_path(), is_stamped),
        }
    }

    fn stamps(&mut self, items: &[&Item]) -> Result<BTreeMap<u32, Stamp>, ReadError> {
        let Records::Indexed { index, tree } = &self.source.records else {
            return Ok(BTreeMap::new());
        };
        let files = items.iter().filter(|item| item.kind == ItemKind::File);
        let lines: Vec<u32> = files.map(|item| item.line).collect();
        self.ahead.stamps(&lines, |lines| {
            let files = index.files(*tree, lines)?.into_iter();
            Ok(files.map(|file| (file.line, file.stamp)).collect())
        })
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

/// Who has the stamp of a regular file sees by that what else it may be, once it was read.
fn open_in(dir: &Beneath, path: &Path, is_stamped: bool) -> io::Result<File> {
    if is_stamped {
        dir.anything(path)
    } else {
        dir.file(path)
    }
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

/// Hands over a range of a file.
fn copy(opened: &Opened<'_>, range: Range<u64>, sink: &mut dyn Sink) -> Result<(), ReadError> {
    let mut at = range.start;
    while at < range.end {
        let room = room(sink, range.end - at)?;
        opened.read(room, at)?;
        let length = room.len();
        sink.filled(length);
        at += length as u64;
    }
    Ok(())
}

/// Hands over a range of a file grain by grain, each checked by the file's midstates first.
fn copy_checked(
    opened: &Opened<'_>,
    (list, digest): (&Midstates, &[u8; 32]),
    range: &Range<u64>,
    sink: &mut dyn Sink,
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
        push(sink, cut(&bytes, &inside))?;
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
