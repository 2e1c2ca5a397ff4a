use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ops::Range;

use crate::{
    BlobId, Entry, GRAIN, MAX_CONTENT_BYTES, MAX_PIECE, Manifest, PIECES_AIM, RUN_ENTRIES,
};

/// How the bytes of a tree or a blob are cut into numbered pieces.
///
/// It follows from the manifest (or a blob's size) alone, so that all machines number alike. Every
/// distinct hash with any bytes is one [`Item`], whatever number of lines has it. There are three
/// classes, in this order:
///
/// 1. targets of symlinks, also where a file has the same contents,
/// 2. files of at most one piece size,
/// 3. larger files.
///
/// Within a class items stand in the order of the first line of that class that has them. Links and
/// then small files are filled into runs, next-fit: a run ends where the next item would take it
/// beyond the piece size or [`RUN_ENTRIES`], and no run holds both classes. Each larger file is cut
/// from its start into slices of the piece size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    piece_size: u64,
    content_size: u64,
    items: Vec<Item>,
    runs: Vec<Range<u32>>,
    /// The first item that is cut into slices; all after it are cut too.
    first_sliced: u32,
    /// For each item that is cut, its first piece.
    slice_starts: Vec<u32>,
    piece_count: u32,
}

/// One distinct content that travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// What its bytes hash to.
    pub blob: BlobId,
    /// How many bytes it has; never 0.
    pub size: u64,
    /// What it is needed for.
    pub kind: ItemKind,
    /// The first line of its kind that has it, as an index into [`Manifest::lines`]; 0 for a blob.
    pub line: u32,
}

/// The class of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// The target of at least one symlink, and perhaps the contents of files as well.
    Link,
    /// The contents of files only.
    File,
}

/// The unit of transfer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Whole items, one after the other.
    Run {
        /// Their indices in [`Layout::items`]; never empty.
        items: Range<u32>,
    },
    /// A part of one large file.
    Slice {
        /// The file's index in [`Layout::items`].
        item: u32,
        /// Where it starts in the file, a multiple of the piece size.
        offset: u64,
        /// How many bytes it has.
        len: u64,
    },
}

impl Layout {
    /// Cuts a tree.
    pub fn of_manifest(manifest: &Manifest) -> Result<Self, LayoutError> {
        let (links, files) = distinct_items(manifest)?;
        Self::of_items(links, files)
    }

    /// Cuts a single file.
    pub fn of_blob(blob: BlobId, size: u64) -> Result<Self, LayoutError> {
        if (size == 0) != blob.is_of_no_bytes() {
            return Err(LayoutError::SizeOfNoBytes { blob });
        }
        let item = Item {
            blob,
            size,
            kind: ItemKind::File,
            line: 0,
        };
        let files = if size == 0 { Vec::new() } else { vec![item] };
        Self::of_items(Vec::new(), files)
    }

    fn of_items(links: Vec<Item>, files: Vec<Item>) -> Result<Self, LayoutError> {
        let content_size = links
            .iter()
            .chain(&files)
            .try_fold(0_u64, |sum, item| sum.checked_add(item.size))
            .filter(|sum| *sum <= MAX_CONTENT_BYTES)
            .ok_or(LayoutError::TooLarge)?;
        let piece_size = piece_size(content_size);
        let (small, large): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.size <= piece_size);

