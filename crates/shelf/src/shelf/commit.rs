//! Taking over what was proven while it was written.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FileType, Stat};
use zeroshare_content::{
    BlobId, ContentId, Entry, Layout, LayoutError, Line, Manifest, ManifestError, TreeId,
};
use zeroshare_proof::Midstates;

use super::Shelf;
use super::catalogue::{CopyPlace, HeldCopy};
use crate::beneath::Beneath;
use crate::index::{FileRecord, IndexError, TreeRecord, TreeSizes, TreeState};
use crate::stamp::Stamp;
use crate::verify::read_manifest_file;

/// A tree or blob that its writer hashed on the way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// What it is called.
    pub id: ContentId,
    /// Where it lies: a directory of a known store, or any file.
    pub path: PathBuf,
    /// The boot under which it was written, when it was not synced to disk.
    pub undurable_boot: Option<String>,
    /// Every regular file; of a blob the one on line 0.
    pub files: Vec<CommittedFile>,
}

/// What the writer knows of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedFile {
    /// Its line in the manifest.
    pub line: u32,
    /// What it was when it was done.
    pub stamp: Stamp,
    /// Its midstates as bytes; empty when they are not known.
    pub midstates: Vec<u8>,
}

/// Why something was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It does not lie where such a thing may: a tree in a store that is read, under a name that is its own.
    #[error("{} is no place of {id}", path.display())]
    NotThere {
        /// Which.
        id: ContentId,
        /// Where it should lie.
        path: PathBuf,
    },
    /// Something is not as it was described.
    #[error("{} is not as described", path.display())]
    Mismatch {
        /// Which.
        path: PathBuf,
    },
    /// Its manifest is refused.
    #[error("cannot use the manifest of {id}")]
    Manifest {
        /// Which.
        id: ContentId,
        /// Why.
        source: ManifestError,
    },
    /// It cannot be cut.
    #[error("cannot cut {id} into pieces")]
    Layout {
        /// Which.
        id: ContentId,
        /// Why.
        source: LayoutError,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Shelf {
    /// Takes over content as verified, when everything is as its writer describes it. Nothing but links is hashed.
    ///
    /// A blob is offered from then on, as if it had been shared.
    pub fn commit(&self, committed: Committed) -> Result<(), CommitError> {
        match committed.id {
            ContentId::Tree(tree) => self.commit_tree(tree, committed),
            ContentId::Blob(blob) => self.commit_blob(blob, committed),
        }
    }

    fn commit_tree(&self, tree: TreeId, committed: Committed) -> Result<(), CommitError> {
        let Committed {
            id,
            path,
            undurable_boot,
            files,
        } = committed;
        let (root, name) = self.place_of(&tree, &path)?;
        let mismatch = |_: io::Error| CommitError::Mismatch { path: path.clone() };
        let dir = Beneath::open(self.root_path(root))
            .and_then(|store| store.directory(Path::new(&name)))
            .map_err(mismatch)?;
        let identity = dir.identity().map_err(mismatch)?;
        let text =
            read_manifest_file(&dir)
                .map_err(mismatch)?
                .ok_or_else(|| CommitError::Mismatch {
                    path: path.join(".manifest"),
                })?;
        let manifest = Manifest::verified(&tree, text)
            .map_err(|source| CommitError::Manifest { id, source })?;
        let layout =
            Layout::of_manifest(&manifest).map_err(|source| CommitError::Layout { id, source })?;

        let records =
            check_entries(&dir, &manifest, files).map_err(|line| CommitError::Mismatch {
                path: path.join(line.path.as_path()),
            })?;
        let sizes = TreeSizes {
            total: manifest.total_size(),
            content: layout.content_size(),
            manifest: manifest.text().len() as u64,
            pieces: layout.piece_count(),
        };
        let record = TreeRecord {
            root: self.root_path(root).into(),
            name: name.clone(),
            id,
            state: TreeState::Verified {
                at: SystemTime::now(),
            },
            sizes,
            boot: undurable_boot,
            manifest: None,
        };
        let known = self
            .catalogue()
            .copies(&id)
            .iter()
            .find(|copy| copy.place.in_store() == Some((root, name.as_str())))
            .cloned();
        let key = known.and_then(|copy| copy.key);
        let copy = HeldCopy {
            key,
            sizes,
            ..HeldCopy::found(CopyPlace::Tree {
                root,
                name,
                identity,
            })
        };
        Ok(self.put(&copy, record, &records)?)
    }

    fn place_of(&self, id: &TreeId, path: &Path) -> Result<(usize, String), CommitError> {
        let not_there = || CommitError::NotThere {
            id: id.into(),
            path: path.into(),
        };
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(not_there)?;
        let store = path.parent().ok_or_else(not_there)?;
        let root = self
            .roots
            .iter()
            .position(|root| root.path == store)
            .ok_or_else(not_there)?;
        if id.directory_names().iter().any(|spelled| spelled == name) {
            Ok((root, name.to_owned()))
        } else {
            Err(not_there())
        }
    }
}

/// Compares every entry with manifest and description; gives the line that differs.
fn check_entries<'a>(
    dir: &Beneath,
    manifest: &'a Manifest,
    files: Vec<CommittedFile>,
) -> Result<Vec<FileRecord>, &'a Line> {
    let mut described: BTreeMap<u32, CommittedFile> =
        files.into_iter().map(|file| (file.line, file)).collect();
    let mut records = Vec::with_capacity(described.len());
    let mut inner = Inner {
        root: dir,
        at: None,
    };
    for (line, number) in manifest.lines().iter().zip(0_u32..) {
        let name = Path::new(OsStr::from_bytes(line.path.name()));
        match line.entry {
            Entry::Directory => inner.go_to(line.path.as_path()).map_err(|_| line)?,
            Entry::Symlink { blob, .. } => {
                let here = inner.parent_of(line).map_err(|_| line)?;
                let target = here.link_target(name).map_err(|_| line)?;
                if BlobId::of(blob.kind(), &target) != blob {
                    return Err(line);
                }
            }
            Entry::File { blob, .. } => {
                let file = described.remove(&number).ok_or(line)?;
                let here = inner.parent_of(line).map_err(|_| line)?;
                let stat = here.status(name).map_err(|_| line)?;
                check_file(&stat, &line.entry, &file.stamp).ok_or(line)?;
                let midstates = read_midstates(&file).map_err(|()| line)?;
                records.push(FileRecord {
                    line: number,
                    blob,
                    stamp: file.stamp,
                    midstates,
                });
            }
        }
    }
    // A description of what is no file says that its writer means another tree.
    match described.keys().next() {
        None => Ok(records),
        Some(line) => match manifest
            .lines()
            .get(*line as usize)
            .or(manifest.lines().first())
        {
            Some(line) => Err(line),
            None => Ok(records),
        },
    }
}

