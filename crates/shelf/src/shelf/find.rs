//! Looking up files and midstates.

use std::collections::BTreeMap;
use std::path::PathBuf;

use zeroshare_content::{BlobId, ContentId, Entry};
use zeroshare_proof::{Midstates, grain_count};

use super::catalogue::CopyPlace;
use super::{Audience, Shelf};
use crate::index::{BlobPlace, IndexError, TreeKey};
use crate::pieces::PieceSource;
use crate::stamp::{Moment, Stamp};

/// A file, of a verified tree or shared by itself, that has the contents asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Its contents.
    pub blob: BlobId,
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it may be run.
    pub executable: bool,
    /// When it was changed.
    pub mtime: Moment,
}

/// A tree that has some of the files, or a file shared by itself.
struct FoundTree {
    /// `None` outside all stores.
    root: Option<usize>,
    path: PathBuf,
    source: PieceSource,
}

/// So many trees are open while files are looked for; each costs its manifest.
const MAX_TREES: usize = 32;

/// So many blobs are looked up while nobody else can use the index.
const BLOBS_AT_ONCE: usize = 1000;

/// What is known of the midstates of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MidstateList {
    /// How many grains the file has.
    pub grains: u32,
    /// Names the list.
    pub list_digest: [u8; 32],
    /// All of them.
    pub midstates: Midstates,
}

/// A file that begins like another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// Where it lies.
    pub path: PathBuf,
    /// How many grains of both are equal, from the first; at least one.
    pub grains: u32,
}

/// A midstate.
const STATE_BYTES: usize = 32;

impl Shelf {
    /// Finds files with the given contents, at most one in each store and one outside; what is not here is left out.
    ///
    /// They were verified once and are untouched since; who uses them hashes them all the same.
    pub fn find_files(
        &self,
        blobs: &[BlobId],
        audience: Audience,
    ) -> Result<Vec<FoundFile>, IndexError> {
        let mut trees: BTreeMap<TreeKey, Option<FoundTree>> = BTreeMap::new();
        let mut found = Vec::new();
        let places = blobs
            .chunks(BLOBS_AT_ONCE)
            .map(|some| self.index.find_blobs(some));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        for (blob, mut places) in blobs.iter().zip(places.into_iter().flatten()) {
            if trees.len() > MAX_TREES {
                trees.clear();
            }
            // A new version shares most files with one older version: look there before others are opened.
            places.sort_by_key(|place| !trees.contains_key(&place.tree));
            // By store, in the order of lookup.
            let mut here = BTreeMap::new();
            for place in places {
                let tree = trees
                    .entry(place.tree)
                    .or_insert_with(|| self.open_key(place.tree, audience));
                let Some(tree) = tree else { continue };
                if here.contains_key(&tree.root) {
                    continue;
                }
                if let Some(file) = found_file(*blob, &place, tree) {
                    here.insert(tree.root, file);
                }
            }
            found.extend(here.into_values());
        }
        Ok(found)
    }

    /// Finds the file that has the longest beginning in common with one that has these midstates; `None` if none has a grain.
    ///
    /// It was verified once and is untouched since; who uses it hashes it all the same.
    pub fn find_beginning(
        &self,
        midstates: &[u8],
        audience: Audience,
    ) -> Result<Option<Beginning>, IndexError> {
        let Some(first) = midstates.get(..STATE_BYTES) else {
            return Ok(None);
        };
        let candidates = self.index.find_beginnings(first)?;
        let mut candidates: Vec<(u32, BlobPlace)> = candidates
            .into_iter()
            .map(|(place, list)| (equal_states(midstates, &list), place))
            .collect();
        candidates.sort_by_key(|(grains, _)| std::cmp::Reverse(*grains));
        let found = candidates.into_iter().find_map(|(grains, place)| {
            let tree = self.open_key(place.tree, audience)?;
            let line = tree.source.manifest().lines().get(place.line as usize)?;
            let file = tree.source.dir.file(line.path.as_path()).ok()?;
            let is_same = Stamp::of(&file.metadata().ok()?) == place.stamp;
            is_same.then(|| Beginning {
                path: tree.path.join(line.path.as_path()),
                grains,
            })
        });
        Ok(found)
    }

    /// Reads the midstates of the file on one line of a tree's manifest, or of a blob on line 0; `None` while they are
    /// unknown.
    ///
    /// They are kept for a while after the content is gone.
    pub fn midstates(
        &self,
        id: impl Into<ContentId>,
        line: u32,
        audience: Audience,
    ) -> Result<Option<MidstateList>, IndexError> {
        for key in self.keys(&id.into(), audience)? {
            let file = self.index.files(key, line..=line)?.into_iter().next();
            let Some(size) = file.and_then(|file| size_if_sha256(&file.blob, &file.stamp)) else {
                continue;
            };
            let list = self.index.midstates(key, line)?.unwrap_or_default();
            if let Ok(midstates) = Midstates::from_bytes(size, list) {
                let list_digest = midstates.list_digest();
                return Ok(Some(MidstateList {
                    grains: grain_count(size),
                    list_digest,
                    midstates,
                }));
            }
        }
        Ok(None)
    }

    /// All that the index knows of something that these may see, gone or not.
    fn keys(&self, id: &ContentId, audience: Audience) -> Result<Vec<TreeKey>, IndexError> {
        let ContentId::Tree(tree) = id else {
            return self.index.keys_of_blob(id);
        };
        let mut keys = Vec::new();
        for root in self
            .roots
            .iter()
            .filter(|root| root.shared || audience == Audience::Local)
        {
            for name in tree.directory_names() {
                keys.extend(self.index.tree(&root.path, &name)?.map(|(key, _)| key));
            }
        }
        Ok(keys)
    }

    fn open_key(&self, key: TreeKey, audience: Audience) -> Option<FoundTree> {
        let (id, copy) = self.catalogue().by_key(key)?;
        if !self.may_see(&copy, audience) {
            return None;
        }
        let (root, path) = match &copy.place {
            CopyPlace::Tree { root, .. } => (Some(*root), self.path_of(&copy.place)),
            // Its one line is its name.
            CopyPlace::File { path, .. } => (None, path.parent()?.to_owned()),
        };
        let source = self.open_copy(&id, &copy, key).ok()?;
        Some(FoundTree { root, path, source })
    }
}

fn found_file(blob: BlobId, place: &BlobPlace, tree: &FoundTree) -> Option<FoundFile> {
    let line = tree.source.manifest().lines().get(place.line as usize)?;
    let Entry::File { executable, .. } = line.entry else {
        return None;
    };
    let file = tree.source.dir.file(line.path.as_path()).ok()?;
    let stamp = Stamp::of(&file.metadata().ok()?);
    (stamp == place.stamp).then(|| FoundFile {
        blob,
        path: tree.path.join(line.path.as_path()),
        executable,
        mtime: stamp.mtime,
    })
}

/// How many midstates are equal, from the first: so many grains are.
fn equal_states(one: &[u8], other: &[u8]) -> u32 {
    let pairs = one
        .chunks_exact(STATE_BYTES)
        .zip(other.chunks_exact(STATE_BYTES));
    let equal = pairs.take_while(|(one, other)| one == other).count();
    u32::try_from(equal).unwrap_or(u32::MAX)
}

fn size_if_sha256(blob: &BlobId, stamp: &Stamp) -> Option<u64> {
    match blob {
        BlobId::Sha256(_) => Some(stamp.size),
        BlobId::Sha1(_) => None,
    }
}
