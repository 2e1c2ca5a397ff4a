//! Hashing what is held, and noting what comes out.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use zeroshare_content::{BlobId, ContentId, Entry, Family, TreeId, TreePath};

use super::catalogue::{Backoff, CopyPlace, HeldCopy};
use super::{Shelf, ShelfError, ShelfEvent};
use crate::beneath::Beneath;
use crate::digest::OnBytes;
use crate::index::{FileRecord, IndexError, TreeRecord, TreeSizes, TreeState};
use crate::pieces::PieceSource;
use crate::scan::ScanError;
use crate::verify::{VerifiedTree, VerifyError, verify_beneath};

/// What hashing a tree found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyOutcome {
    /// What does not match or cannot be read, in every copy; empty: it verifies.
    pub faults: Vec<String>,
}

/// How often a tree may change while it is hashed, until nobody believes that it ends: `0install store optimise` links
/// files anew, and other writers may still set times.
const MAX_RESTARTS: u8 = 3;

/// Which copies of something are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// All.
    All,
    /// Those that are offered.
    Shared,
    /// Those that wait for it.
    Unverified,
}

/// When something verified is to be hashed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// This one, now.
    Now(ContentId),
    /// None before this time.
    At(SystemTime),
    /// Nothing is verified.
    Never,
}

impl Shelf {
    /// Names what waits to be hashed; what could not be read is left alone for a while.
    pub fn unverified(&self) -> Vec<ContentId> {
        let now = Instant::now();
        let catalogue = self.catalogue();
        let waiting = catalogue
            .after(None)
            .filter(|(_, copies)| copies.iter().any(|copy| copy.is_due(now)));
        waiting.map(|(id, _)| *id).collect()
    }

    /// Whether any copy of something waits to be hashed.
    pub fn is_unverified(&self, id: impl Into<ContentId>) -> bool {
        self.catalogue()
            .copies(&id.into())
            .iter()
            .any(HeldCopy::waits)
    }

    /// Says what was verified longest ago, and whether that is too long.
    pub fn due(&self, now: SystemTime, max_age: Duration) -> Due {
        let catalogue = self.catalogue();
        let oldest = catalogue.all().filter_map(|(id, copy)| match copy.state {
            TreeState::Verified { at } => Some((at, *id)),
            TreeState::Unverified | TreeState::Quarantined { .. } => None,
        });
        match oldest.min() {
            None => Due::Never,
            Some((at, id)) if at + max_age <= now => Due::Now(id),
            Some((at, _)) => Due::At(at + max_age),
        }
    }

    /// Hashes copies of a tree or blob, and notes what came out: it is offered, or quarantined, or could not be read and is tried
    /// again later.
    ///
    /// `on_bytes` is told of the bytes read, and may stop it.
    pub fn verify(
        &self,
        id: impl Into<ContentId>,
        copies: Copies,
        on_bytes: &mut OnBytes<'_>,
    ) -> Result<VerifyOutcome, ShelfError> {
        let id = &id.into();
        let mut found = self.catalogue().copies(id).to_vec();
        if found.is_empty() {
            return Err(ShelfError::NotHeld { id: *id });
        }
        let now = Instant::now();
        match copies {
            Copies::All => {}
            Copies::Shared => found.retain(|copy| self.is_offered(&copy.place)),
            Copies::Unverified => found.retain(|copy| copy.is_due(now)),
        }
        let mut outcome = VerifyOutcome::default();
        for copy in &found {
            let faults = match (&copy.place, id) {
                (CopyPlace::Tree { root, name, .. }, ContentId::Tree(tree)) => {
                    self.verify_tree_copy(tree, (*root, name), copy, on_bytes)?
                }
                (CopyPlace::File { path, stamp }, ContentId::Blob(blob)) => {
                    self.verify_file(*blob, (path, stamp), copy, on_bytes)?
                }
                // Trees lie in stores, blobs do not.
                _ => continue,
            };
            let shown = |fault: String| match found.len() {
                1 => fault,
                _ => format!("{}: {fault}", self.path_of(&copy.place).display()),
            };
            outcome.faults.extend(faults.into_iter().map(shown));
        }
        Ok(outcome)
    }

