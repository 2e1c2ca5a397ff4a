//! Listing and hashing a directory, as the tree that it is.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use zeroshare_content::{
    Algorithm, FileDigests, HashKind, ListedFile, ListingError, MAX_ENTRIES, Name, NameError,
    PathError, TreeId, TreeListing, TreePath, manifest_mtime,
};
use zeroshare_proof::Midstates;

use crate::beneath::{Beneath, Found, FoundKind};
use crate::digest::{DigestError, FileDigester, OnBytes, read_soon};
use crate::stamp::Stamp;

/// The file at the root of a stored tree that lists it, and is no part of it.
pub(crate) const MANIFEST_FILE: &str = ".manifest";

/// Files that are open ahead of the one that is hashed.
const FILES_AHEAD: usize = 16;

/// A directory as it was found, every file hashed.
#[derive(Debug, Clone)]
pub struct ScannedTree {
    listing: TreeListing,
    files: Vec<ScannedFile>,
    has_manifest_file: bool,
}

/// A regular file of a scanned directory.
#[derive(Debug, Clone)]
pub struct ScannedFile {
    /// Where it lies in the tree.
    pub path: TreePath,
    /// What it was while it was hashed.
    pub stamp: Stamp,
    /// Its size in bytes.
    pub size: u64,
    /// Whether any of its execution bits is set.
    pub executable: bool,
    /// The hashes that were asked for.
    pub digests: FileDigests,
    /// For files of more than a grain, when SHA-256 was asked for.
    pub midstates: Option<Midstates>,
}

/// Lists a directory and hashes every file once for all the kinds given.
///
/// The directory may be named through symbolic links; below it none is followed. `on_bytes` is told of the bytes read, as
/// they are read. A regular file `.manifest` at the root is no part of the tree.
pub fn scan_tree(
    dir: &Path,
    kinds: &[HashKind],
    on_bytes: &mut dyn FnMut(u64),
) -> Result<ScannedTree, ScanError> {
    let opened = Beneath::open(dir).map_err(|source| ScanError::Io {
        path: dir.into(),
        source,
    })?;
    scan_beneath(&opened, kinds, &mut |bytes| {
        on_bytes(bytes);
        ControlFlow::Continue(())
    })
}

impl ScannedTree {
    /// Writes the manifest that an algorithm makes of the tree.
    pub fn manifest_text(&self, algorithm: Algorithm) -> Result<Vec<u8>, ListingError> {
        self.listing.manifest_text(algorithm)
    }

    /// Names the tree by an algorithm.
    pub fn tree_id(&self, algorithm: Algorithm) -> Result<TreeId, ListingError> {
        self.listing.tree_id(algorithm)
    }

    /// The regular files, in no order.
    pub fn files(&self) -> &[ScannedFile] {
        &self.files
    }

    /// The entries, from which manifests are written.
    pub fn listing(&self) -> &TreeListing {
        &self.listing
    }

    /// Whether a regular file `.manifest` lies at the root, as in a store.
    pub fn has_manifest_file(&self) -> bool {
        self.has_manifest_file
    }

    pub(crate) fn into_files(self) -> Vec<ScannedFile> {
        self.files
    }
}

/// Why a directory is not a tree, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A name that no tree may have.
    #[error("{} holds {source}", directory.display())]
    Name {
        /// Where it lies, from the root of the tree.
        directory: PathBuf,
        /// What is wrong with it.
        source: NameError,
    },
    /// A path that no tree may have.
    #[error("{} is too long or too deep", directory.display())]
    Path {
        /// Where the last entry lies, from the root of the tree.
        directory: PathBuf,
        /// What is wrong with it.
        source: PathError,
    },
    /// A pipe, socket or device.
    #[error("not a regular file, directory or symlink: {path}")]
    Special {
        /// Which.
        path: TreePath,
    },
    /// It changed while it was read.
    #[error("{path} changed while it was read")]
    Changed {
        /// Which.
        path: TreePath,
    },
    /// All of it together is no tree.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Who asked for it did not want it any more.
    #[error("stopped")]
    Stopped,
}

pub(crate) fn scan_beneath(
    root: &Beneath,
    kinds: &[HashKind],
    on_bytes: &mut OnBytes<'_>,
) -> Result<ScannedTree, ScanError> {
    let tree = ScannedTree {
        listing: TreeListing::new(),
        files: Vec::new(),
        has_manifest_file: false,
    };
    let mut scan = Scan {
        root,
        digester: FileDigester::new(kinds),
        tree,
        on_bytes,
    };
    let mut directories: Vec<Option<TreePath>> = vec![None];
    while let Some(directory) = directories.pop() {
        let mut files = Vec::new();
        for found in scan.entries(directory.as_ref())? {
            let path = below(directory.as_ref(), &found)?;
            if matches!(found.kind, FoundKind::Directory { .. }) {
                directories.push(Some(path.clone()));
            }
            if scan.take_in(&path, found.kind)? {
                files.push(path);
            }
        }
        scan.take_in_files(files)?;
    }
    Ok(scan.tree)
}

