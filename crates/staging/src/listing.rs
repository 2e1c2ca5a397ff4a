//! Compares the staged tree with its manifest before anybody sees it.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Stat};
use zeroshare_content::{Entry, Line};

use crate::beneath::{self, Access};
use crate::commit::CommittedFile;
use crate::place::PlaceKind;
use crate::plan::{Directory, Plan};
use crate::stamp::{FileStamp, size};
use crate::threads::on_threads;
use crate::{CommitError, Staged};

/// Where a store keeps a tree's manifest.
pub(crate) const MANIFEST_NAME: &[u8] = b".manifest";

/// The modes that the entries of a finished tree have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Modes {
    directory: u32,
    /// What files and programs lose of 0777.
    file_mask: u32,
}

impl Modes {
    pub(crate) fn of(kind: PlaceKind, umask: u32) -> Self {
        match kind {
            PlaceKind::Store => Self {
                directory: 0o555,
                file_mask: 0o222,
            },
            // Whatever the mask says, its owner can use the copy.
            PlaceKind::Copy | PlaceKind::File => Self {
                directory: 0o777 & !(umask & 0o077),
                file_mask: umask & 0o077,
            },
        }
    }

    fn file(self, entry: &Entry) -> u32 {
        let bits = match entry {
            Entry::File {
                executable: false, ..
            } => 0o666,
            Entry::Directory | Entry::Symlink { .. } | Entry::File { .. } => 0o777,
        };
        bits & !self.file_mask
    }
}

impl Staged {
    /// Sees that everything is there as it should be and nothing else, and gives directories their modes.
    pub(crate) fn list(&self, modes: Modes) -> Result<Vec<CommittedFile>, CommitError> {
        let count = self.plan.directory_count();
        // The innermost first: whoever may not go through a directory any more has been below it already.
        let directory = |at: usize| u32::try_from(count - 1 - at).unwrap_or(0);
        let listed = on_threads(count, self.plan.manifest.lines().len(), |at| {
            self.list_directory(directory(at), modes)
        })?;
        let mut files = listed.concat();
        files.sort_unstable_by_key(|file| file.line);
        Ok(files)
    }

    fn list_directory(&self, number: u32, modes: Modes) -> Result<Vec<CommittedFile>, CommitError> {
        let path = self.plan.directory_path(number);
        let Some(directory) = self.plan.directory(number) else {
            return Ok(Vec::new());
        };
        let io = |error| CommitError::io(self.path_below(path), error);
        let opened = beneath::open_directory(&self.dir, path).map_err(io)?;
        let found = beneath::names(&opened).map_err(io)?;
        let with_manifest = number == 0 && self.place.kind == PlaceKind::Store;
        let expected = expected_names(&self.plan, (number, directory), with_manifest);
        if let Some((name, how)) = first_difference(&expected, &found) {
            let path = [path, b"/", name].concat();
            let path = path.strip_prefix(b"/").unwrap_or(&path);
            return Err(self.differs(path, how));
        }
        let mut files = Vec::with_capacity(directory.leaves.len());
        for (line_number, line) in self.plan.leaves(directory) {
            let stamp = self.list_leaf(&opened, line, modes)?;
            files.extend(stamp.map(|stamp| {
                CommittedFile {
                    line: line_number,
                    stamp,
                    midstates: self
                        .plan
                        .item_of_line(line_number)
                        .and_then(|item| self.midstates_of(item)),
                }
            }));
        }
        if with_manifest {
            self.list_manifest(&opened)?;
        }
        beneath::set_mode(&opened, modes.directory).map_err(io)?;
        Ok(files)
    }