    /// Notes that a file is not the one that was hashed; the tree is hashed again before it is served.
    pub fn distrust(&self, source: &PieceSource) -> Result<(), IndexError> {
        match source.key().and_then(|key| self.catalogue().by_key(key)) {
            Some((id, copy)) => self.set_unverified(&id, &copy),
            None => Ok(()),
        }
    }

    /// Notes that a file does not have its hash any more; the tree is served no longer.
    pub fn quarantine(&self, source: &PieceSource, path: &TreePath) -> Result<(), IndexError> {
        match source.key().and_then(|key| self.catalogue().by_key(key)) {
            Some((id, copy)) => self.set_quarantined(&id, &copy, vec![path.to_string()]),
            None => Ok(()),
        }
    }

    fn verify_tree_copy(
        &self,
        tree: &TreeId,
        (root, name): (usize, &str),
        copy: &HeldCopy,
        on_bytes: &mut OnBytes<'_>,
    ) -> Result<Vec<String>, ShelfError> {
        let id = &ContentId::Tree(*tree);
        let path = self.root_path(root).join(name);
        let opened = Beneath::open(self.root_path(root))
            .and_then(|store| store.directory(Path::new(name)))
            .and_then(|dir| Ok((dir.identity()?, dir)));
        let verified = match opened {
            Ok((identity, dir)) => {
                verify_beneath(&dir, path, tree, on_bytes).map(|verified| (identity, verified))
            }
            Err(source) => Err(VerifyError::Unreadable {
                id: *tree,
                source: ScanError::Io { path, source },
            }),
        };
        match verified {
            Ok((identity, tree)) => {
                let place = CopyPlace::Tree {
                    root,
                    name: name.to_owned(),
                    identity,
                };
                let copy = HeldCopy {
                    place,
                    ..copy.clone()
                };
                self.set_verified((root, name), &copy, &tree)?;
                Ok(Vec::new())
            }
            Err(VerifyError::Unreadable {
                source: ScanError::Stopped,
                ..
            }) => Err(ShelfError::Stopped),
            Err(VerifyError::Unreadable {
                source: ScanError::Changed { path },
                ..
            }) if copy.restarts < MAX_RESTARTS => {
                tracing::debug!(tree = %id, %path, "tree changed while it was hashed, hashing it anew");
                let restarts = copy.restarts + 1;
                self.set_unverified(
                    id,
                    &HeldCopy {
                        restarts,
                        ..copy.clone()
                    },
                )?;
                Ok(vec![path.to_string()])
            }
            Err(VerifyError::Corrupt { faults, .. }) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                self.set_quarantined(id, copy, faults.clone())?;
                Ok(faults)
            }
            Err(error @ (VerifyError::Unreadable { .. } | VerifyError::NotFound { .. })) => {
                let why = with_sources(&error);
                self.set_unreadable(id, copy, &why)?;
                Ok(vec![why])
            }
        }
    }

    /// What cannot be read now, for want of files or memory or rights, may be whole: it is hashed later.
    pub(super) fn set_unreadable(
        &self,
        id: &ContentId,
        copy: &HeldCopy,
        why: &str,
    ) -> Result<(), IndexError> {
        tracing::warn!(content = %id, why, "content cannot be read, and is hashed later");
        let unreadable = Some(Backoff::after(copy.unreadable, Instant::now()));
        self.set_unverified(
            id,
            &HeldCopy {
                unreadable,
                ..copy.clone()
            },
        )
    }

    fn set_verified(
        &self,
        (root, name): (usize, &str),
        copy: &HeldCopy,
        tree: &VerifiedTree,
    ) -> Result<(), IndexError> {
        let (sizes, files) = describe(tree);
        let known = self.index.tree(self.root_path(root), name)?;
        let record = TreeRecord {
            root: self.root_path(root).into(),
            name: name.to_owned(),
            id: tree.id.into(),
            state: TreeState::Verified {
                at: SystemTime::now(),
            },
            sizes,
            // What is read back under a later boot is on disk.
            boot: known
                .and_then(|(_, record)| record.boot)
                .filter(|boot| *boot == self.boot),
            manifest: (!tree.has_manifest_file).then(|| tree.manifest.clone()),
        };
        self.put(copy, record, &files)
    }

    /// Puts a record into index and catalogue.
    pub(super) fn put(
        &self,
        copy: &HeldCopy,
        record: TreeRecord,
        files: &[FileRecord],
    ) -> Result<(), IndexError> {
        let key = self.index.put_tree(&record, files)?;
        if let Some(old) = copy.key {
            self.open_trees().forget(old);
        }
        let id = record.id;
        let copy = HeldCopy {
            key: Some(key),
            restarts: 0,
            unreadable: None,
            state: record.state,
            sizes: record.sizes,
            ..copy.clone()
        };
        self.catalogue().put(id, copy);
        self.tell(ShelfEvent::Changed(id));
        Ok(())
    }

    pub(super) fn set_quarantined(
        &self,
        id: &ContentId,
        copy: &HeldCopy,
        faults: Vec<String>,
    ) -> Result<(), IndexError> {
        let path = self.path_of(&copy.place);
        tracing::warn!(content = %id, path = %path.display(), ?faults, "content does not verify, and is not served");
        let state = TreeState::Quarantined { faults };
        let Some(key) = copy.key else {
            let (root, name) = self.record_place(id, &copy.place);
            let record = TreeRecord {
                root,
                name,
                id: *id,
                state,
                sizes: copy.sizes,
                boot: None,
                manifest: None,
            };
            return self.put(copy, record, &[]);
        };
        self.open_trees().forget(key);
        self.index.set_state(key, &state)?;
        self.catalogue().put(
            *id,
            HeldCopy {
                state,
                ..copy.clone()
            },
        );
        self.tell(ShelfEvent::Changed(*id));
        Ok(())
    }
}

