//! Holdings as messages.

use zeroshare_content::{ContentId, TreeId};
use zeroshare_shelf::{Holding, HoldingState};
use zeroshare_wire::convert::from_system_time;
use zeroshare_wire::pb::store::v1::{ContentStat, HeldContent};

use crate::offers::Offer;

/// What lies in a store.
pub(crate) fn held_whole(holding: &Holding) -> HeldContent {
    let verified = match &holding.state {
        HoldingState::Verified { at } => Some(*at),
        HoldingState::Unverified | HoldingState::Quarantined { .. } => None,
    };
    HeldContent {
        content_id: holding.id.to_string(),
        path: holding.path.to_string_lossy().into_owned(),
        size_bytes: holding.total_bytes,
        verify_time: verified.map(from_system_time),
        offered: holding.offered,
        held_pieces: if verified.is_some() {
            holding.pieces
        } else {
            0
        },
        total_pieces: holding.pieces,
        member: false,
    }
}

/// What is still being fetched.
pub(crate) fn held_in_part(offer: &Offer) -> HeldContent {
    HeldContent {
        content_id: offer.id().to_string(),
        path: String::new(),
        size_bytes: offer.source().manifest().total_size(),
        verify_time: None,
        offered: offer.is_shared(),
        held_pieces: offer.held_count(),
        total_pieces: offer.source().layout().piece_count(),
        member: offer.is_member(),
    }
}

/// What peers may have of a whole tree.
pub(crate) fn stat_of_whole(holding: &Holding) -> ContentStat {
    ContentStat {
        content_id: holding.id.to_string(),
        manifest_size_bytes: holding.manifest_bytes,
        content_size_bytes: holding.content_bytes,
        held_pieces: holding.pieces,
        total_pieces: holding.pieces,
        list_digest: Vec::new().into(),
    }
}

/// What peers may have of a tree that is still being fetched.
pub(crate) fn stat_of_part(offer: &Offer) -> ContentStat {
    let layout = offer.source().layout();
    ContentStat {
        content_id: offer.id().to_string(),
        manifest_size_bytes: offer.source().manifest().text().len() as u64,
        content_size_bytes: layout.content_size(),
        held_pieces: offer.held_count(),
        total_pieces: layout.piece_count(),
        list_digest: Vec::new().into(),
    }
}

/// The tree that is asked for; blobs by themselves are not held.
pub(crate) fn tree_of(id: &ContentId) -> Option<TreeId> {
    match id {
        ContentId::Tree(tree) => Some(*tree),
        ContentId::Blob(_) => None,
    }
}
