//! Holdings as messages.

use bytes::Bytes;
use zeroshare_shelf::{Audience, Holding, HoldingState};
use zeroshare_wire::convert::from_system_time;
use zeroshare_wire::pb::store::v1::{ContentStat, HeldContent};

use crate::offers::Offer;

/// What lies in a store, or is shared; where somebody's file lies is not for everybody's ears.
pub(crate) fn held_whole(holding: &Holding, audience: Audience) -> HeldContent {
    let is_path_told = audience == Audience::Local || holding.id.tree().is_some();
    let path = is_path_told.then(|| holding.path.to_string_lossy().into_owned());
    let verified = match &holding.state {
        HoldingState::Verified { at } => Some(*at),
        HoldingState::Unverified | HoldingState::Quarantined { .. } => None,
    };
    HeldContent {
        content_id: holding.id.to_string(),
        path: path.unwrap_or_default(),
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

/// What peers may have of something whole; the digest names a blob's midstates.
pub(crate) fn stat_of_whole(holding: &Holding, list_digest: Option<[u8; 32]>) -> ContentStat {
    ContentStat {
        content_id: holding.id.to_string(),
        manifest_size_bytes: holding.manifest_bytes,
        content_size_bytes: holding.content_bytes,
        held_pieces: holding.pieces,
        total_pieces: holding.pieces,
        list_digest: list_of(list_digest),
    }
}

/// What peers may have of something that is still being fetched.
pub(crate) fn stat_of_part(offer: &Offer) -> ContentStat {
    let layout = offer.source().layout();
    ContentStat {
        content_id: offer.id().to_string(),
        manifest_size_bytes: offer.source().manifest_text().len() as u64,
        content_size_bytes: layout.content_size(),
        held_pieces: offer.held_count(),
        total_pieces: layout.piece_count(),
        list_digest: list_of(offer.blob_list_digest()),
    }
}

fn list_of(digest: Option<[u8; 32]>) -> Bytes {
    digest
        .map(|digest| Bytes::copy_from_slice(&digest))
        .unwrap_or_default()
}
