//! The private directory that an archive is unpacked into.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::name::{clean, stays_inside};
use super::{ArchiveError, Limits};

/// The longest target of a symbolic link, as the kernel's.
pub(super) const MAX_TARGET_BYTES: u64 = 4095;

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Files and links.
    pub files: u64,
    /// Sum over all files.
    pub bytes: u64,
}

/// A directory being filled; nobody else writes it.
///
/// Invariant: below `root` lie exactly the directories and files of `nodes`; links wait in `links` until `finish`, so
/// that no path used here ever goes through one.
#[derive(Debug)]
pub(super) struct Ground {
    root: PathBuf,
    nodes: BTreeMap<Vec<u8>, Node>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    limits: Limits,
    bytes: u64,
}

/// What an entry says of a file besides its contents.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileFacts {
    pub(super) size_bytes: u64,
    pub(super) executable: bool,
    /// Whole seconds since 1970.
    pub(super) mtime: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    File { size_bytes: u64 },
    Link,
}

impl Ground {
    pub(super) fn new(root: &Path, limits: Limits) -> Self {
        Self {
            root: root.to_owned(),
            nodes: BTreeMap::new(),
            links: Vec::new(),
            limits,
            bytes: 0,
        }
    }

    /// Takes in a directory, which may come more than once.
    pub(super) fn directory(&mut self, name: &[u8]) -> Result<(), ArchiveError> {
        let path = clean(name)?;
        self.make_directories(&path, name)
    }

    /// Takes in a file; `contents` must have exactly as many bytes as it says.
    pub(super) fn file(
        &mut self,
        name: &[u8],
        facts: FileFacts,
        contents: &mut dyn Read,
    ) -> Result<(), ArchiveError> {
        let path = self.claim(
            name,
            Node::File {
                size_bytes: facts.size_bytes,
            },
        )?;
        self.spend(facts.size_bytes)?;
        let place = self.place(&path);
        let write_error = |source| ArchiveError::Write {
            path: place.clone(),
            source,
        };
        let mode = if facts.executable { 0o700 } else { 0o600 };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&place)
            .map_err(write_error)?;
        copy_exactly(contents, &mut file, facts.size_bytes, name, &place)?;
        file.set_modified(moment(facts.mtime)).map_err(write_error)
    }

    /// Takes in a second name of a file that came before.
    pub(super) fn hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let target = clean(target)?;
        let Some(Node::File { size_bytes }) = self.nodes.get(&target).copied() else {
            return Err(ArchiveError::entry(
                name,
                "it is a hard link to no earlier file of this archive",
            ));
        };
        let path = self.claim(name, Node::File { size_bytes })?;
        self.spend(size_bytes)?;
        let place = self.place(&path);
        fs::hard_link(self.place(&target), &place).map_err(|source| ArchiveError::Write {
            path: place,
            source,
        })
    }

    /// Takes in a symbolic link, which is created at the end.
    pub(super) fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        if target.is_empty() || target.len() as u64 > MAX_TARGET_BYTES || target.contains(&0) {
            return Err(ArchiveError::entry(name, "its target is no path"));
        }
        let path = self.claim(name, Node::Link)?;
        if !stays_inside(&path, target) {
            return Err(ArchiveError::entry(
                name,
                "it is a symbolic link out of the archive (if that is wanted, unpack it yourself and add the directory)",
            ));
        }
        self.links.push((path, target.to_owned()));
        Ok(())
    }

    /// Creates the links.
    pub(super) fn finish(self) -> Result<Unpacked, ArchiveError> {
        for (path, target) in &self.links {
            let place = self.place(path);
            symlink(OsStr::from_bytes(target), &place).map_err(|source| ArchiveError::Write {
                path: place,
                source,
            })?;
        }
        let files = self
            .nodes
            .values()
            .filter(|node| **node != Node::Directory)
            .count() as u64;
        Ok(Unpacked {
            files,
            bytes: self.bytes,
        })
    }

    /// Notes a new entry, and creates the directories above it.
    fn claim(&mut self, name: &[u8], node: Node) -> Result<Vec<u8>, ArchiveError> {
        let path = clean(name)?;
        if path.is_empty() {
            return Err(ArchiveError::entry(
                name,
                "only a directory can be the root",
            ));
        }
        if self.nodes.contains_key(&path) {
            return Err(ArchiveError::entry(
                name,
                "the archive has two entries of this name",
            ));
        }
        if let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            self.make_directories(&path[..slash], name)?;
        }
        self.note(path.clone(), node)?;
        Ok(path)
    }

    fn make_directories(&mut self, path: &[u8], name: &[u8]) -> Result<(), ArchiveError> {
        let ends = (1..=path.len()).filter(|end| path.get(*end).is_none_or(|byte| *byte == b'/'));
        for end in ends.collect::<Vec<_>>() {
            let above = &path[..end];
            match self.nodes.get(above) {
                Some(Node::Directory) => {}
                Some(Node::File { .. } | Node::Link) => {
                    return Err(ArchiveError::entry(
                        name,
                        "an earlier entry of the archive, no directory, is in its way",
                    ));
                }
                None => {
                    self.note(above.to_owned(), Node::Directory)?;
                    let place = self.place(above);
                    DirBuilder::new()
                        .mode(0o700)
                        .create(&place)
                        .map_err(|source| ArchiveError::Write {
                            path: place,
                            source,
                        })?;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, path: Vec<u8>, node: Node) -> Result<(), ArchiveError> {
        if self.nodes.len() as u64 >= self.limits.entries {
            return Err(ArchiveError::TooManyEntries {
                limit_entries: self.limits.entries,
            });
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    fn spend(&mut self, size_bytes: u64) -> Result<(), ArchiveError> {
        let bytes = self.bytes.saturating_add(size_bytes);
        if bytes > self.limits.bytes {
            return Err(ArchiveError::TooLarge {
                limit_bytes: self.limits.bytes,
            });
        }
        self.bytes = bytes;
        Ok(())
    }

    fn place(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }
}

fn copy_exactly(
    from: &mut dyn Read,
    to: &mut File,
    size_bytes: u64,
    name: &[u8],
    place: &Path,
) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; 128 * 1024];
    let mut from = from.take(size_bytes);
    let mut left = size_bytes;
    while left > 0 {
        let read = match from.read(&mut buffer) {
            Ok(0) => {
                return Err(ArchiveError::EndsEarly {
                    name: String::from_utf8_lossy(name).into_owned(),
                });
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::Read(error)),
        };
        to.write_all(&buffer[..read])
            .map_err(|source| ArchiveError::Write {
                path: place.to_owned(),
                source,
            })?;
        left = left.saturating_sub(read as u64);
    }
    Ok(())
}

fn moment(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}
