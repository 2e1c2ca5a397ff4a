//! Takes contents from files that this machine has already.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Stat};
use zeroshare_content::{Entry, Item, ItemKind, Line};
use zeroshare_proof::Midstates;

use crate::beneath::{self, Access};
use crate::hashing::{CopyError, copy_hashed, hash_bytes, hash_file};
use crate::lock::locked;
use crate::put::{Bytes, finish_file, proven_mode, read_whole};
use crate::stamp::size;
use crate::{PutError, Staged, Step};

/// Up to this size it is quicker to write contents from memory than to share or link them.
const SMALL_BYTES: u64 = 128 * 1024;

impl Staged {
    /// Takes an item from a file (or a symlink, for a link's target) elsewhere on this machine: shares its blocks, links or copies
    /// it, and hashes the result. `false`: it cannot be read, or is not what is wanted.
    ///
    /// `from` is trusted to name what the caller means; it is followed through symlinks but for the last name.
    pub fn adopt(&self, item: u32, from: &Path) -> Result<bool, PutError> {
        let wanted = self.item(item)?;
        if self.is_proven(item) {
            return Ok(true);
        }
        if wanted.kind == ItemKind::Link || wanted.size <= SMALL_BYTES {
            let Some(bytes) = read_source(from, wanted.size) else {
                return Ok(false);
            };
            let (found, _) = hash_bytes(wanted.blob.kind(), &bytes);
            if found != wanted.blob {
                return Ok(false);
            }
            return self.put_item(item, &bytes).map(|()| true);
        }
        let opened = beneath::open_file(CWD, from.as_os_str().as_bytes(), Access::Read);
        let Some((source, stat)) = opened.ok().filter(|(_, stat)| size(stat) == wanted.size) else {
            return Ok(false);
        };
        let _turn = locked(self.stripe(item));
        if self.is_proven(item) {
            return Ok(true);
        }
        if self.slices.has(item) {
            // Parts that were fetched are not given up for a file that may be another.
            let hashed = hash_file(wanted.blob.kind(), &source, wanted.size);
            if !hashed.is_ok_and(|(found, _)| found == wanted.blob) {
                return Ok(false);
            }
            return self.fill_slices(item, &source, &wanted);
        }
        self.adopt_file(item, &wanted, (from, &source, &stat))
    }

    fn adopt_file(
        &self,
        item: u32,
        wanted: &Item,
        (from, source, stat): (&Path, &File, &Stat),
    ) -> Result<bool, PutError> {
        let Some((number, line)) = self.plan.file_line(item) else {
            return Err(PutError::NoSuchItem { item });
        };
        let linked = self.link_from(number, line, (from, source, stat))?;
        let taken = match linked {
            Taken::Proven(_) => linked,
            Taken::No => self.copy_from(number, line, wanted, source)?,
        };
        let Taken::Proven(midstates) = taken else {
            return Ok(false);
        };
        self.reached(Step::Placed(number));
        if let Err(error) = self.place(item, Bytes::Line(number), &[number]) {
            self.unlink(number);
            return Err(error);
        }
        self.mark_proven(item, midstates);
        Ok(true)
    }

    /// Shares or copies a file into the tree.
    fn copy_from(
        &self,
        number: u32,
        line: &Line,
        wanted: &Item,
        source: &File,
    ) -> Result<Taken, PutError> {
        let dir = self.directory(self.plan.directory_of(number))?;
        let file = self
            .create_file(&dir, line.path.name(), 0o600)
            .map_err(|error| self.fault(line, error))?;
        self.reached(Step::Created(number));
        let kind = wanted.blob.kind();
        let hashed = if rustix::fs::ioctl_ficlone(&file, source).is_ok() {
            hash_file(kind, &file, wanted.size).map_err(CopyError::Read)
        } else {
            copy_hashed(kind, source, &file, wanted.size)
        };
        let taken = match hashed {
            Ok((found, midstates)) if found == wanted.blob => finish_file(&file, line, true)
                .map(|()| Taken::Proven(midstates))
                .map_err(|error| self.fault(line, error)),
            Ok(_) | Err(CopyError::Read(_)) => Ok(Taken::No),
            Err(CopyError::Write(error)) => Err(self.fault(line, error)),
        };
        if !matches!(taken, Ok(Taken::Proven(_))) {
            self.unlink(number);
        }
        taken
    }

    /// Makes the first line of an item a hard link of a file of the same store that nobody can tell from it.
    fn link_from(
        &self,
        number: u32,
        line: &Line,
        (from, source, stat): (&Path, &File, &Stat),
    ) -> Result<Taken, PutError> {
        let Entry::File { blob, size, .. } = line.entry else {
            return Ok(Taken::No);
        };
        let in_store = from.starts_with(&self.place.parent_path);
        if !self.options.link_trees || !in_store || !is_twin(line, stat) {
            return Ok(Taken::No);
        }
        // A link is read-only from the start, so it must be proven before it is made.
        let midstates = match hash_file(blob.kind(), source, size) {
            Ok((found, midstates)) if found == blob => midstates,
            Ok(_) | Err(_) => return Ok(Taken::No),
        };
        let dir = self.directory(self.plan.directory_of(number))?;
        let name = line.path.name();
        if rustix::fs::linkat(CWD, from, &dir, name, AtFlags::empty()).is_err() {
            return Ok(Taken::No);
        }
        let linked = beneath::stat(&dir, name).map_err(|error| self.fault(line, error))?;
        let same = (linked.st_dev, linked.st_ino) == (stat.st_dev, stat.st_ino);
        if same && is_twin(line, &linked) {
            return Ok(Taken::Proven(midstates));
        }
        self.unlink(number);
        Ok(Taken::No)
    }

    /// Replaces parts that were fetched by those of a file that has the right hash.
    fn fill_slices(&self, item: u32, source: &File, wanted: &Item) -> Result<bool, PutError> {
        let mut failed = None;
        let read = crate::hashing::read_parts(source, 0..wanted.size, |offset, part| {
            self.put_slice(item, offset, part, crate::put::WHOLE)
                .map_err(|error| {
                    failed = Some(error);
                    io::Error::from(io::ErrorKind::Other)
                })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if read.is_err() {
            return Ok(false);
        }
        match self.finish_item(item) {
            Ok(()) => Ok(true),
            Err(PutError::Mismatch { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What became of an attempt to take a file.
enum Taken {
    /// It stands at its line.
    Proven(Option<Midstates>),
    /// It is not what is wanted, and nothing is left of it.
    No,
}

/// Says whether a file is, but for its contents, what a store keeps for a line, and ours.
fn is_twin(line: &Line, stat: &Stat) -> bool {
    let Entry::File {
        mtime, size: len, ..
    } = line.entry
    else {
        return false;
    };
    beneath::file_type(stat) == FileType::RegularFile
        && beneath::mode(stat) == proven_mode(&line.entry)
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && size(stat) == len
        && (stat.st_mtime, stat.st_mtime_nsec) == (mtime, 0)
}

/// Reads a small file or the target of a symlink; `None` if it cannot be, or has another size.
fn read_source(from: &Path, len: u64) -> Option<Vec<u8>> {
    let name = from.as_os_str().as_bytes();
    let stat = beneath::stat(CWD, name).ok()?;
    if size(&stat) != len {
        return None;
    }
    if beneath::file_type(&stat) == FileType::Symlink {
        return beneath::read_link(CWD, name).ok();
    }
    let (file, opened) = beneath::open_file(CWD, name, Access::Read).ok()?;
    if size(&opened) != len {
        return None;
    }
    read_whole(&file, len).ok()
}
