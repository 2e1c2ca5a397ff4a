//! A feed and its key in parts.

use std::sync::Arc;

use bytes::Bytes;
use zeroshare_chassis::serve::PageBudget;
use zeroshare_wire::pb::store::v1::ReadFeedResponse;

use super::SignedFeed;
use crate::answer::Answer;
use crate::slots::Slot;
use crate::store::Store;

/// What is sent at once.
const PART_BYTES: usize = 256 * 1024;

/// Sends it; the slot is kept until the end, or until the reader is too slow.
pub(crate) fn send(
    store: &Arc<Store>,
    signed: SignedFeed,
    pages: Option<PageBudget>,
    slot: Slot,
) -> Answer<ReadFeedResponse> {
    let limiting = Arc::clone(store);
    Answer::start(store, "feed", move |teller| {
        let _slot = slot;
        let part = |part: &[u8]| {
            teller.pause(limiting.uploads.take(part.len() as u64))?;
            teller.hold(pages.as_ref(), Bytes::copy_from_slice(part))
        };
        for feed in signed.feed.chunks(PART_BYTES) {
            let feed_data = part(feed)?;
            teller.tell(ReadFeedResponse {
                feed_data,
                ..ReadFeedResponse::default()
            })?;
        }
        for key in signed.key.chunks(PART_BYTES) {
            let key_data = part(key)?;
            teller.tell(ReadFeedResponse {
                key_data,
                ..ReadFeedResponse::default()
            })?;
        }
        Ok(())
    })
}
