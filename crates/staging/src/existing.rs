//! Finds out whether what has a tree's name is that tree.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use zeroshare_content::{BlobId, Entry, Line, manifest_mtime};

use crate::beneath::{self, Access};
use crate::commit::CommittedFile;
use crate::hashing::hash_file;
use crate::listing::{MANIFEST_NAME, expected_names, first_difference};
use crate::plan::Plan;
use crate::put::read_whole;
use crate::stamp::{FileStamp, nanoseconds, size};

/// Reads and hashes all of an entry of a store; `None` if it is not the tree that it should be.
///
/// Other writers leave other modes, and may leave out the manifest.
pub(crate) fn check(
    store: &OwnedFd,
    name: &[u8],
    plan: &Plan,
) -> io::Result<Option<Vec<CommittedFile>>> {
    match check_tree(store, name, plan) {
        Err(error) if is_a_fault_of_the_tree(&error) => Ok(None),
        checked => checked,
    }
}

/// Reads and hashes the file that stands in a blob's place; `None` if it is another one, or none.
pub(crate) fn check_file(
    parent: &OwnedFd,
    name: &[u8],
    blob: BlobId,
) -> io::Result<Option<CommittedFile>> {
    let (file, stat) = match beneath::open_file(parent, name, Access::Read) {
        Ok(opened) => opened,
        Err(error) if is_a_fault_of_the_tree(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (found, midstates) = hash_file(blob.kind(), &file, size(&stat))?;
    let after = FileStamp::of(&rustix::fs::fstat(&file)?);
    let is_it = found == blob && after == FileStamp::of(&stat);
    Ok(is_it.then_some(CommittedFile {
        line: 0,
        stamp: after,
        midstates,
    }))
}

/// Whether the file at a path has these contents: it is read and hashed. `None`: there is nothing at all.
pub fn equal_file(path: &std::path::Path, blob: BlobId) -> io::Result<Option<bool>> {
    use std::os::unix::ffi::OsStrExt as _;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Some(false));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty())?;
    if beneath::find(&parent, name.as_bytes())?.is_none() {
        return Ok(None);
    }
    Ok(Some(check_file(&parent, name.as_bytes(), blob)?.is_some()))
}

/// Of other errors (too many open files, no memory) the tree is innocent.
fn is_a_fault_of_the_tree(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(errno) => matches!(
            errno,
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM | Errno::IO
        ),
        None => matches!(
            error.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
        ),
    }
}

fn check_tree(store: &OwnedFd, name: &[u8], plan: &Plan) -> io::Result<Option<Vec<CommittedFile>>> {
    let root = beneath::open_directory(store, name)?;
    let mut files = Vec::new();
    for (number, directory) in plan.directories() {
        let opened = beneath::open_directory(&root, plan.directory_path(number))?;
        let mut found = beneath::names(&opened)?;
        if number == 0 && !check_manifest(&opened, &mut found, plan)? {
            return Ok(None);
        }
        let expected = expected_names(plan, (number, directory), false);
        if first_difference(&expected, &found).is_some() {
            return Ok(None);
        }
        for (line_number, line) in plan.leaves(directory) {
            match check_leaf(&opened, line)? {
                Leaf::Wrong => return Ok(None),
                Leaf::Symlink => {}
                Leaf::File(stamp, midstates) => files.push(CommittedFile {
                    line: line_number,
                    stamp,
                    midstates,
                }),
            }
        }
    }
    files.sort_unstable_by_key(|file| file.line);
    Ok(Some(files))
}

enum Leaf {
    Wrong,
    Symlink,
    File(FileStamp, Option<zeroshare_proof::Midstates>),
}

fn check_leaf(dir: &OwnedFd, line: &Line) -> io::Result<Leaf> {
    let name = line.path.name();
    match line.entry {
        Entry::Directory => Ok(Leaf::Wrong),
        Entry::Symlink { blob, .. } => {
            let stat = beneath::stat(dir, name)?;
            if beneath::file_type(&stat) != FileType::Symlink {
                return Ok(Leaf::Wrong);
            }
            let target = beneath::read_link(dir, name)?;
            let right = BlobId::of(blob.kind(), &target) == blob;
            Ok(if right { Leaf::Symlink } else { Leaf::Wrong })
        }
        Entry::File { blob, .. } => {
            let (file, stat) = beneath::open_file(dir, name, Access::Read)?;
            if !fits(&line.entry, &stat) {
                return Ok(Leaf::Wrong);
            }
            let (found, midstates) = hash_file(blob.kind(), &file, size(&stat))?;
            // Whoever writes while we read changes the stamp.
            let after = FileStamp::of(&rustix::fs::fstat(&file)?);
            if found != blob || after != FileStamp::of(&stat) {
                return Ok(Leaf::Wrong);
            }
            Ok(Leaf::File(after, midstates))
        }
    }
}

fn fits(entry: &Entry, stat: &Stat) -> bool {
    let found = manifest_mtime(stat.st_mtime, nanoseconds(stat.st_mtime_nsec));
    match *entry {
        Entry::File {
            executable,
            mtime,
            size: len,
            ..
        } => {
            let runs = beneath::mode(stat) & 0o111 != 0;
            runs == executable && found == mtime && size(stat) == len
        }
        Entry::Directory | Entry::Symlink { .. } => false,
    }
}

/// A manifest may be missing, but not be wrong.
fn check_manifest(root: &OwnedFd, names: &mut Vec<Vec<u8>>, plan: &Plan) -> io::Result<bool> {
    let Ok(at) = names.binary_search_by_key(&MANIFEST_NAME, Vec::as_slice) else {
        return Ok(true);
    };
    names.remove(at);
    let (file, stat): (File, Stat) = beneath::open_file(root, MANIFEST_NAME, Access::Read)?;
    let text = plan.manifest.text();
    if size(&stat) != text.len() as u64 {
        return Ok(false);
    }
    Ok(read_whole(&file, size(&stat))? == text)
}
