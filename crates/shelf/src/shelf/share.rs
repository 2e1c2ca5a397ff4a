//! Single files, offered as long as they are what was hashed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroshare_content::{
    BlobId, ContentId, GRAIN, HashKind, Layout, MAX_CONTENT_BYTES, Name, NameError,
};
use zeroshare_proof::Midstates;

use super::catalogue::{CopyPlace, HeldCopy};
use super::commit::read_midstates;
use super::open::parts;
use super::{CommitError, Committed, Shelf};
use crate::beneath::Beneath;
use crate::digest::{DigestError, Digested, FileDigester, OnBytes};
use crate::index::{FileRecord, IndexError, TreeRecord, TreeSizes, TreeState};
use crate::pieces::is_absence;
use crate::stamp::Stamp;

/// Files that can be shared at once: each is looked at every minute.
const MAX_FILES: usize = 65_536;

/// Why a file was not shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// Its path does not say from where.
    #[error("{} is not an absolute path without `.` and `..`", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// Its name cannot travel.
    #[error("{} has {source}", path.display())]
    Name {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        source: NameError,
    },
    /// There is no such file.
    #[error("there is no file {}", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A directory, symbolic link, pipe or device.
    #[error("{} is {what}, not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// It is larger than anything that travels.
    #[error("{} has more than {MAX_CONTENT_BYTES} bytes", path.display())]
    TooLarge {
        /// The path.
        path: PathBuf,
    },
    /// It changed while it was hashed.
    #[error("{} changed while it was hashed", path.display())]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// There are as many shared files as can be.
    #[error("{MAX_FILES} files are shared already")]
    TooMany,
    /// The system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Who asked did not want the answer any more.
    #[error("stopped")]
    Stopped,
}

impl Shelf {
    /// Hashes a file and offers it from now on, until it changes, moves or is [unshared](Self::unshare).
    ///
    /// What is shared already and untouched is not hashed again. `on_bytes` is told of the bytes read, and may stop it.
    pub fn share(&self, path: &Path, on_bytes: &mut OnBytes<'_>) -> Result<BlobId, ShareError> {
        let file = open(path)?;
        let io = |source| ShareError::Io {
            path: path.into(),
            source,
        };
        let stamp = Stamp::of(&file.metadata().map_err(io)?);
        if stamp.size > MAX_CONTENT_BYTES {
            return Err(ShareError::TooLarge { path: path.into() });
        }
        if let Some(blob) = self.is_shared_as(path, &stamp) {
            return Ok(blob);
        }
        let is_new = self.catalogue().file(path).is_none();
        if is_new && self.shared_files() >= MAX_FILES {
            return Err(ShareError::TooMany);
        }
        let digested = FileDigester::new(&[HashKind::Sha256]).digest(file, on_bytes);
        let digested = digested.map_err(|error| failure(path, error))?;
        let Some(blob) = digested.digests.blob(HashKind::Sha256) else {
            return Err(ShareError::Changed { path: path.into() });
        };
        let Digested {
            stamp, midstates, ..
        } = digested;
        self.offer_file(blob, path, (stamp, midstates), None)?;
        Ok(blob)
    }

    /// Offers a file no more; says as what it was shared, `None` if it was not.
    pub fn unshare(&self, path: &Path) -> Result<Option<BlobId>, IndexError> {
        let Some((id, copy)) = self.catalogue().file(path) else {
            return Ok(None);
        };
        self.take_away(&id, &copy, SystemTime::now())?;
        Ok(id.blob())
    }

    /// The paths under which a blob is shared.
    pub fn shared_paths(&self, blob: &BlobId) -> Vec<PathBuf> {
        let catalogue = self.catalogue();
        let copies = catalogue.copies(&blob.into()).iter();
        let paths = copies.filter_map(|copy| match &copy.place {
            CopyPlace::File { path, .. } => Some(path.clone()),
            CopyPlace::Tree { .. } => None,
        });
        paths.collect()
    }

    /// The paths of at most so many shared files.
    pub fn shared_file_paths(&self, limit: usize) -> Vec<PathBuf> {
        self.catalogue().file_paths().take(limit).cloned().collect()
    }

