//! Hashing what is held, and noting what comes out.

use std::error::Error as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use zeroshare_content::{BlobId, Entry, Family, TreeId, TreePath};

use super::catalogue::{Backoff, TreeCopy};
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

/// Which copies of a tree are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Those in every store.
    All,
    /// Those in shared stores.
    Shared,
    /// Those that wait for it.
    Unverified,
}

/// When a verified tree is to be hashed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// This one, now.
    Now(TreeId),
    /// None before this time.
    At(SystemTime),
    /// Nothing is verified.
    Never,
}

impl Shelf {
    /// Names the trees that wait to be hashed; what could not be read is left alone for a while.
    pub fn unverified(&self) -> Vec<TreeId> {
        let now = Instant::now();
        let catalogue = self.catalogue();
        let waiting = catalogue
            .after(None)
            .filter(|(_, copies)| copies.iter().any(|copy| copy.is_due(now)));
        waiting.map(|(id, _)| *id).collect()
    }

    /// Whether any copy of a tree waits to be hashed.
    pub fn is_unverified(&self, id: &TreeId) -> bool {
        self.catalogue().copies(id).iter().any(TreeCopy::waits)
    }

    /// Says which tree was verified longest ago, and whether that is too long.
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

    /// Hashes copies of a tree, and notes what came out: it is offered, or quarantined, or could not be read and is tried
    /// again later.
    ///
    /// `on_bytes` is told of the bytes read, and may stop it.
    pub fn verify(
        &self,
        id: &TreeId,
        copies: Copies,
        on_bytes: &mut OnBytes<'_>,
    ) -> Result<VerifyOutcome, ShelfError> {
        let mut found = self.catalogue().copies(id).to_vec();
        if found.is_empty() {
            return Err(ShelfError::NotHeld { id: *id });
        }
        let now = Instant::now();
        match copies {
            Copies::All => {}
            Copies::Shared => found.retain(|copy| self.is_shared(copy.root)),
            Copies::Unverified => found.retain(|copy| copy.is_due(now)),
        }
        let mut outcome = VerifyOutcome::default();
        for copy in &found {
            let faults = self.verify_copy(id, copy, on_bytes)?;
            let shown = |fault: String| match found.len() {
                1 => fault,
                _ => format!(
                    "{}: {fault}",
                    self.root_path(copy.root).join(&copy.name).display()
                ),
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

    fn verify_copy(
        &self,
        id: &TreeId,
        copy: &TreeCopy,
        on_bytes: &mut OnBytes<'_>,
    ) -> Result<Vec<String>, ShelfError> {
        let path = self.root_path(copy.root).join(&copy.name);
        let opened = Beneath::open(self.root_path(copy.root))
            .and_then(|root| root.directory(Path::new(&copy.name)))
            .and_then(|dir| Ok((dir.identity()?, dir)));
        let verified = match opened {
            Ok((identity, dir)) => {
                verify_beneath(&dir, path, id, on_bytes).map(|tree| (identity, tree))
            }
            Err(source) => Err(VerifyError::Unreadable {
                id: *id,
                source: ScanError::Io { path, source },
            }),
        };
        match verified {
            Ok((identity, tree)) => {
                let copy = TreeCopy {
                    identity,
                    ..copy.clone()
                };
                self.set_verified(&copy, &tree)?;
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
                    &TreeCopy {
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
    fn set_unreadable(&self, id: &TreeId, copy: &TreeCopy, why: &str) -> Result<(), IndexError> {
        tracing::warn!(tree = %id, why, "tree cannot be read, and is hashed later");
        let unreadable = Some(Backoff::after(copy.unreadable, Instant::now()));
        self.set_unverified(
            id,
            &TreeCopy {
                unreadable,
                ..copy.clone()
            },
        )
    }

    fn set_verified(&self, copy: &TreeCopy, tree: &VerifiedTree) -> Result<(), IndexError> {
        let (sizes, files) = describe(tree);
        let known = self.index.tree(self.root_path(copy.root), &copy.name)?;
        let record = TreeRecord {
            root: self.root_path(copy.root).into(),
            name: copy.name.clone(),
            id: tree.id,
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
        copy: &TreeCopy,
        record: TreeRecord,
        files: &[FileRecord],
    ) -> Result<(), IndexError> {
        let key = self.index.put_tree(&record, files)?;
        if let Some(old) = copy.key {
            self.open_trees().forget(old);
        }
        let id = record.id;
        let copy = TreeCopy {
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

    fn set_quarantined(
        &self,
        id: &TreeId,
        copy: &TreeCopy,
        faults: Vec<String>,
    ) -> Result<(), IndexError> {
        let path = self.root_path(copy.root).join(&copy.name);
        tracing::warn!(tree = %id, path = %path.display(), ?faults, "tree does not verify, and is not served");
        let state = TreeState::Quarantined { faults };
        let Some(key) = copy.key else {
            let record = TreeRecord {
                root: self.root_path(copy.root).into(),
                name: copy.name.clone(),
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
            TreeCopy {
                state,
                ..copy.clone()
            },
        );
        self.tell(ShelfEvent::Changed(*id));
        Ok(())
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
