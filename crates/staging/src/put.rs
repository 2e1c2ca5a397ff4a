//! Puts proven contents at their lines.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::AtFlags;
use rustix::io::Errno;
use zeroshare_content::{BlobId, Entry, GRAIN, HashKind, Line};
use zeroshare_proof::{Midstates, sha256_of_each};

use crate::beneath::{self, Access};
use crate::hashing::{CopyError, copy_hashed, hash_bytes};
use crate::lock::locked;
use crate::{PutError, SourceId, Staged, Step};

/// Who sent what is put whole; it is never asked for.
pub(crate) const WHOLE: SourceId = SourceId(u32::MAX);

/// Where the proven bytes of an item are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bytes<'a> {
    Memory(&'a [u8]),
    /// In the file of this line, which is complete.
    Line(u32),
}

impl Staged {
    /// Takes a whole item, and writes it to every line that has it.
    ///
    /// The bytes are hashed first. An item that is proven already is not written again.
    pub fn put_item(&self, item: u32, bytes: &[u8]) -> Result<(), PutError> {
        let wanted = self.item(item)?;
        if self.is_proven(item) {
            return Ok(());
        }
        self.put_hashed(item, bytes, hash_bytes(wanted.blob.kind(), bytes))
    }

    /// Takes whole items, each as [`put_item`](Self::put_item) does, and says how many of them are proven now and why not
    /// the next one.
    ///
    /// Small ones are hashed together, which is faster.
    pub fn put_items(&self, items: &[(u32, &[u8])]) -> (usize, Result<(), PutError>) {
        let is_small = |(item, bytes): &&(u32, &[u8])| {
            let wanted = self.plan.item(*item);
            let is_sha256 = wanted.is_some_and(|item| item.blob.kind() == HashKind::Sha256);
            is_sha256 && bytes.len() as u64 <= GRAIN && !self.is_proven(*item)
        };
        let small: Vec<(u32, &[u8])> = items.iter().filter(is_small).copied().collect();
        let messages: Vec<&[u8]> = small.iter().map(|(_, bytes)| *bytes).collect();
        let mut hashed = small.iter().zip(sha256_of_each(&messages)).peekable();
        for (at, (item, bytes)) in items.iter().enumerate() {
            let put = match hashed.next_if(|((of, _), _)| of == item) {
                Some((_, digest)) => self.put_hashed(*item, bytes, (BlobId::Sha256(digest), None)),
                None => self.put_item(*item, bytes),
            };
            if let Err(error) = put {
                return (at, Err(error));
            }
        }
        (items.len(), Ok(()))
    }

    /// Takes a whole item with what its bytes were found to hash to.
    fn put_hashed(
        &self,
        item: u32,
        bytes: &[u8],
        (found, midstates): (BlobId, Option<Midstates>),
    ) -> Result<(), PutError> {
        let wanted = self.item(item)?;
        if found != wanted.blob {
            let blob = wanted.blob;
            return Err(PutError::Mismatch { blob, found });
        }
        let _turn = locked(self.stripe(item));
        if self.is_proven(item) {
            return Ok(());
        }
        if self.slices.has(item) {
            self.put_slice(item, 0, bytes, WHOLE)?;
            return self.finish_item(item);
        }
        self.place(item, Bytes::Memory(bytes), &[])?;
        self.mark_proven(item, midstates);
        Ok(())
    }

    /// Writes an item to all its lines but those at which it stands already, in ascending order; all or none.
    pub(crate) fn place(
        &self,
        item: u32,
        bytes: Bytes<'_>,
        standing: &[u32],
    ) -> Result<(), PutError> {
        let mut linkable = standing.iter().copied().find(|line| {
            let line = self.plan.line(*line);
            line.is_some_and(|line| matches!(line.entry, Entry::File { .. }))
        });
        let mut placed = Vec::new();
        for (number, line) in self.plan.lines_of_item(item) {
            if standing.binary_search(&number).is_ok() {
                continue;
            }
            match self.place_line((number, line), bytes, &mut linkable) {
                Ok(()) => placed.push(number),
                Err(error) => {
                    for number in placed {
                        self.unlink(number);
                    }
                    return Err(error);
                }
            }
            self.reached(Step::Placed(number));
        }
        Ok(())
    }

    fn place_line(
        &self,
        (number, line): (u32, &Line),
        bytes: Bytes<'_>,
        linkable: &mut Option<u32>,
    ) -> Result<(), PutError> {
        match line.entry {
            Entry::Directory => Ok(()),
            Entry::Symlink { .. } => self.place_symlink(number, line, bytes),
            Entry::File { .. } => {
                if let Some(first) = *linkable
                    && self.link_line(first, number, line)?
                {
                    return Ok(());
                }
                self.place_file(number, line, bytes)?;
                *linkable = Some(number);
                Ok(())
            }
        }
    }

    fn place_symlink(&self, number: u32, line: &Line, bytes: Bytes<'_>) -> Result<(), PutError> {
        let dir = self.directory(self.plan.directory_of(number))?;
        let made = match bytes {
            Bytes::Memory(target) => rustix::fs::symlinkat(target, &dir, line.path.name()),
            Bytes::Line(from) => {
                let target = self.read_small(from)?;
                rustix::fs::symlinkat(target, &dir, line.path.name())
            }
        };
        made.map_err(|error| self.fault(line, error))
    }

