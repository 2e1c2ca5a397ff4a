//! The size of a blob: a peer's word until the last grain, whose padding holds it, leads to the blob's hash.

use std::time::Instant;

use bytes::BytesMut;
use tokio::time::timeout_at;
use zeroshare_content::{BlobId, GRAIN, Layout};
use zeroshare_proof::{GrainVerdict, check_last_grain, grain_count, grain_len};
use zeroshare_transfer::{CallEnd, Pace, PaceRule};
use zeroshare_wire::pb::store::v1::{PieceSpan, ReadMidstatesRequest, ReadPiecesRequest};

use super::call::{ask, end_of_status, next_part, read_data};
use crate::peers::Peer;
use zeroshare_api::parts::Part;

/// A midstate as it travels.
const STATE_BYTES: usize = 32;

/// Reads the last grain and the midstate before it from who says this size. Nothing as large as the size is kept.
///
/// May be dropped midway.
pub(super) async fn prove_size(
    peer: &Peer,
    blob: BlobId,
    layout: &Layout,
    rule: PaceRule,
) -> Result<(), CallEnd> {
    let BlobId::Sha256(digest) = blob else {
        return Err(CallEnd::Refused);
    };
    let size = layout.content_size();
    let grains = grain_count(size);
    let (before, last) = tokio::try_join!(
        last_midstate(peer, blob, grains, rule),
        last_grain(peer, blob, layout, rule),
    )?;
    match check_last_grain(&before, size, &digest, &last) {
        GrainVerdict::Linked => Ok(()),
        GrainVerdict::Broken | GrainVerdict::Unfit => Err(CallEnd::Wrong),
    }
}

/// Reads through all midstates, and gives the last; what is given before a single grain does not count.
async fn last_midstate(
    peer: &Peer,
    blob: BlobId,
    grains: u32,
    rule: PaceRule,
) -> Result<[u8; STATE_BYTES], CallEnd> {
    let mut last = [0; STATE_BYTES];
    if grains == 1 {
        return Ok(last);
    }
    let request = ReadMidstatesRequest {
        content_id: blob.to_string(),
        ..ReadMidstatesRequest::default()
    };
    let mut pace = Pace::new(rule, Instant::now());
    let mut store = peer.store();
    let call = timeout_at(pace.deadline().into(), store.read_midstates(request)).await;
    let mut stream = match call {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(end_of_status(&status)),
        Err(_) => return Err(CallEnd::Stalled),
    };
    let wanted = grains - 1;
    let mut known = 0;
    while known < wanted {
        let message = match timeout_at(pace.deadline().into(), stream.message()).await {
            Ok(Ok(Some(message))) => message,
            // It knows only some: it fetches itself.
            Ok(Ok(None)) => return Err(CallEnd::NotHeld { piece: None }),
            Ok(Err(status)) => return Err(end_of_status(&status)),
            Err(_) => return Err(CallEnd::Stalled),
        };
        let (states, rest) = message.midstates.as_chunks::<STATE_BYTES>();
        let count = u32::try_from(states.len()).unwrap_or(u32::MAX);
        let fits = message.total_grains == grains
            && message.first_grain == known
            && rest.is_empty()
            && count <= wanted - known;
        let Some(newest) = states.last().filter(|_| fits) else {
            return Err(CallEnd::Violation);
        };
        last = *newest;
        known += count;
        pace.handle_bytes(Instant::now(), message.midstates.len() as u64);
    }
    Ok(last)
}

async fn last_grain(
    peer: &Peer,
    blob: BlobId,
    layout: &Layout,
    rule: PaceRule,
) -> Result<BytesMut, CallEnd> {
    let size = layout.content_size();
    let grain = grain_count(size) - 1;
    let len = grain_len(size, grain).unwrap_or(0);
    let piece = layout.piece_count().saturating_sub(1);
    let skip = u64::from(grain) * GRAIN - u64::from(piece) * layout.piece_size();
    let request = ReadPiecesRequest {
        content_id: blob.to_string(),
        spans: vec![PieceSpan {
            first: piece,
            count: 1,
            skip_bytes: skip,
            limit_bytes: len,
        }],
        ..ReadPiecesRequest::default()
    };
    let mut pace = Pace::new(rule, Instant::now());
    let mut stream = ask(peer, &request, &pace).await?;
    let Some(Part::Head(_)) = next_part(&mut stream, &mut pace).await? else {
        return Err(CallEnd::Violation);
    };
    let Some(Part::Header(header)) = next_part(&mut stream, &mut pace).await? else {
        return Err(CallEnd::Violation);
    };
    if (header.piece, header.offset_bytes, header.size_bytes) != (piece, skip, len) {
        return Err(CallEnd::Violation);
    }
    read_data(peer, &mut stream, &mut pace, len).await
}
