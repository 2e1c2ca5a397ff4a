//! What lies where, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroshare_content::ContentId;

use crate::beneath::Identity;
use crate::index::{TreeKey, TreeSizes, TreeState};
use crate::stamp::Stamp;

/// After how long is tried again what could not be read; each time twice as long, up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_mins(1);
const LONGEST_BACKOFF: Duration = Duration::from_hours(1);

/// All directories that are named like trees, and all files that are shared.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    copies: BTreeMap<ContentId, Vec<HeldCopy>>,
    /// What each shared file was when it was hashed.
    files: BTreeMap<PathBuf, ContentId>,
}

/// One place where content lies.
#[derive(Debug, Clone)]
pub(super) struct HeldCopy {
    pub(super) place: CopyPlace,
    /// Where the index knows it; `None` when it does not.
    pub(super) key: Option<TreeKey>,
    pub(super) state: TreeState,
    pub(super) sizes: TreeSizes,
    /// How often it changed while it was hashed.
    pub(super) restarts: u8,
    /// When it could not be read, and how long it is left alone since.
    pub(super) unreadable: Option<Backoff>,
}

/// Where content lies, and what lay there when it was found.
#[derive(Debug, Clone)]
pub(super) enum CopyPlace {
    /// One directory of one store; a tree may lie in several stores, and in one under both its spellings.
    Tree {
        /// Which store, by its place in the order of lookup.
        root: usize,
        name: String,
        /// Which directory it was.
        identity: Identity,
    },
    /// A file that somebody shares.
    File {
        path: PathBuf,
        /// What it was when it was hashed.
        stamp: Stamp,
    },
}

impl CopyPlace {
    /// The store and the name in it, for a tree.
    pub(super) fn in_store(&self) -> Option<(usize, &str)> {
        match self {
            Self::Tree { root, name, .. } => Some((*root, name)),
            Self::File { .. } => None,
        }
    }

    /// What tells places apart, whatever lies there; trees come first, in the order of lookup.
    fn key(&self) -> (usize, &str, Option<&Path>) {
        match self {
            Self::Tree { root, name, .. } => (*root, name, None),
            Self::File { path, .. } => (usize::MAX, "", Some(path)),
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

/// How long something is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    since: Instant,
    wait: Duration,
}

impl Backoff {
    /// Leaves it alone once more.
    pub(super) fn after(earlier: Option<Self>, now: Instant) -> Self {
        Self {
            since: now,
            wait: earlier.map_or(FIRST_BACKOFF, |earlier| {
                (earlier.wait * 2).min(LONGEST_BACKOFF)
            }),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.wait
    }
}

impl HeldCopy {
    /// Something of which no more is known than that it is there.
    pub(super) fn found(place: CopyPlace) -> Self {
        Self {
            place,
            key: None,
            state: TreeState::Unverified,
            sizes: TreeSizes::default(),
            restarts: 0,
            unreadable: None,
        }
    }

    /// Whether it is to be hashed.
    pub(super) fn waits(&self) -> bool {
        self.state == TreeState::Unverified
    }

    /// Whether it is to be hashed, and not left alone yet.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.waits() && self.unreadable.is_none_or(|backoff| backoff.is_over(now))
    }

    pub(super) fn is_verified(&self) -> bool {
        matches!(self.state, TreeState::Verified { .. })
    }
}

impl Catalogue {
    pub(super) fn copies(&self, id: &ContentId) -> &[HeldCopy] {
        self.copies.get(id).map_or(&[], Vec::as_slice)
    }

    /// Lists contents by id, from behind a given one.
    pub(super) fn after(
        &self,
        id: Option<&ContentId>,
    ) -> impl Iterator<Item = (&ContentId, &[HeldCopy])> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.copies
            .range((start, Bound::Unbounded))
            .map(|(id, copies)| (id, copies.as_slice()))
    }

    /// Lists all copies with what they claim to be.
    pub(super) fn all(&self) -> impl Iterator<Item = (&ContentId, &HeldCopy)> {
        self.copies
            .iter()
            .flat_map(|(id, copies)| copies.iter().map(move |copy| (id, copy)))
    }

    /// Puts in a copy, in place of what was known of it.
    pub(super) fn put(&mut self, id: ContentId, copy: HeldCopy) {
        if let CopyPlace::File { path, .. } = &copy.place {
            self.files.insert(path.clone(), id);
        }
        let copies = self.copies.entry(id).or_default();
        copies.retain(|known| !known.place.is_same(&copy.place));
        copies.push(copy);
        copies.sort_by(|a, b| a.place.key().cmp(&b.place.key()));
    }

    pub(super) fn remove(&mut self, id: &ContentId, place: &CopyPlace) {
        if let CopyPlace::File { path, .. } = place
            && self.files.get(path) == Some(id)
        {
            self.files.remove(path);
        }
        if let Some(copies) = self.copies.get_mut(id) {
            copies.retain(|known| !known.place.is_same(place));
            if copies.is_empty() {
                self.copies.remove(id);
            }
        }
    }

    /// Finds what is known of a shared file.
    pub(super) fn file(&self, path: &Path) -> Option<(ContentId, HeldCopy)> {
        let id = self.files.get(path)?;
        let is_it = |copy: &&HeldCopy| matches!(&copy.place, CopyPlace::File { path: known, .. } if known == path);
        let copy = self.copies(id).iter().find(is_it)?;
        Some((*id, copy.clone()))
    }

    /// The paths of all shared files, in their order.
    pub(super) fn file_paths(&self) -> impl ExactSizeIterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// Finds a copy by its key; `None` when it was verified anew since.
    pub(super) fn by_key(&self, key: TreeKey) -> Option<(ContentId, HeldCopy)> {
        self.all()
            .find(|(_, copy)| copy.key == Some(key))
            .map(|(id, copy)| (*id, copy.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_left_alone_longer_each_time_up_to_an_hour() {
        let now = Instant::now();
        let first = Backoff::after(None, now);
        assert!(!first.is_over(now + Duration::from_secs(59)));
        assert!(first.is_over(now + FIRST_BACKOFF));
        let mut last = Backoff::after(Some(first), now);
        assert!(!last.is_over(now + FIRST_BACKOFF));
        for _ in 0..40 {
            last = Backoff::after(Some(last), now);
        }
        assert!(!last.is_over(now + Duration::from_mins(59)));
        assert!(last.is_over(now + LONGEST_BACKOFF));
    }
}