/// The directory whose files are looked at: they follow it in the manifest, so that each is walked to once, and its files
/// need not be opened.
struct Inner<'a> {
    root: &'a Beneath,
    at: Option<(&'a Path, Beneath)>,
}

impl<'a> Inner<'a> {
    fn go_to(&mut self, path: &'a Path) -> io::Result<()> {
        self.at = Some((path, self.root.directory(path)?));
        Ok(())
    }

    fn parent_of(&mut self, line: &'a Line) -> io::Result<&Beneath> {
        let parent = line.path.as_path().parent().unwrap_or(Path::new(""));
        if parent.as_os_str().is_empty() {
            return Ok(self.root);
        }
        if self.at.as_ref().is_none_or(|(path, _)| *path != parent) {
            self.go_to(parent)?;
        }
        Ok(self.at.as_ref().map_or(self.root, |(_, dir)| dir))
    }
}

fn check_file(stat: &Stat, entry: &Entry, described: &Stamp) -> Option<()> {
    let Entry::File {
        executable,
        mtime,
        size,
        ..
    } = entry
    else {
        return None;
    };
    let stamp = Stamp::of_stat(stat);
    let is_executable = stat.st_mode & 0o111 != 0;
    let is_right = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stamp == *described
        && stamp.size == *size
        && stamp.mtime.truncated() == *mtime
        && is_executable == *executable;
    is_right.then_some(())
}

pub(super) fn read_midstates(file: &CommittedFile) -> Result<Option<Midstates>, ()> {
    if file.midstates.is_empty() {
        return Ok(None);
    }
    Midstates::from_bytes(file.stamp.size, file.midstates.as_slice())
        .map(Some)
        .map_err(|_| ())
}
