//! Hashing a stored tree, and naming what of it does not match.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use zeroshare_content::{Algorithm, Entry, Layout, MAX_MANIFEST_BYTES, Manifest, TreeId, TreePath};

use crate::beneath::Beneath;
use crate::digest::OnBytes;
use crate::scan::{MANIFEST_FILE, ScanError, ScannedFile, ScannedTree, scan_beneath};

/// So many wrong files are named; a tree with more is broken as a whole.
const MAX_FAULTS: usize = 1000;

/// A tree of which everything was hashed, and matched.
#[derive(Debug, Clone)]
pub struct VerifiedTree {
    /// The directory.
    pub path: PathBuf,
    /// What it is called.
    pub id: TreeId,
    /// The exact text that the id is the digest of.
    pub manifest: Vec<u8>,
    /// Its files, in no order.
    pub files: Vec<ScannedFile>,
    /// Whether the manifest lies in the tree; 0install accepts a tree without.
    pub has_manifest_file: bool,
}

/// Why a tree did not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The store has no such directory.
    #[error("no tree {id} in {}", store.display())]
    NotFound {
        /// Which.
        id: TreeId,
        /// Where.
        store: PathBuf,
    },
    /// It is not what its name says.
    #[error("tree {id} is corrupt: {}", shown_faults(faults))]
    Corrupt {
        /// Which.
        id: TreeId,
        /// What of it does not match; never empty.
        faults: Vec<Fault>,
    },
    /// It could not be read.
    #[error("cannot verify tree {id}")]
    Unreadable {
        /// Which.
        id: TreeId,
        /// Why.
        source: ScanError,
    },
}

/// One thing that makes a tree differ from its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Contents, x-bit, time, target or kind of an entry are not those of the manifest.
    Corrupt(TreePath),
    /// The manifest has it, the directory has not.
    Missing(TreePath),
    /// The directory has it, the manifest has not.
    Extra(TreePath),
    /// The contents are right, the file `.manifest` is not.
    ManifestFile,
    /// It holds something that no tree may hold.
    Refused(String),
    /// Nothing is left that says which entry is wrong.
    Unknown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(path) => write!(f, "{path}"),
            Self::Missing(path) => write!(f, "{path} (missing)"),
            Self::Extra(path) => write!(f, "{path} (does not belong here)"),
            Self::ManifestFile => write!(f, "{MANIFEST_FILE}"),
            Self::Refused(why) => write!(f, "{}", why.replace('\n', " ")),
            Self::Unknown => f.write_str("the tree as a whole"),
        }
    }
}

/// Hashes a tree of a store and compares it with its id.
///
/// The directory may be a symbolic link, which 0install follows too; nothing below it may. A missing `.manifest` is fine, a
/// wrong one is not.
pub fn verify_tree(
    store: &Path,
    id: &TreeId,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<VerifiedTree, VerifyError> {
    let not_found = || VerifyError::NotFound {
        id: *id,
        store: store.into(),
    };
    let paths = id
        .directory_names()
        .into_iter()
        .map(|name| store.join(name));
    let path = paths
        .into_iter()
        .find(|path| path.is_dir())
        .ok_or_else(not_found)?;
    let dir = Beneath::open(&path).map_err(|source| VerifyError::Unreadable {
        id: *id,
        source: ScanError::Io {
            path: path.clone(),
            source,
        },
    })?;
    verify_beneath(&dir, path, id, &mut |bytes| {
        on_bytes(bytes);
        ControlFlow::Continue(())
    })
}

pub(crate) fn verify_beneath(
    dir: &Beneath,
    path: PathBuf,
    id: &TreeId,
    on_bytes: &mut OnBytes<'_>,
) -> Result<VerifiedTree, VerifyError> {
    let kinds = [id.family().hash_kind()];
    let scanned = scan_beneath(dir, &kinds, on_bytes).map_err(|error| scan_failure(id, error))?;
    let text = scanned
        .manifest_text(algorithm_of(id))
        .map_err(|error| scan_failure(id, error.into()))?;
    let listed = read_manifest_file(dir).map_err(|source| {
        if source.kind() == io::ErrorKind::FileTooLarge {
            return VerifyError::Corrupt {
                id: *id,
                faults: vec![Fault::ManifestFile],
            };
        }
        VerifyError::Unreadable {
            id: *id,
            source: ScanError::Io {
                path: path.join(MANIFEST_FILE),
                source,
            },
        }
    })?;

    let faults = if TreeId::of_manifest(id.family(), &text) == *id {
        match &listed {
            Some(listed) if *listed != text => vec![Fault::ManifestFile],
            Some(_) | None => Vec::new(),
        }
    } else {
        name_faults(id, listed, &text)
    };
    if !faults.is_empty() {
        return Err(VerifyError::Corrupt { id: *id, faults });
    }
    let has_manifest_file = ScannedTree::has_manifest_file(&scanned);
    Ok(VerifiedTree {
        path,
        id: *id,
        manifest: text,
        files: scanned.into_files(),
        has_manifest_file,
    })
}

/// Reads the file `.manifest` of a tree, unverified; `None` when there is none.
pub(crate) fn read_manifest_file(dir: &Beneath) -> io::Result<Option<Vec<u8>>> {
    let file = match dir.file(Path::new(MANIFEST_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = Vec::new();
    file.take(MAX_MANIFEST_BYTES as u64 + 1)
        .read_to_end(&mut text)?;
    if text.len() > MAX_MANIFEST_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "longer than any manifest that is read",
        ));
    }
    Ok(Some(text))
}

