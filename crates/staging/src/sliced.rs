//! Puts large files together from parts, and hashes them on the way as far as they are there without a gap.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::Advice;
use zeroshare_content::{Item, ItemKind};

use crate::beneath::{self, Access};
use crate::hashing::read_parts;
use crate::journal::Change;
use crate::lock::locked;
use crate::put::{Bytes, finish_file};
use crate::slices::{Data, Prefix, Sliced};
use crate::{PutError, SourceId, Staged, Step};

/// So many bytes of one file are written before the disk is told to start with them.
const WRITE_BACK_BYTES: u64 = 16 * 1024 * 1024;

/// So many bytes are hashed before it is looked again at what is there.
const HASH_AHEAD_BYTES: u64 = 16 * 1024 * 1024;

impl Staged {
    /// Takes a part of a file of any size, and remembers who sent it.
    ///
    /// It replaces what was there. Nothing is proven by it: when all parts are there, [`finish_item`](Self::finish_item) is to be
    /// called. An item that is proven already is not written again.
    pub fn put_slice(
        &self,
        item: u32,
        offset: u64,
        bytes: &[u8],
        source: SourceId,
    ) -> Result<(), PutError> {
        let wanted = self.item(item)?;
        let range = part_of(item, &wanted, offset, bytes.len() as u64)?;
        if self.is_proven(item) || bytes.is_empty() {
            return Ok(());
        }
        let sliced = self.slices.find_or_add(item, &wanted);
        let file = {
            let mut data = locked(&sliced.data);
            if data.proven {
                return Ok(());
            }
            let file = self.file_of(item, &mut data)?;
            if !self.write_part(item, &file, (&range, bytes), &mut data)? {
                return Ok(());
            }
            data.extents.insert(range, Some(source));
            file
        };
        self.reached(Step::SliceRecorded(item));
        if let Ok(mut prefix) = sliced.prefix.try_lock() {
            hash_ahead(&wanted, (&sliced, &mut prefix), &file, (offset, bytes));
        }
        if self.journal_has_grown() {
            self.compact()
                .map_err(|error| PutError::io(&self.path, error))?;
        }
        Ok(())
    }

    /// Writes a part and records it; `false` if the same bytes were there already.
    pub(crate) fn write_part(
        &self,
        item: u32,
        file: &File,
        (range, bytes): (&Range<u64>, &[u8]),
        data: &mut Data,
    ) -> Result<bool, PutError> {
        let fault = |error| self.file_fault(item, error);
        data.linked.forget(range);
        if data.extents.touch(range) {
            if data.extents.cover(range) && has_bytes(file, range, bytes) {
                return Ok(false);
            }
            self.forget_part(item, range, data)?;
        }
        beneath::write_at(file, bytes, range.start).map_err(fault)?;
        self.reached(Step::SliceWritten(item));
        data.unflushed += bytes.len() as u64;
        if data.unflushed >= WRITE_BACK_BYTES {
            data.unflushed = 0;
            start_write_back(file);
        }
        self.record(Change::Written, item, range)?;
        Ok(true)
    }

    fn forget_part(&self, item: u32, range: &Range<u64>, data: &mut Data) -> Result<(), PutError> {
        data.version += 1;
        data.linked.forget(range);
        data.extents.remove(range.clone());
        self.record(Change::Dropped, item, range)
    }

