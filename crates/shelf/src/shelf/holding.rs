//! What is held, as others ask for it.

use std::path::PathBuf;
use std::time::SystemTime;

use zeroshare_content::ContentId;

use super::catalogue::HeldCopy;
use super::{Audience, Shelf};
use crate::index::TreeState;

/// A tree that lies in a store, or a file that is shared, by its best copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// What it is called.
    pub id: ContentId,
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it may be believed.
    pub state: HoldingState,
    /// Whether peers may have it.
    pub offered: bool,
    /// Sum of its files, each as often as it occurs; zero while its manifest was not read.
    pub total_bytes: u64,
    /// Sum of its distinct files and link targets; the size of a blob.
    pub content_bytes: u64,
    /// Size of its manifest; zero for a blob.
    pub manifest_bytes: u64,
    /// Pieces in all; zero for the oldest format, which never travels.
    pub pieces: u32,
}

impl Holding {
    /// Whether its pieces can be read: it was verified, and is not of the oldest format.
    pub fn is_readable(&self) -> bool {
        matches!(self.state, HoldingState::Verified { .. })
            && self.id.travels()
            && (self.pieces > 0 || self.content_bytes == 0)
    }
}

/// Whether what lies in a store may be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldingState {
    /// Not hashed yet, or changed since.
    Unverified,
    /// All of it was hashed, and matched.
    Verified {
        /// When.
        at: SystemTime,
    },
    /// It does not match, and is reported but never served.
    Quarantined {
        /// What of it does not match.
        faults: Vec<String>,
    },
}

/// How many trees lie in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootCount {
    /// Where it lies.
    pub path: PathBuf,
    /// Whether what it holds is offered to peers.
    pub shared: bool,
    /// Trees in it, those in quarantine left out.
    pub held_trees: u32,
    /// Trees that did not verify.
    pub quarantined_trees: u32,
}

impl Shelf {
    /// Says what is held of something where these may see it; `None`: nothing.
    pub fn holding(&self, id: impl Into<ContentId>, audience: Audience) -> Option<Holding> {
        let id = id.into();
        let catalogue = self.catalogue();
        self.best(&id, catalogue.copies(&id), audience)
    }

    /// Lists at most `limit` trees and blobs by id, from behind a given one, as far as these may see them.
    pub fn holdings(
        &self,
        after: Option<&ContentId>,
        limit: usize,
        audience: Audience,
    ) -> Vec<Holding> {
        let catalogue = self.catalogue();
        catalogue
            .after(after)
            .filter_map(|(id, copies)| self.best(id, copies, audience))
            .take(limit)
            .collect()
    }

    /// Counts the trees of each store.
    pub fn counts(&self) -> Vec<RootCount> {
        let mut counts: Vec<RootCount> = self
            .roots
            .iter()
            .map(|root| RootCount {
                path: root.path.clone(),
                shared: root.shared,
                held_trees: 0,
                quarantined_trees: 0,
            })
            .collect();
        for (_, copy) in self.catalogue().all() {
            let Some((root, _)) = copy.place.in_store() else {
                continue;
            };
            let Some(count) = counts.get_mut(root) else {
                continue;
            };
            match copy.state {
                TreeState::Quarantined { .. } => count.quarantined_trees += 1,
                TreeState::Verified { .. } | TreeState::Unverified => count.held_trees += 1,
            }
        }
        counts
    }

    /// Counts the files that are shared, whether or not they are offered now.
    pub fn shared_files(&self) -> usize {
        self.catalogue().file_paths().len()
    }

    fn best(&self, id: &ContentId, copies: &[HeldCopy], audience: Audience) -> Option<Holding> {
        let visible = || copies.iter().filter(|copy| self.may_see(copy, audience));
        let offered = |copy: &&HeldCopy| copy.is_verified() && self.is_offered(&copy.place);
        let best = visible()
            .find(offered)
            .or_else(|| visible().find(|copy| copy.is_verified()))
            .or_else(|| visible().find(|copy| copy.waits()))
            .or_else(|| visible().next())?;
        Some(Holding {
            id: *id,
            path: self.path_of(&best.place),
            state: match &best.state {
                TreeState::Unverified => HoldingState::Unverified,
                TreeState::Verified { at } => HoldingState::Verified { at: *at },
                TreeState::Quarantined { faults } => HoldingState::Quarantined {
                    faults: faults.clone(),
                },
            },
            offered: offered(&best) && id.travels() && best.sizes.pieces_known(),
            total_bytes: best.sizes.total,
            content_bytes: best.sizes.content,
            manifest_bytes: best.sizes.manifest,
            pieces: best.sizes.pieces,
        })
    }
}