/// All algorithms of a family write the same text.
fn algorithm_of(id: &TreeId) -> Algorithm {
    id.family()
        .algorithms()
        .first()
        .copied()
        .unwrap_or(Algorithm::Sha256New)
}

/// What no tree may hold is a fault of the tree; what cannot be read says nothing about it.
fn scan_failure(id: &TreeId, error: ScanError) -> VerifyError {
    match error {
        ScanError::Special { path } => VerifyError::Corrupt {
            id: *id,
            faults: vec![Fault::Extra(path)],
        },
        ScanError::Name { .. } | ScanError::Path { .. } | ScanError::Listing(_) => {
            VerifyError::Corrupt {
                id: *id,
                faults: vec![Fault::Refused(error.to_string())],
            }
        }
        ScanError::Changed { .. } | ScanError::Io { .. } | ScanError::Stopped => {
            VerifyError::Unreadable {
                id: *id,
                source: error,
            }
        }
    }
}

fn name_faults(id: &TreeId, listed: Option<Vec<u8>>, found: &[u8]) -> Vec<Fault> {
    let expected = listed.and_then(|text| Manifest::verified(id, text).ok());
    let found = Manifest::parse(id.family(), found).ok();
    let (Some(expected), Some(found)) = (expected, found) else {
        return vec![Fault::Unknown];
    };

    let expected = entries_of(&expected);
    let found = entries_of(&found);
    let of_expected = expected
        .iter()
        .filter_map(|(path, entry)| match found.get(path) {
            None => Some(Fault::Missing((*path).clone())),
            Some(other) if other != entry => Some(Fault::Corrupt((*path).clone())),
            Some(_) => None,
        });
    let of_found = found
        .keys()
        .filter(|path| !expected.contains_key(*path))
        .map(|path| Fault::Extra((*path).clone()));
    of_expected.chain(of_found).take(MAX_FAULTS).collect()
}

fn entries_of(manifest: &Manifest) -> BTreeMap<&TreePath, Entry> {
    manifest
        .lines()
        .iter()
        .map(|line| (&line.path, line.entry))
        .collect()
}

fn shown_faults(faults: &[Fault]) -> String {
    const SHOWN: usize = 3;
    let mut shown: Vec<String> = faults.iter().take(SHOWN).map(Fault::to_string).collect();
    if faults.len() > SHOWN {
        shown.push(format!("and {} more", faults.len() - SHOWN));
    }
    shown.join(", ")
}