struct Scan<'a, 'b> {
    root: &'a Beneath,
    digester: FileDigester,
    tree: ScannedTree,
    on_bytes: &'a mut OnBytes<'b>,
}

impl Scan<'_, '_> {
    fn entries(&self, directory: Option<&TreePath>) -> Result<Vec<Found>, ScanError> {
        // One more than a tree may have, so that the listing refuses it, and a regular `.manifest`.
        let limit = (MAX_ENTRIES + 2).saturating_sub(self.tree.listing.len());
        let found = match directory {
            None => self.root.entries(limit),
            Some(path) => self
                .root
                .directory(path.as_path())
                .and_then(|dir| dir.entries(limit)),
        };
        found.map_err(|source| ScanError::Io {
            path: shown(directory),
            source,
        })
    }

    /// Takes in what is no file, and says whether it is one.
    fn take_in(&mut self, path: &TreePath, kind: FoundKind) -> Result<bool, ScanError> {
        match kind {
            FoundKind::Directory { mtime, nanoseconds } => {
                let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
                self.tree
                    .listing
                    .directory(path.clone(), manifest_mtime(mtime, nanoseconds))?;
            }
            FoundKind::Symlink => {
                let target = self.root.link_target(path.as_path());
                let target = target.map_err(|source| io_error(path, source))?;
                self.tree.listing.symlink(path.clone(), &target)?;
            }
            FoundKind::File if path.as_bytes() == MANIFEST_FILE.as_bytes() => {
                self.tree.has_manifest_file = true;
            }
            FoundKind::File => return Ok(true),
            FoundKind::Other => {
                let path = path.clone();
                return Err(ScanError::Special { path });
            }
        }
        Ok(false)
    }

    /// Hashes files one after the other, while the disk is asked for the next ones.
    fn take_in_files(&mut self, files: Vec<TreePath>) -> Result<(), ScanError> {
        let mut waiting = files.into_iter();
        let mut opened = VecDeque::new();
        loop {
            for path in waiting.by_ref().take(FILES_AHEAD - opened.len()) {
                let file = self.root.file(path.as_path());
                let file = file.map_err(|source| io_error(&path, source))?;
                read_soon(&file);
                opened.push_back((path, file));
            }
            match opened.pop_front() {
                Some((path, file)) => self.take_in_file(path, file)?,
                None => return Ok(()),
            }
        }
    }

    fn take_in_file(&mut self, path: TreePath, file: File) -> Result<(), ScanError> {
        let digested = self
            .digester
            .digest(file, self.on_bytes)
            .map_err(|error| match error {
                DigestError::Io(source) => io_error(&path, source),
                DigestError::Changed => ScanError::Changed { path: path.clone() },
                DigestError::Stopped => ScanError::Stopped,
            })?;
        let listed = ListedFile {
            executable: digested.executable,
            mtime: digested.stamp.mtime.truncated(),
            size: digested.stamp.size,
            digests: digested.digests,
        };
        self.tree.listing.file(path.clone(), listed)?;
        self.tree.files.push(ScannedFile {
            path,
            stamp: digested.stamp,
            size: digested.stamp.size,
            executable: digested.executable,
            digests: digested.digests,
            midstates: digested.midstates,
        });
        Ok(())
    }
}

fn below(directory: Option<&TreePath>, found: &Found) -> Result<TreePath, ScanError> {
    let name = Name::new(found.name.as_slice()).map_err(|source| ScanError::Name {
        directory: shown(directory),
        source,
    })?;
    match directory {
        None => Ok(TreePath::from(name)),
        Some(path) => path.join(&name).map_err(|source| ScanError::Path {
            directory: shown(directory),
            source,
        }),
    }
}

fn shown(directory: Option<&TreePath>) -> PathBuf {
    directory.map_or_else(|| PathBuf::from("."), |path| path.as_path().into())
}

