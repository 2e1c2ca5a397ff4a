//! Manifests in parts.

use std::sync::Arc;

use bytes::Bytes;
use zeroshare_chassis::serve::PageBudget;
use zeroshare_wire::pb::store::v1::ReadManifestResponse;

use crate::answer::Answer;
use crate::slots::Slot;
use crate::store::{Source, Store};

/// What is sent at once.
const PART_BYTES: usize = 256 * 1024;

/// Sends the manifest's text part by part; the slot is kept until its end, or until the reader is too slow.
pub(crate) fn send(
    store: &Arc<Store>,
    source: Source,
    pages: Option<PageBudget>,
    slot: Slot,
) -> Answer<ReadManifestResponse> {
    let limiting = Arc::clone(store);
    Answer::start(store, "manifest", move |teller| {
        let _slot = slot;
        let text = source.pieces().manifest_text();
        // An empty tree's manifest is one empty part, so that a reader sees that there is one.
        for start in (0..text.len().max(1)).step_by(PART_BYTES) {
            let end = (start + PART_BYTES).min(text.len());
            let part = text.get(start..end).unwrap_or_default();
            teller.pause(limiting.uploads.take(part.len() as u64))?;
            let data = teller.hold(pages.as_ref(), Bytes::copy_from_slice(part))?;
            teller.tell(ReadManifestResponse { data })?;
        }
        Ok(())
    })
}