    /// Proves a file all parts of which are there, and puts it at every line that has it.
    ///
    /// After a mismatch all parts stay, with who sent them, to be compared and replaced.
    pub fn finish_item(&self, item: u32) -> Result<(), PutError> {
        let wanted = self.item(item)?;
        if self.is_proven(item) {
            return Ok(());
        }
        let Some(sliced) = self.slices.find(item) else {
            // Somebody else may have finished it this moment.
            let missing = 0..wanted.size;
            let unknown = Err(PutError::Incomplete { item, missing });
            return if self.is_proven(item) {
                Ok(())
            } else {
                unknown
            };
        };
        let Some((number, line)) = self.plan.file_line(item) else {
            return Err(PutError::NoSuchItem { item });
        };
        let mut prefix = locked(&sliced.prefix);
        let opened = self.slices.open_file(item);
        if let Some(file) = opened {
            // The long way is gone without the lock that writers need.
            hash_ahead(&wanted, (&sliced, &mut prefix), &file, (0, &[]));
        }
        let mut data = locked(&sliced.data);
        if self.is_proven(item) {
            return Ok(());
        }
        if !data.proven {
            if let Some(missing) = data.extents.first_gap(wanted.size) {
                return Err(PutError::Incomplete { item, missing });
            }
            let file = self.file_of(item, &mut data)?;
            self.prove(item, &wanted, &file, (&mut prefix, &mut data))?;
            finish_file(&file, line, true).map_err(|error| self.fault(line, error))?;
            data.proven = true;
            self.reached(Step::Placed(number));
        }
        self.place(item, Bytes::Line(number), &[number])?;
        let midstates = data.midstates.take();
        self.mark_proven(item, midstates);
        drop((prefix, data));
        self.slices.forget(item);
        Ok(())
    }

    /// Hashes what was not hashed yet, and compares.
    fn prove(
        &self,
        item: u32,
        wanted: &Item,
        file: &File,
        (prefix, data): (&mut Prefix, &mut Data),
    ) -> Result<(), PutError> {
        let mut hashed = std::mem::replace(prefix, Prefix::new(wanted, data.version));
        if hashed.version != data.version {
            hashed = Prefix::new(wanted, data.version);
        }
        hashed
            .hasher
            .update_from(file, hashed.end..wanted.size)
            .map_err(|error| self.file_fault(item, error))?;
        let (found, midstates) = hashed.hasher.finish();
        if found != wanted.blob {
            let blob = wanted.blob;
            return Err(PutError::Mismatch { blob, found });
        }
        data.midstates = midstates;
        Ok(())
    }

    /// Reads bytes that were written, proven or not.
    pub fn read_slice(&self, item: u32, offset: u64, len: u64) -> Result<Vec<u8>, PutError> {
        let wanted = self.item(item)?;
        let range = part_of(item, &wanted, offset, len)?;
        let fault = |error| self.file_fault(item, error);
        let file = if let Some(sliced) = self.slices.find(item) {
            let mut data = locked(&sliced.data);
            if !data.extents.cover(&range) {
                let missing = range;
                return Err(PutError::Incomplete { item, missing });
            }
            self.file_of(item, &mut data)?
        } else if self.is_proven(item) {
            Arc::new(self.open_file(item, Access::Read)?)
        } else {
            let missing = range;
            return Err(PutError::Incomplete { item, missing });
        };
        let len = usize::try_from(len).map_err(|_| fault(io::ErrorKind::FileTooLarge.into()))?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset).map_err(fault)?;
        Ok(bytes)
    }

    /// Opens a file of an item for reading, proven or not: what is read counts only where the caller knows that it is proven.
    ///
    /// What was opened stays readable when the tree gets its name. [`PutError::NoSuchItem`] for the targets of symlinks, and
    /// an error while there is no file yet.
    pub fn open_item(&self, item: u32) -> Result<File, PutError> {
        self.open_file(item, Access::Read)
    }

    /// Which parts of an unfinished file are there, and who sent them; `None`: an earlier run got them.
    pub fn slices(&self, item: u32) -> Vec<(Range<u64>, Option<SourceId>)> {
        let sliced = self.slices.find(item);
        sliced.map_or_else(Vec::new, |sliced| {
            locked(&sliced.data).extents.iter().collect()
        })
    }

    /// Forgets a part of an unfinished file.
    pub fn drop_slices(&self, item: u32, range: Range<u64>) -> Result<(), PutError> {
        self.item(item)?;
        let Some(sliced) = self.slices.find(item) else {
            return Ok(());
        };
        let mut data = locked(&sliced.data);
        if data.proven || !data.extents.touch(&range) {
            return Ok(());
        }
        self.forget_part(item, &range, &mut data)
    }

    /// The file that an item's parts are written to, opened, and made if it is not there.
    pub(crate) fn file_of(&self, item: u32, data: &mut Data) -> Result<Arc<File>, PutError> {
        if let Some(file) = self.slices.open_file(item) {
            return Ok(file);
        }
        let file = if data.created {
            let proven = data.proven;
            let access = if proven {
                Access::Read
            } else {
                Access::ReadWrite
            };
            self.open_file(item, access)?
        } else {
            self.make_file(item)?
        };
        data.created = true;
        Ok(self.slices.keep_open(item, file))
    }

    fn open_file(&self, item: u32, access: Access) -> Result<File, PutError> {
        let Some((number, line)) = self.plan.file_line(item) else {
            return Err(PutError::NoSuchItem { item });
        };
        let dir = self.directory(self.plan.directory_of(number))?;
        let opened = beneath::open_file(&dir, line.path.name(), access);
        let (file, _) = opened.map_err(|error| self.fault(line, error))?;
        Ok(file)
    }

    /// Makes a file in its full size, with nothing in it.
    fn make_file(&self, item: u32) -> Result<File, PutError> {
        let Some((number, line)) = self.plan.file_line(item) else {
            return Err(PutError::NoSuchItem { item });
        };
        let size = self.item(item)?.size;
        let dir = self.directory(self.plan.directory_of(number))?;
        let file = self
            .create_file(&dir, line.path.name(), 0o600)
            .map_err(|error| self.fault(line, error))?;
        if let Err(error) = file.set_len(size) {
            self.unlink(number);
            return Err(self.fault(line, error));
        }
        self.reached(Step::Created(number));
        Ok(file)
    }

    fn file_fault(&self, item: u32, error: io::Error) -> PutError {
        match self.plan.file_line(item) {
            Some((_, line)) => self.fault(line, error),
            None => PutError::io(&self.path, error),
        }
    }
}