impl Shelf {
    /// Under what the index keeps a copy.
    pub(super) fn record_place(&self, id: &ContentId, place: &CopyPlace) -> (PathBuf, String) {
        match place {
            CopyPlace::Tree { root, name, .. } => (self.root_path(*root).into(), name.clone()),
            CopyPlace::File { path, .. } => (path.clone(), id.to_string()),
        }
    }
}

/// Says what the index keeps of a tree that was just hashed.
fn describe(tree: &VerifiedTree) -> (TreeSizes, Vec<FileRecord>) {
    let manifest_bytes = tree.manifest.len() as u64;
    let Some((manifest, layout)) = tree.layout() else {
        let total = tree.files.iter().map(|file| file.size).sum();
        return (
            TreeSizes {
                total,
                content: total,
                manifest: manifest_bytes,
                pieces: 0,
            },
            Vec::new(),
        );
    };
    let found: std::collections::BTreeMap<_, _> =
        tree.files.iter().map(|file| (&file.path, file)).collect();
    let files = manifest
        .lines()
        .iter()
        .zip(0_u32..)
        .filter_map(|(line, number)| {
            let file = found.get(&line.path)?;
            Some(FileRecord {
                line: number,
                blob: blob_of(&line.entry)?,
                stamp: file.stamp,
                midstates: file.midstates.clone(),
            })
        });
    let sizes = TreeSizes {
        total: manifest.total_size(),
        content: layout.content_size(),
        manifest: manifest_bytes,
        pieces: if tree.id.family() == Family::Sha1 {
            0
        } else {
            layout.piece_count()
        },
    };
    (sizes, files.collect())
}

fn blob_of(entry: &Entry) -> Option<BlobId> {
    match entry {
        Entry::File { blob, .. } => Some(*blob),
        Entry::Directory | Entry::Symlink { .. } => None,
    }
}

fn with_sources(error: &VerifyError) -> String {
    let mut shown = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        shown = format!("{shown}: {cause}");
        source = cause.source();
    }
    shown.replace('\n', " ")
}