    /// Makes a file a hard link of another one, if these are equal in all; `false` if they are not, or cannot be.
    fn link_line(&self, first: u32, number: u32, line: &Line) -> Result<bool, PutError> {
        let equal = self
            .plan
            .line(first)
            .filter(|first| first.entry == line.entry);
        let Some(first_line) = equal.filter(|_| self.options.link_files) else {
            return Ok(false);
        };
        let from = self.directory(self.plan.directory_of(first))?;
        let to = self.directory(self.plan.directory_of(number))?;
        let (old, new) = (first_line.path.name(), line.path.name());
        match rustix::fs::linkat(&from, old, &to, new, AtFlags::empty()) {
            Ok(()) => Ok(true),
            // Too many links, or a file system that has none.
            Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(self.fault(line, error)),
        }
    }

    fn place_file(&self, number: u32, line: &Line, bytes: Bytes<'_>) -> Result<(), PutError> {
        let dir = self.directory(self.plan.directory_of(number))?;
        // What is proven already may be made read-only from the start.
        let mode = match bytes {
            Bytes::Memory(_) => proven_mode(&line.entry),
            Bytes::Line(_) => 0o600,
        };
        let file = self
            .create_file(&dir, line.path.name(), mode)
            .map_err(|error| self.fault(line, error))?;
        self.reached(Step::Created(number));
        let written = match bytes {
            Bytes::Memory(bytes) => {
                beneath::write_at(&file, bytes, 0).map_err(|error| self.fault(line, error))
            }
            Bytes::Line(from) => self.copy_line(from, line, &file),
        };
        let finished = written.and_then(|()| {
            let needs_mode = matches!(bytes, Bytes::Line(_));
            finish_file(&file, line, needs_mode).map_err(|error| self.fault(line, error))
        });
        if finished.is_err() {
            self.unlink(number);
        }
        finished
    }

    /// Makes a file with this mode, whatever the process's mask is.
    pub(crate) fn create_file(&self, dir: &OwnedFd, name: &[u8], mode: u32) -> io::Result<File> {
        let file = beneath::create_file(dir, name, mode)?;
        if self.masked {
            beneath::set_mode(&file, mode)?;
        }
        Ok(file)
    }

    fn copy_line(&self, from: u32, to_line: &Line, to: &File) -> Result<(), PutError> {
        let Entry::File { blob, size, .. } = to_line.entry else {
            return Ok(());
        };
        let Some(from_line) = self.plan.line(from) else {
            return Ok(());
        };
        if let Entry::Symlink { .. } = from_line.entry {
            let target = self.read_small(from)?;
            return beneath::write_at(to, &target, 0).map_err(|error| self.fault(to_line, error));
        }
        let dir = self.directory(self.plan.directory_of(from))?;
        let (source, _) = beneath::open_file(&dir, from_line.path.name(), Access::Read)
            .map_err(|error| self.fault(from_line, error))?;
        if rustix::fs::ioctl_ficlone(to, &source).is_ok() {
            return Ok(());
        }
        let (found, _) =
            copy_hashed(blob.kind(), &source, to, size).map_err(|error| match error {
                CopyError::Read(error) => self.fault(from_line, error),
                CopyError::Write(error) => self.fault(to_line, error),
            })?;
        if found == blob {
            Ok(())
        } else {
            Err(PutError::Mismatch { blob, found })
        }
    }

    /// The contents of a small file, or the target of a symlink.
    fn read_small(&self, number: u32) -> Result<Vec<u8>, PutError> {
        let Some(line) = self.plan.line(number) else {
            return Ok(Vec::new());
        };
        let dir = self.directory(self.plan.directory_of(number))?;
        let name = line.path.name();
        let read = match line.entry {
            Entry::Directory => Ok(Vec::new()),
            Entry::Symlink { .. } => beneath::read_link(&dir, name),
            Entry::File { size, .. } => beneath::open_file(&dir, name, Access::Read)
                .and_then(|(file, _)| read_whole(&file, size)),
        };
        read.map_err(|error| self.fault(line, error))
    }

    /// Removes a file that did not become what it should; if that fails too, the next run does it.
    pub(crate) fn unlink(&self, number: u32) {
        let Some(line) = self.plan.line(number) else {
            return;
        };
        if let Ok(dir) = self.directory(self.plan.directory_of(number)) {
            let _removed = rustix::fs::unlinkat(&dir, line.path.name(), AtFlags::empty());
        }
    }

    pub(crate) fn fault(&self, line: &Line, error: impl Into<io::Error>) -> PutError {
        PutError::io(self.path_below(line.path.as_bytes()), error)
    }
}

/// The mode of a staged file whose contents are proven, and that of a file in a store.
pub(crate) fn proven_mode(entry: &Entry) -> u32 {
    match entry {
        Entry::File {
            executable: false, ..
        } => 0o444,
        Entry::Directory | Entry::Symlink { .. } | Entry::File { .. } => 0o555,
    }
}

/// Makes a file that is proven look so: the mode first, since it says that the rest of it can be trusted.
pub(crate) fn finish_file(file: impl AsFd, line: &Line, needs_mode: bool) -> io::Result<()> {
    let Entry::File { mtime, .. } = line.entry else {
        return Ok(());
    };
    if needs_mode {
        beneath::set_mode(&file, proven_mode(&line.entry))?;
    }
    beneath::set_mtime(&file, mtime)
}

pub(crate) fn read_whole(file: &File, size: u64) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt as _;
    let size = usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