    pub(super) fn commit_blob(
        &self,
        blob: BlobId,
        committed: Committed,
    ) -> Result<(), CommitError> {
        let Committed {
            id,
            path,
            undurable_boot,
            files,
        } = committed;
        let mismatch = || CommitError::Mismatch { path: path.clone() };
        let file = match open(&path) {
            Ok(file) => file,
            Err(ShareError::NotAbsolute { .. } | ShareError::Name { .. }) => {
                return Err(CommitError::NotThere { id, path });
            }
            Err(_) => return Err(mismatch()),
        };
        let found = file.metadata().map(|metadata| Stamp::of(&metadata));
        let [described] = files.as_slice() else {
            return Err(mismatch());
        };
        if described.line != 0 || found.ok() != Some(described.stamp) {
            return Err(mismatch());
        }
        Layout::of_blob(blob, described.stamp.size)
            .map_err(|source| CommitError::Layout { id, source })?;
        let midstates = read_midstates(described).map_err(|()| mismatch())?;
        let is_new = self.catalogue().file(&path).is_none();
        if is_new && self.shared_files() >= MAX_FILES {
            return Err(CommitError::NotThere { id, path });
        }
        let proves_its_size = midstates.is_some() || described.stamp.size <= GRAIN;
        let known = (described.stamp, midstates);
        self.offer_file(blob, &path, known, undurable_boot)?;
        // Nobody takes a large blob from who cannot prove its size: hashing it here gives the midstates.
        let taken = self.catalogue().file(&path);
        if let Some((id, copy)) = taken.filter(|_| !proves_its_size) {
            self.set_unverified(&id, &copy)?;
        }
        Ok(())
    }

    /// Takes in the shared files that an earlier run knew, at first, and looks whether all of them are what they were.
    pub(super) fn look_at_files(&self, now: SystemTime) -> Result<(), IndexError> {
        if self.catalogue().file_paths().len() == 0 {
            for (key, record, stamp) in self.index.shared_files()? {
                let path = record.root.clone();
                let place = CopyPlace::File { path, stamp };
                self.take_in_copy(record.id, place, Some((key, record)));
            }
        }
        for path in self.shared_file_paths(MAX_FILES) {
            let Some((id, copy)) = self.catalogue().file(&path) else {
                continue;
            };
            let CopyPlace::File { stamp, .. } = &copy.place else {
                continue;
            };
            match open(&path).map(|file| file.metadata().map(|metadata| Stamp::of(&metadata))) {
                Ok(Ok(found)) if found == *stamp => {}
                Ok(Ok(found)) if found.size != stamp.size => self.forget(&id, &copy, &path, now)?,
                // It may only have been touched.
                Ok(Ok(_)) if copy.is_verified() => self.set_unverified(&id, &copy)?,
                Ok(Ok(_)) => {}
                Err(ShareError::NotFound { .. } | ShareError::NotAFile { .. }) => {
                    self.forget(&id, &copy, &path, now)?;
                }
                Ok(Err(error)) => self.doubt(&id, &copy, &error.to_string())?,
                Err(error) => self.doubt(&id, &copy, &error.to_string())?,
            }
        }
        Ok(())
    }

    /// Hashes a shared file again: touched but equal it is offered on, changed it is forgotten.
    pub(super) fn verify_file(
        &self,
        blob: BlobId,
        (path, known): (&Path, &Stamp),
        copy: &HeldCopy,
        on_bytes: &mut OnBytes<'_>,
    ) -> Result<Vec<String>, super::ShelfError> {
        let id = ContentId::Blob(blob);
        let digested = open(path).and_then(|file| {
            FileDigester::new(&[blob.kind()])
                .digest(file, on_bytes)
                .map_err(|error| failure(path, error))
        });
        match digested {
            Ok(digested) if digested.digests.blob(blob.kind()) == Some(blob) => {
                let found = (digested.stamp, digested.midstates);
                self.offer_file(blob, path, found, None)?;
                Ok(Vec::new())
            }
            Ok(digested) if digested.stamp == *known => {
                let faults = vec![path.display().to_string()];
                self.set_quarantined(&id, copy, faults.clone())?;
                Ok(faults)
            }
            Ok(_)
            | Err(
                ShareError::NotFound { .. }
                | ShareError::NotAFile { .. }
                | ShareError::Changed { .. },
            ) => {
                self.forget(&id, copy, path, SystemTime::now())?;
                Ok(vec![format!(
                    "{} changed, and is not offered any more",
                    path.display()
                )])
            }
            Err(ShareError::Stopped) => Err(super::ShelfError::Stopped),
            Err(ShareError::Index(error)) => Err(error.into()),
            Err(error) => {
                let why = with_source(&error);
                self.set_unreadable(&id, copy, &why)?;
                Ok(vec![why])
            }
        }
    }