    /// Compares one entry; a file's stamp is that of the finished file.
    fn list_leaf(
        &self,
        dir: &OwnedFd,
        line: &Line,
        modes: Modes,
    ) -> Result<Option<FileStamp>, CommitError> {
        let path = line.path.as_bytes();
        let io = |error| CommitError::io(self.path_below(path), error);
        let name = line.path.name();
        let stat = beneath::stat(dir, name).map_err(io)?;
        match line.entry {
            Entry::Directory => Ok(None),
            Entry::Symlink { target_len, .. } => {
                let is_link = beneath::file_type(&stat) == FileType::Symlink;
                if !is_link || size(&stat) != target_len {
                    return Err(self.differs(path, "it is not the symlink that was made"));
                }
                Ok(None)
            }
            Entry::File { .. } => {
                self.check_file(line, &stat)?;
                let mode = modes.file(&line.entry);
                if self.place.kind == PlaceKind::File {
                    // Its time is that of its arrival.
                    let (file, _) = beneath::open_file(dir, name, Access::Read).map_err(io)?;
                    beneath::set_mode(&file, mode)
                        .and_then(|()| beneath::touch(&file))
                        .map_err(io)?;
                    let stat = rustix::fs::fstat(&file).map_err(|error| io(error.into()))?;
                    return Ok(Some(FileStamp::of(&stat)));
                }
                if beneath::mode(&stat) == mode {
                    return Ok(Some(FileStamp::of(&stat)));
                }
                let (file, _) = beneath::open_file(dir, name, Access::Read).map_err(io)?;
                beneath::set_mode(&file, mode).map_err(io)?;
                let stat = rustix::fs::fstat(&file).map_err(|error| io(error.into()))?;
                if beneath::mode(&stat) != mode {
                    return Err(self.differs(path, "its mode cannot be set"));
                }
                self.check_file(line, &stat)?;
                Ok(Some(FileStamp::of(&stat)))
            }
        }
    }

    fn check_file(&self, line: &Line, stat: &Stat) -> Result<(), CommitError> {
        let Entry::File {
            mtime, size: len, ..
        } = line.entry
        else {
            return Ok(());
        };
        let path = line.path.as_bytes();
        if beneath::file_type(stat) != FileType::RegularFile {
            return Err(self.differs(path, "it is not a regular file"));
        }
        if size(stat) != len {
            return Err(self.differs(path, "it has another size"));
        }
        if (stat.st_mtime, stat.st_mtime_nsec) != (mtime, 0) {
            return Err(self.differs(path, "the file system does not keep its time"));
        }
        Ok(())
    }

    fn list_manifest(&self, root: &OwnedFd) -> Result<(), CommitError> {
        let stat = beneath::stat(root, MANIFEST_NAME)
            .map_err(|error| CommitError::io(self.path_below(MANIFEST_NAME), error))?;
        let len = self.plan.manifest.text().len() as u64;
        if beneath::file_type(&stat) == FileType::RegularFile && size(&stat) == len {
            return Ok(());
        }
        Err(self.differs(MANIFEST_NAME, "it is not the manifest that was written"))
    }

    fn differs(&self, path: &[u8], how: &'static str) -> CommitError {
        CommitError::Differs {
            path: self.path_below(path),
            how,
        }
    }
}

/// All names in a directory of the tree, in the order of their bytes.
pub(crate) fn expected_names<'a>(
    plan: &'a Plan,
    (number, directory): (u32, &Directory),
    with_manifest: bool,
) -> Vec<&'a [u8]> {
    let mut names: Vec<&[u8]> = plan
        .leaves(directory)
        .map(|(_, line)| line)
        .chain(plan.subdirectories(number))
        .map(|line| line.path.name())
        .chain(with_manifest.then_some(MANIFEST_NAME))
        .collect();
    names.sort_unstable();
    names
}

/// The first name that only one side has.
pub(crate) fn first_difference<'a>(
    expected: &[&'a [u8]],
    found: &'a [Vec<u8>],
) -> Option<(&'a [u8], &'static str)> {
    let missing = "it is missing, or the file system takes two names for one";
    let surplus = "nobody knows where it comes from";
    let mut found_names = found.iter();
    for expected_name in expected {
        match found_names.next() {
            Some(name) if name == expected_name => {}
            Some(name) if name.as_slice() < *expected_name => return Some((name, surplus)),
            _ => return Some((expected_name, missing)),
        }
    }
    found_names.next().map(|name| (name.as_slice(), surplus))
}