fn io_error(path: &TreePath, source: io::Error) -> ScanError {
    ScanError::Io {
        path: path.as_path().into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs::{self, File, FileTimes, Permissions};
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::time::{Duration, SystemTime};

    use zeroshare_content::BlobId;

    use super::*;

    #[test]
    fn a_directory_is_listed_as_manifests_list_it() {
        let place = tempfile::tempdir().unwrap();
        let file = write(place.path(), "b", b"hello", 0o644);
        let before_epoch = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
        file.set_times(FileTimes::new().set_modified(before_epoch))
            .unwrap();
        write(place.path(), "run", b"", 0o610)
            .set_times(epoch())
            .unwrap();
        fs::create_dir(place.path().join("sub")).unwrap();
        symlink("../elsewhere", place.path().join("sub/link")).unwrap();
        write(place.path(), ".manifest", b"whatever", 0o444);

        let mut read = 0;
        let tree = scan_tree(place.path(), &HashKind::ALL, &mut |bytes| read += bytes).unwrap();
        let hash = |bytes: &[u8]| BlobId::of(HashKind::Sha256, bytes).hex();
        let expected = format!(
            "F {} -1 5 b\nX {} 0 0 run\nD /sub\nS {} 12 link\n",
            hash(b"hello"),
            hash(b""),
            hash(b"../elsewhere")
        );
        assert_eq!(
            tree.manifest_text(Algorithm::Sha256New).unwrap(),
            expected.as_bytes()
        );
        assert_eq!(read, 5);
        assert!(tree.has_manifest_file());
        assert_eq!(tree.files().len(), 2);
    }

    #[test]
    fn midstates_are_kept_of_files_larger_than_a_grain() {
        let place = tempfile::tempdir().unwrap();
        let grain = usize::try_from(zeroshare_content::GRAIN).unwrap();
        write(place.path(), "small", &vec![7; grain], 0o644);
        write(place.path(), "large", &vec![7; grain + 1], 0o644);
        let tree = scan_tree(place.path(), &[HashKind::Sha256], &mut |_| ()).unwrap();
        for file in tree.files() {
            let grains = file.midstates.as_ref().map(Midstates::grains);
            let expected = (file.path.as_bytes() == b"large").then_some(2);
            assert_eq!(grains, expected, "{}", file.path);
            let content = vec![7; usize::try_from(file.size).unwrap()];
            let blob = BlobId::of(HashKind::Sha256, &content);
            assert_eq!(file.digests.blob(HashKind::Sha256), Some(blob));
            assert_eq!(file.digests.blob(HashKind::Sha1), None);
        }
    }

    #[test]
    fn pipes_sockets_and_newlines_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let scan = || scan_tree(place.path(), &[HashKind::Sha1], &mut |_| ());

        let socket = std::os::unix::net::UnixListener::bind(place.path().join("socket")).unwrap();
        assert!(matches!(scan(), Err(ScanError::Special { .. })));
        drop(socket);
        fs::remove_file(place.path().join("socket")).unwrap();

        let pipe = place.path().join("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        assert!(matches!(scan(), Err(ScanError::Special { .. })));
        fs::remove_file(pipe).unwrap();

        let link = place.path().join("a\nb");
        symlink("x", &link).unwrap();
        assert!(matches!(
            scan(),
            Err(ScanError::Name {
                source: NameError::Newline,
                ..
            })
        ));
        fs::remove_file(link).unwrap();
        assert_eq!(
            scan().unwrap().manifest_text(Algorithm::Sha1New).unwrap(),
            b""
        );
    }

    #[test]
    fn a_directory_too_deep_is_refused_and_not_followed_forever() {
        let place = tempfile::tempdir().unwrap();
        let mut path = place.path().to_owned();
        for _ in 0..=zeroshare_content::MAX_DEPTH {
            path.push("d");
        }
        fs::create_dir_all(path).unwrap();
        let scanned = scan_tree(place.path(), &[HashKind::Sha1], &mut |_| ());
        assert!(
            matches!(scanned, Err(ScanError::Path { .. })),
            "{scanned:?}"
        );
    }

    #[test]
    fn names_that_are_not_utf8_are_names() {
        let place = tempfile::tempdir().unwrap();
        let name = OsStr::from_bytes(b"\xff \t");
        File::create(place.path().join(name))
            .unwrap()
            .set_times(epoch())
            .unwrap();
        let tree = scan_tree(place.path(), &[HashKind::Sha1], &mut |_| ()).unwrap();
        let text = tree.manifest_text(Algorithm::Sha1).unwrap();
        assert!(text.ends_with(b" 0 0 \xff \t\n"));
    }

    fn epoch() -> FileTimes {
        FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)
    }

    fn write(place: &Path, name: &str, content: &[u8], mode: u32) -> File {
        let path = place.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        File::open(path).unwrap()
    }
}