        let mut runs = fill_runs(&links, 0, piece_size)?;
        runs.extend(fill_runs(&small, index(links.len())?, piece_size)?);
        let first_sliced = index(links.len() + small.len())?;
        let mut slice_starts = Vec::with_capacity(large.len());
        let mut piece_count = index(runs.len())?;
        for file in &large {
            slice_starts.push(piece_count);
            let slices = u32::try_from(file.size.div_ceil(piece_size)).ok();
            piece_count = slices
                .and_then(|slices| piece_count.checked_add(slices))
                .ok_or(LayoutError::TooLarge)?;
        }
        let items = [links, small, large].concat();
        Ok(Self {
            piece_size,
            content_size,
            items,
            runs,
            first_sliced,
            slice_starts,
            piece_count,
        })
    }

    /// The most bytes that a piece has: a power of two times [`GRAIN`], at most [`MAX_PIECE`].
    pub fn piece_size(&self) -> u64 {
        self.piece_size
    }

    /// The bytes of all items.
    pub fn content_size(&self) -> u64 {
        self.content_size
    }

    /// How many pieces there are; numbers start at 0.
    pub fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// All distinct contents, in the order in which the pieces hold them.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// What a piece consists of; `None` if there is no such piece.
    pub fn piece(&self, number: u32) -> Option<Piece> {
        if let Some(items) = self.runs.get(number as usize) {
            return Some(Piece::Run {
                items: items.clone(),
            });
        }
        if number >= self.piece_count {
            return None;
        }
        let after = self.slice_starts.partition_point(|start| *start <= number);
        let sliced = after.checked_sub(1)?;
        let item = self.first_sliced + u32::try_from(sliced).ok()?;
        let offset = u64::from(number - self.slice_starts.get(sliced)?) * self.piece_size;
        let size = self.items.get(item as usize)?.size;
        Some(Piece::Slice {
            item,
            offset,
            len: self.piece_size.min(size - offset),
        })
    }

    /// How many bytes a piece has; `None` if there is no such piece.
    pub fn piece_len(&self, number: u32) -> Option<u64> {
        Some(match self.piece(number)? {
            Piece::Run { items } => {
                let items = self.items.get(items.start as usize..items.end as usize)?;
                items.iter().map(|item| item.size).sum()
            }
            Piece::Slice { len, .. } => len,
        })
    }

    /// The pieces that hold the bytes of an item; `None` if there is no such item.
    pub fn pieces_of_item(&self, item: u32) -> Option<Range<u32>> {
        let size = self.items.get(item as usize)?.size;
        if let Some(sliced) = item.checked_sub(self.first_sliced) {
            let start = *self.slice_starts.get(sliced as usize)?;
            let slices = u32::try_from(size.div_ceil(self.piece_size)).ok()?;
            return Some(start..start + slices);
        }
        let run = u32::try_from(self.runs.partition_point(|run| run.end <= item)).ok()?;
        Some(run..run + 1)
    }
}

/// Why content cannot be cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// One hash is said to have two sizes, of which at least one is a lie.
    #[error("{blob} is said to have both {first} and {second} bytes")]
    TwoSizes {
        /// The hash.
        blob: BlobId,
        /// The size that came first.
        first: u64,
        /// The size that came later.
        second: u64,
    },
    /// A blob of no bytes has another hash, or the other way round.
    #[error("{blob} and its size contradict each other: one of them is that of no bytes")]
    SizeOfNoBytes {
        /// The hash.
        blob: BlobId,
    },
    /// There are more bytes than are counted.
    #[error("there are more than {MAX_CONTENT_BYTES} bytes")]
    TooLarge,
}

/// The links, and the files that are no links as well, each once and in the order of their first
/// lines.
fn distinct_items(manifest: &Manifest) -> Result<(Vec<Item>, Vec<Item>), LayoutError> {
    let mut links = Vec::new();
    let mut files = Vec::new();
    let mut sizes: HashMap<BlobId, u64> = HashMap::new();
    for wanted in [ItemKind::Link, ItemKind::File] {
        for (line, entry) in manifest.lines().iter().map(|line| &line.entry).enumerate() {
            let (blob, size, kind) = match *entry {
                Entry::Directory => continue,
                Entry::File { blob, size, .. } => (blob, size, ItemKind::File),
                Entry::Symlink { blob, target_len } => (blob, target_len, ItemKind::Link),
            };
            if kind != wanted || size == 0 {
                continue;
            }
            let item = Item {
                blob,
                size,
                kind,
                line: index(line)?,
            };
            match sizes.entry(blob) {
                Slot::Occupied(slot) if *slot.get() != size => {
                    let first = *slot.get();
                    return Err(LayoutError::TwoSizes {
                        blob,
                        first,
                        second: size,
                    });
                }
                Slot::Occupied(_) => {}
                Slot::Vacant(slot) => {
                    slot.insert(size);
                    match kind {
                        ItemKind::Link => links.push(item),
                        ItemKind::File => files.push(item),
                    }
                }
            }
        }
    }
    Ok((links, files))
}

fn piece_size(content_size: u64) -> u64 {
    let needed = content_size.div_ceil(GRAIN * PIECES_AIM).max(1);
    needed
        .next_power_of_two()
        .saturating_mul(GRAIN)
        .min(MAX_PIECE)
}

/// Divides items that follow each other, the first of which has this index, into runs.
fn fill_runs(items: &[Item], first: u32, piece_size: u64) -> Result<Vec<Range<u32>>, LayoutError> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    let mut bytes = 0;
    for (place, item) in items.iter().enumerate() {
        let here = first + index(place)?;
        match runs.last_mut() {
            Some(run) if run.len() < RUN_ENTRIES && bytes + item.size <= piece_size => {
                run.end = here + 1;
                bytes += item.size;
            }
            _ => {
                runs.push(here..here + 1);
                bytes = item.size;
            }
        }
    }
    Ok(runs)
}

fn index(place: usize) -> Result<u32, LayoutError> {
    u32::try_from(place).map_err(|_| LayoutError::TooLarge)
}
