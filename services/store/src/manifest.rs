//! Manifests in parts.

use bytes::Bytes;
use tokio_stream::{Stream, iter};
use tonic::Status;
use zeroshare_shelf::PART_BYTES;
use zeroshare_wire::pb::store::v1::ReadManifestResponse;

use crate::slots::Slot;
use crate::store::Source;

/// Gives the manifest's text part by part, as it is read; the slot is kept until its end.
pub(crate) fn parts(
    source: Source,
    slot: Slot,
) -> impl Stream<Item = Result<ReadManifestResponse, Status>> + Send {
    let length = source.pieces().manifest().text().len();
    // An empty tree's manifest is one empty part, so that a reader sees that there is one.
    let starts = (0..length.max(1)).step_by(PART_BYTES);
    iter(starts.map(move |start| {
        let _slot = &slot;
        let text = source.pieces().manifest().text();
        let end = (start + PART_BYTES).min(text.len());
        let data = Bytes::copy_from_slice(text.get(start..end).unwrap_or_default());
        Ok(ReadManifestResponse { data })
    }))
}