    /// Notes what a file is, in place of whatever was known of it.
    fn offer_file(
        &self,
        blob: BlobId,
        path: &Path,
        (stamp, midstates): (Stamp, Option<Midstates>),
        undurable_boot: Option<String>,
    ) -> Result<(), IndexError> {
        let id = ContentId::Blob(blob);
        let known = self.catalogue().file(path);
        if let Some((other, copy)) = known.as_ref().filter(|(other, _)| *other != id) {
            self.take_away(other, copy, SystemTime::now())?;
        }
        let key = known.and_then(|(known, copy)| copy.key.filter(|_| known == id));
        let pieces = Layout::of_blob(blob, stamp.size).map_or(0, |layout| layout.piece_count());
        let sizes = TreeSizes {
            total: stamp.size,
            content: stamp.size,
            manifest: 0,
            pieces,
        };
        let place = CopyPlace::File {
            path: path.into(),
            stamp,
        };
        let (root, name) = self.record_place(&id, &place);
        let record = TreeRecord {
            root,
            name,
            id,
            state: TreeState::Verified {
                at: SystemTime::now(),
            },
            sizes,
            boot: undurable_boot,
            manifest: None,
        };
        let file = FileRecord {
            line: 0,
            blob,
            stamp,
            midstates,
        };
        let copy = HeldCopy {
            key,
            sizes,
            ..HeldCopy::found(place)
        };
        self.put(&copy, record, &[file])
    }

    fn forget(
        &self,
        id: &ContentId,
        copy: &HeldCopy,
        path: &Path,
        now: SystemTime,
    ) -> Result<(), IndexError> {
        tracing::info!(content = %id, path = %path.display(), "shared file changed or is gone, and is not offered any more");
        self.take_away(id, copy, now)
    }

    /// What cannot be looked at now is not offered until it can.
    fn doubt(&self, id: &ContentId, copy: &HeldCopy, why: &str) -> Result<(), IndexError> {
        if copy.is_verified() {
            self.set_unreadable(id, copy, why)?;
        }
        Ok(())
    }

    /// The blob as which an untouched file is offered already.
    fn is_shared_as(&self, path: &Path, stamp: &Stamp) -> Option<BlobId> {
        let (id, copy) = self.catalogue().file(path)?;
        let is_same = matches!(&copy.place, CopyPlace::File { stamp: known, .. } if known == stamp);
        id.blob().filter(|_| is_same && copy.is_verified())
    }
}

/// Opens a regular file by its path. The last name may not be a link; directories above it may be reached through links.
fn open(path: &Path) -> Result<File, ShareError> {
    use std::path::Component;
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    let not_absolute = || ShareError::NotAbsolute { path: path.into() };
    if !path.is_absolute() || !path.components().all(is_plain) {
        return Err(not_absolute());
    }
    let (parent, name) = parts(path).ok_or_else(not_absolute)?;
    Name::try_from(name).map_err(|source| ShareError::Name {
        path: path.into(),
        source,
    })?;
    let opened = Beneath::open(parent).and_then(|parent| parent.file(Path::new(name)));
    opened.map_err(|source| refusal(path, source))
}

/// Says what is in the way.
fn refusal(path: &Path, source: io::Error) -> ShareError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        return ShareError::NotFound { path };
    }
    let found = path.symlink_metadata().ok().filter(|_| is_absence(&source));
    match found.map(|found| found.file_type()) {
        Some(kind) if kind.is_symlink() => {
            let what = "a symbolic link (share the file that it leads to)";
            ShareError::NotAFile { path, what }
        }
        Some(kind) if kind.is_dir() => {
            let what = "a directory (add it to a store with `zeroshare add`)";
            ShareError::NotAFile { path, what }
        }
        Some(kind) if !kind.is_file() => {
            let what = "a pipe, socket or device";
            ShareError::NotAFile { path, what }
        }
        Some(_) | None => ShareError::Io { path, source },
    }
}

fn failure(path: &Path, error: DigestError) -> ShareError {
    let path = path.to_owned();
    match error {
        DigestError::Io(source) => ShareError::Io { path, source },
        DigestError::Changed => ShareError::Changed { path },
        DigestError::Stopped => ShareError::Stopped,
    }
}

fn with_source(error: &ShareError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests;
