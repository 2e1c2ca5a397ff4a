//! What a cold start knows before it begins: who it is, how its upstream is read, and what an earlier fetch left.

use std::sync::Arc;
use std::time::Instant;

use zeroshare_content::{BlobId, HashKind, Hasher};
use zeroshare_staging::Staged;
use zeroshare_transfer::cold::{ColdSettings, ColdStart, NodeName, Origin, PieceDigest};
use zeroshare_wire::pb::discovery::v1::DescribeNetworkRequest;
use zeroshare_wire::pb::store::v1::DescribeStoreRequest;

use crate::fetch::blocking;
use crate::fetch::failure::FetchFailure;
use crate::shared::Shared;
use crate::upstream::Upstream;

pub(super) fn machine_of(
    (own_id, is_served): (&str, bool),
    blob: BlobId,
    staged: &Staged,
    upstream: &Upstream,
) -> ColdStart {
    let origin = if upstream.has_ranges() {
        Origin::Ranges
    } else {
        Origin::Whole
    };
    let settings = ColdSettings {
        is_served,
        ..ColdSettings::default()
    };
    let me = (node_name(own_id), blob);
    ColdStart::new(me, staged.layout(), origin, settings, Instant::now())
}

/// This node's id, and whether peers can read from its store.
pub(super) async fn describe(shared: &Arc<Shared>) -> (String, bool) {
    let limit = shared.config.patience.local_call;
    let (mut discovery, mut store) = (shared.discovery(), shared.store());
    let network = zeroshare_api::deadline::within(
        limit,
        discovery.describe_network(DescribeNetworkRequest {}),
    )
    .await;
    let own =
        zeroshare_api::deadline::within(limit, store.describe_store(DescribeStoreRequest {})).await;
    let id = network
        .map(|answer| answer.into_inner().node_id)
        .unwrap_or_default();
    let is_served = own.is_ok_and(|answer| !answer.into_inner().lan_addresses.is_empty());
    (id, is_served)
}

/// What a node calls itself, by its 32 hex digits; whoever has none shares one name.
pub(super) fn node_name(id: &str) -> NodeName {
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(id.as_bytes().chunks(2)) {
        let text = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(text, 16).unwrap_or(0);
    }
    NodeName::new(bytes)
}

/// Hashes the pieces that an earlier fetch left.
pub(super) async fn found(
    shared: &Arc<Shared>,
    staged: &Arc<Staged>,
) -> Result<Vec<(u32, PieceDigest)>, FetchFailure> {
    let staged = staged.clone();
    blocking(shared, "hash what is there", move || {
        let layout = staged.layout();
        let mut found = Vec::new();
        for piece in (0..layout.piece_count()).filter(|piece| staged.holds_piece(*piece)) {
            let (offset, len) = (
                u64::from(piece) * layout.piece_size(),
                layout.piece_len(piece).unwrap_or(0),
            );
            if let Ok(bytes) = staged.read_slice(0, offset, len) {
                let mut hasher = Hasher::new(HashKind::Sha256);
                hasher.update(&bytes);
                found.extend(digest_of(hasher).map(|digest| (piece, digest)));
            }
        }
        found
    })
    .await
}

pub(super) fn digest_of(hasher: Hasher) -> Option<PieceDigest> {
    hasher.finish().digest().try_into().ok()
}