/// Hashes what is there without a gap behind what was hashed before; `bytes` at `offset` were just written.
fn hash_ahead(
    item: &Item,
    (sliced, prefix): (&Sliced, &mut Prefix),
    file: &File,
    (offset, bytes): (u64, &[u8]),
) {
    loop {
        let (end, version, proven) = {
            let data = locked(&sliced.data);
            let end = data.extents.end_of_run(prefix.end);
            (end, data.version, data.proven)
        };
        if proven {
            return;
        }
        if prefix.version != version {
            *prefix = Prefix::new(item, version);
            continue;
        }
        if end <= prefix.end {
            return;
        }
        let in_memory = prefix.end.checked_sub(offset);
        let in_memory = in_memory.and_then(|skip| bytes.get(usize::try_from(skip).ok()?..));
        let to = match in_memory {
            Some(rest) if !rest.is_empty() => end.min(prefix.end + rest.len() as u64),
            _ => end.min(prefix.end + HASH_AHEAD_BYTES),
        };
        let len = usize::try_from(to - prefix.end).unwrap_or(usize::MAX);
        match in_memory.and_then(|rest| rest.get(..len)) {
            Some(part) => prefix.hasher.update(part),
            None => {
                if prefix.hasher.update_from(file, prefix.end..to).is_err() {
                    *prefix = Prefix::new(item, version);
                    return;
                }
            }
        }
        prefix.end = to;
    }
}

/// The place of a part in a file; links travel whole.
pub(crate) fn part_of(
    item: u32,
    wanted: &Item,
    offset: u64,
    len: u64,
) -> Result<Range<u64>, PutError> {
    let end = offset.checked_add(len).filter(|end| *end <= wanted.size);
    match end {
        Some(end) if wanted.kind == ItemKind::File => Ok(offset..end),
        _ => Err(PutError::OutOfRange { item, offset, len }),
    }
}

fn has_bytes(file: &File, range: &Range<u64>, bytes: &[u8]) -> bool {
    let mut equal = true;
    let read = read_parts(file, range.clone(), |offset, part| {
        let from = usize::try_from(offset - range.start).unwrap_or(usize::MAX);
        let same = bytes.get(from..).and_then(|bytes| bytes.get(..part.len()));
        equal = equal && same == Some(part);
        Ok(())
    });
    equal && read.is_ok()
}

/// Lets the disk start with what was written, so that the sync at the end finds little to do.
///
/// Pages that are not on disk yet stay in memory.
fn start_write_back(file: &File) {
    let whole_file: Option<NonZeroU64> = None;
    let _advised = rustix::fs::fadvise(file, 0, whole_file, Advice::DontNeed);
}
