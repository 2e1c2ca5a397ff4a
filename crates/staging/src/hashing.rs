use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use zeroshare_content::{BlobId, GRAIN, HashKind, Hasher};
use zeroshare_proof::{GrainHasher, Midstates};

/// How many bytes are read from a file at once.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Hashes one file part by part, and keeps its midstates where they are wanted.
#[derive(Debug)]
pub(crate) enum FileHasher {
    /// SHA-256 of a file of more than one grain.
    Grains(GrainHasher),
    Plain(Hasher),
}

impl FileHasher {
    pub(crate) fn new(kind: HashKind, size: u64) -> Self {
        match kind {
            HashKind::Sha256 if size > GRAIN => Self::Grains(GrainHasher::new()),
            HashKind::Sha1 | HashKind::Sha256 => Self::Plain(Hasher::new(kind)),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Grains(hasher) => hasher.update(bytes),
            Self::Plain(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> (BlobId, Option<Midstates>) {
        match self {
            Self::Grains(hasher) => {
                let (blob, midstates) = hasher.finish();
                (blob, Some(midstates))
            }
            Self::Plain(hasher) => (hasher.finish(), None),
        }
    }

    /// Takes in a part of a file that is known to have it.
    pub(crate) fn update_from(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        read_parts(file, range, |_, part| {
            self.update(part);
            Ok(())
        })
    }
}

/// Hashes bytes that are all at hand.
pub(crate) fn hash_bytes(kind: HashKind, bytes: &[u8]) -> (BlobId, Option<Midstates>) {
    let mut hasher = FileHasher::new(kind, bytes.len() as u64);
    hasher.update(bytes);
    hasher.finish()
}

/// Hashes the start of a file.
pub(crate) fn hash_file(
    kind: HashKind,
    file: &File,
    size: u64,
) -> io::Result<(BlobId, Option<Midstates>)> {
    let mut hasher = FileHasher::new(kind, size);
    hasher.update_from(file, 0..size)?;
    Ok(hasher.finish())
}

/// Copies the start of a file into another, and hashes what it writes.
pub(crate) fn copy_hashed(
    kind: HashKind,
    from: &File,
    to: &File,
    size: u64,
) -> Result<(BlobId, Option<Midstates>), CopyError> {
    let mut hasher = FileHasher::new(kind, size);
    let mut failed = None;
    let read = read_parts(from, 0..size, |offset, part| {
        hasher.update(part);
        to.write_all_at(part, offset).map_err(|error| {
            failed = Some(error);
            io::Error::from(io::ErrorKind::Other)
        })
    });
    match (failed, read) {
        (Some(error), _) => Err(CopyError::Write(error)),
        (None, Err(error)) => Err(CopyError::Read(error)),
        (None, Ok(())) => Ok(hasher.finish()),
    }
}

/// On which side a copy failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Reads a part of a file, piece by piece; it must be there in full.
pub(crate) fn read_parts(
    file: &File,
    range: Range<u64>,
    mut on_part: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let len = range.end.saturating_sub(range.start);
    let mut buffer =
        vec![0; usize::try_from(len).map_or(BUFFER_BYTES, |len| len.min(BUFFER_BYTES))];
    let mut offset = range.start;
    while offset < range.end {
        let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
        let part_len = left.min(buffer.len());
        let part = &mut buffer[..part_len];
        file.read_exact_at(part, offset)?;
        on_part(offset, part)?;
        offset += part.len() as u64;
    }
    Ok(())
}