impl VerifiedTree {
    /// Reads the manifest; `None` for the oldest format and for what cannot travel in pieces.
    pub(crate) fn layout(&self) -> Option<(Manifest, Layout)> {
        let manifest = Manifest::verified(&self.id, self.manifest.clone()).ok()?;
        let layout = Layout::of_manifest(&manifest).ok()?;
        Some((manifest, layout))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use zeroshare_content::HashKind;

    use super::*;
    use crate::scan::scan_tree;

    #[test]
    fn a_whole_tree_verifies_with_and_without_its_manifest_under_every_name() {
        for algorithm in Algorithm::ALL {
            let (store, id) = store_with_tree(algorithm);
            let verify = || verify_tree(store.path(), &id, &mut |_| ());
            let tree = verify().unwrap();
            assert!(tree.has_manifest_file);
            assert_eq!(tree.files.len(), 2);
            fs::remove_file(tree.path.join(MANIFEST_FILE)).unwrap();
            assert_eq!(verify().unwrap().manifest, tree.manifest);
        }
    }

    #[test]
    fn each_wrong_entry_is_named() {
        let (store, id) = store_with_tree(Algorithm::Sha256New);
        let path = store.path().join(id.to_string());
        let time = fs::metadata(path.join("one")).unwrap().modified().unwrap();
        fs::write(path.join("one"), "ONE").unwrap();
        fs::File::open(path.join("one"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::remove_file(path.join("dir/two")).unwrap();
        symlink("x", path.join("extra")).unwrap();
        check_faults(
            &store,
            &id,
            &["dir/two (missing)", "one", "extra (does not belong here)"],
        );
    }

    #[test]
    fn a_wrong_manifest_file_is_a_fault_of_its_own() {
        let (store, id) = store_with_tree(Algorithm::Sha1New);
        fs::write(
            store.path().join(id.to_string()).join(MANIFEST_FILE),
            "forged",
        )
        .unwrap();
        check_faults(&store, &id, &[".manifest"]);
    }

    #[test]
    fn without_a_manifest_nobody_knows_which_file_is_wrong() {
        let (store, id) = store_with_tree(Algorithm::Sha1);
        fs::write(store.path().join(id.to_string()).join("one"), "other").unwrap();
        check_faults(&store, &id, &["the tree as a whole"]);
    }

    #[test]
    fn a_pipe_and_a_newline_are_faults() {
        let (store, id) = store_with_tree(Algorithm::Sha256);
        let path = store
            .path()
            .join(id.directory_name(Algorithm::Sha256).unwrap());
        let pipe = path.join("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        check_faults(&store, &id, &["pipe (does not belong here)"]);
        fs::remove_file(pipe).unwrap();
        fs::write(path.join("a\nb"), "").unwrap();
        check_faults(&store, &id, &[". holds a name with a newline"]);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let store = tempfile::tempdir().unwrap();
        let id = TreeId::of_manifest(zeroshare_content::Family::Sha256, b"");
        let found = verify_tree(store.path(), &id, &mut |_| ());
        assert!(matches!(found, Err(VerifyError::NotFound { .. })));
    }

    fn check_faults(store: &tempfile::TempDir, id: &TreeId, expected: &[&str]) {
        match verify_tree(store.path(), id, &mut |_| ()) {
            Err(VerifyError::Corrupt { faults, .. }) => {
                let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
                assert_eq!(faults, expected);
            }
            other => panic!("expected faults, got {other:?}"),
        }
    }

    fn store_with_tree(algorithm: Algorithm) -> (tempfile::TempDir, TreeId) {
        let store = tempfile::tempdir().unwrap();
        let tree = store.path().join("new");
        fs::create_dir_all(tree.join("dir")).unwrap();
        fs::write(tree.join("one"), "one").unwrap();
        fs::write(tree.join("dir/two"), "two").unwrap();
        let scanned = scan_tree(&tree, &HashKind::ALL, &mut |_| ()).unwrap();
        let id = scanned.tree_id(algorithm).unwrap();
        fs::write(
            tree.join(MANIFEST_FILE),
            scanned.manifest_text(algorithm).unwrap(),
        )
        .unwrap();
        fs::rename(
            tree,
            store.path().join(id.directory_name(algorithm).unwrap()),
        )
        .unwrap();
        (store, id)
    }
}
