//! Hashing again, because somebody asks.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;
use zeroshare_content::ContentId;
use zeroshare_shelf::{Audience, Copies, ShelfError};
use zeroshare_wire::convert::content_ids;
use zeroshare_wire::pb::store::v1::VerifyContentResponse;

use crate::answer::{Answer, Teller};
use crate::peers::malformed;
use crate::slots::Slot;
use crate::status;
use crate::store::Store;

/// Ids in one question; to ask for everything no id is needed.
const MAX_IDS: usize = 1000;

/// Ids looked up at once.
const PAGE: usize = 1000;

/// How often somebody is told how far it is.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// Settles what is meant.
pub(super) fn wanted(
    store: &Store,
    texts: &[String],
    audience: Audience,
) -> Result<Vec<ContentId>, Status> {
    if texts.is_empty() {
        return Ok(everything(store, audience));
    }
    let ids = content_ids("content_ids", texts, MAX_IDS).map_err(malformed)?;
    let held = |id: ContentId| {
        let is_held = store.shelf.holding(id, audience).is_some();
        is_held.then_some(id).ok_or_else(|| status::not_found(&id))
    };
    ids.into_iter().map(held).collect()
}

/// Hashes one thing after the other, as far as it is for these ears; stops when nobody listens any more.
pub(super) fn start(
    store: &Arc<Store>,
    ids: Vec<ContentId>,
    audience: Audience,
    slot: Slot,
) -> Answer<VerifyContentResponse> {
    let hashing = Arc::clone(store);
    Answer::start(store, "verify", move |teller| {
        let _slot = slot;
        for id in ids {
            verify(&hashing, teller, &id, audience)?;
        }
        Ok(())
    })
}

fn everything(store: &Store, audience: Audience) -> Vec<ContentId> {
    let mut ids: Vec<ContentId> = Vec::new();
    loop {
        let page = store.shelf.holdings(ids.last(), PAGE, audience);
        ids.extend(page.iter().map(|holding| holding.id));
        if page.len() < PAGE {
            return ids;
        }
    }
}

fn verify(
    store: &Store,
    teller: &Teller<VerifyContentResponse>,
    id: &ContentId,
    audience: Audience,
) -> Result<(), Status> {
    let total_bytes = store
        .shelf
        .holding(id, audience)
        .map_or(0, |holding| holding.total_bytes);
    let copies = match audience {
        Audience::Local => Copies::All,
        Audience::Peers => Copies::Shared,
    };
    let mut done_bytes = 0;
    let mut told = Instant::now();
    let message = |done_bytes: u64, faults: Option<Vec<String>>| VerifyContentResponse {
        content_id: id.to_string(),
        done_bytes,
        total_bytes: total_bytes.max(done_bytes),
        finished: faults.is_some(),
        corrupt_files: faults.unwrap_or_default(),
    };
    let outcome = store.shelf.verify(id, copies, &mut |bytes| {
        done_bytes += bytes;
        if told.elapsed() >= TELL_INTERVAL {
            told = Instant::now();
            teller.mention(message(done_bytes, None));
        }
        if teller.is_wanted() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    match outcome {
        Ok(outcome) => teller.tell(message(done_bytes, Some(outcome.faults))),
        // Gone since it was looked up: there is nothing to verify.
        Err(ShelfError::NotHeld { .. }) => Ok(()),
        Err(error) => Err(status::shelf_status(&error)),
    }
}
