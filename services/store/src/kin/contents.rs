//! Files of a tree in the order of its manifest, read from the pieces that they are in.

use std::collections::BTreeMap;
use std::io;

use zeroshare_content::{BlobId, Entry, Layout, Piece};
use zeroshare_kin::Contents;
use zeroshare_shelf::{PieceReader, PieceSource, ReadError, Recheck, Sink};

/// Reads files as long as each is the one that was hashed.
pub(super) struct Files<'a> {
    source: &'a PieceSource,
    reader: PieceReader<'a>,
    items: BTreeMap<BlobId, u32>,
    run: Option<Run>,
    failure: Option<ReadError>,
}

/// Where each item of one run begins in it.
struct Run {
    piece: u32,
    first_item: u32,
    starts: Vec<u64>,
}

/// Bytes that are wanted, all of them.
struct Room<'b> {
    bytes: &'b mut [u8],
    filled: usize,
}

impl<'a> Files<'a> {
    pub(super) fn new(source: &'a PieceSource, is_wanted: &'a dyn Fn() -> bool) -> Self {
        let items = source.layout().items().iter().zip(0..);
        Self {
            source,
            reader: PieceReader::new(source, Recheck::No, is_wanted),
            items: items.map(|(item, number)| (item.blob, number)).collect(),
            run: None,
            failure: None,
        }
    }

    /// Why a file could not be read.
    pub(super) fn take_failure(&mut self) -> Option<ReadError> {
        self.failure.take()
    }

    fn read_line(&mut self, line: u32, offset: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let missing = || ReadError::NoSuchPiece { piece: line };
        let entry = self.source.manifest().lines().get(line as usize);
        let blob = match entry.map(|line| line.entry) {
            Some(Entry::File { blob, .. } | Entry::Symlink { blob, .. }) => blob,
            Some(Entry::Directory) | None => return Err(missing()),
        };
        let item = *self.items.get(&blob).ok_or_else(missing)?;
        let layout = self.source.layout();
        let first = layout.pieces_of_item(item).ok_or_else(missing)?.start;
        let mut room = Room {
            bytes: into,
            filled: 0,
        };
        if let Some(Piece::Run { items }) = layout.piece(first) {
            let start = self.start_in_run(layout, first, items.start, item) + offset;
            let end = start + room.bytes.len() as u64;
            return self.reader.read(first, start..end, None, &mut room);
        }
        let size = layout.piece_size();
        while room.filled < room.bytes.len() {
            let at = offset + room.filled as u64;
            let number = u32::try_from(at / size).map_err(|_| missing())?;
            let (start, left) = (at % size, (room.bytes.len() - room.filled) as u64);
            let end = size.min(start + left);
            self.reader
                .read(first + number, start..end, None, &mut room)?;
        }
        Ok(())
    }

    fn start_in_run(&mut self, layout: &Layout, piece: u32, first_item: u32, item: u32) -> u64 {
        let run = match self.run.take() {
            Some(run) if run.piece == piece => run,
            Some(_) | None => Run::of(layout, piece, first_item),
        };
        let place = (item - run.first_item) as usize;
        let start = run.starts.get(place).copied().unwrap_or(0);
        self.run = Some(run);
        start
    }
}

impl Contents for Files<'_> {
    fn read(&mut self, line: u32, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_line(line, offset, into).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.failure = Some(error);
            told
        })
    }
}

impl Run {
    fn of(layout: &Layout, piece: u32, first_item: u32) -> Self {
        let mut starts = Vec::new();
        if let Some(Piece::Run { items }) = layout.piece(piece) {
            let mut start = 0;
            let items = layout.items().get(items.start as usize..items.end as usize);
            for item in items.unwrap_or_default() {
                starts.push(start);
                start += item.size;
            }
        }
        Self {
            piece,
            first_item,
            starts,
        }
    }
}

impl Sink for Room<'_> {
    fn room(&mut self, wanted: u64) -> Option<&mut [u8]> {
        let left = self.bytes.get_mut(self.filled..)?;
        let length = usize::try_from(wanted).map_or(left.len(), |wanted| wanted.min(left.len()));
        left.get_mut(..length)
    }

    fn filled(&mut self, bytes: usize) {
        self.filled += bytes;
    }
}
