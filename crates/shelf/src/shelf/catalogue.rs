//! What lies where, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use zeroshare_content::TreeId;

use crate::beneath::Identity;
use crate::index::{TreeKey, TreeSizes, TreeState};

/// After how long is tried again what could not be read; each time twice as long, up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_mins(1);
const LONGEST_BACKOFF: Duration = Duration::from_hours(1);

/// All directories that are named like trees.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    copies: BTreeMap<TreeId, Vec<TreeCopy>>,
}

/// One directory of one store; a tree may lie in several stores, and in one under both its spellings.
#[derive(Debug, Clone)]
pub(super) struct TreeCopy {
    /// Which store, by its place in the order of lookup.
    pub(super) root: usize,
    pub(super) name: String,
    /// Which directory it was when it was found.
    pub(super) identity: Identity,
    /// Where the index knows it; `None` when it does not.
    pub(super) key: Option<TreeKey>,
    pub(super) state: TreeState,
    pub(super) sizes: TreeSizes,
    /// How often it changed while it was hashed.
    pub(super) restarts: u8,
    /// When it could not be read, and how long it is left alone since.
    pub(super) unreadable: Option<Backoff>,
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

impl TreeCopy {
    /// A directory of which no more is known than that it is there.
    pub(super) fn found(root: usize, name: String, identity: Identity) -> Self {
        Self {
            root,
            name,
            identity,
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
    pub(super) fn copies(&self, id: &TreeId) -> &[TreeCopy] {
        self.copies.get(id).map_or(&[], Vec::as_slice)
    }

    /// Lists trees by id, from behind a given one.
    pub(super) fn after(
        &self,
        id: Option<&TreeId>,
    ) -> impl Iterator<Item = (&TreeId, &[TreeCopy])> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.copies
            .range((start, Bound::Unbounded))
            .map(|(id, copies)| (id, copies.as_slice()))
    }

    /// Lists all directories with the trees that they claim to be.
    pub(super) fn all(&self) -> impl Iterator<Item = (&TreeId, &TreeCopy)> {
        self.copies
            .iter()
            .flat_map(|(id, copies)| copies.iter().map(move |copy| (id, copy)))
    }

    /// Puts in a directory, in place of what was known of it.
    pub(super) fn put(&mut self, id: TreeId, copy: TreeCopy) {
        let copies = self.copies.entry(id).or_default();
        copies.retain(|known| (known.root, &known.name) != (copy.root, &copy.name));
        copies.push(copy);
        copies.sort_by(|a, b| (a.root, &a.name).cmp(&(b.root, &b.name)));
    }

    pub(super) fn remove(&mut self, id: &TreeId, root: usize, name: &str) {
        if let Some(copies) = self.copies.get_mut(id) {
            copies.retain(|known| (known.root, known.name.as_str()) != (root, name));
            if copies.is_empty() {
                self.copies.remove(id);
            }
        }
    }

    /// Finds a directory by its key; `None` when it was verified anew since.
    pub(super) fn by_key(&self, key: TreeKey) -> Option<(TreeId, TreeCopy)> {
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
