//! Telling members, through this machine's own store, what is claimed, and what pieces hash to; best effort.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{Instrument as _, debug};
use zeroshare_chassis::Lifetime;
use zeroshare_staging::Staged;
use zeroshare_transfer::cold::PieceDigest;
use zeroshare_wire::convert::{MAX_RANGES, to_piece_ranges};
use zeroshare_wire::pb::content::v1::{PieceRange, PieceState};
use zeroshare_wire::pb::store::v1::OfferPartialRequest;

use crate::shared::Shared;

/// Messages that the store did not read yet.
const QUEUE: usize = 64;

/// Pieces in one message.
const MAX_PIECES: usize = 1024;

/// An offer of a blob that is still being fetched; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Announcer {
    requests: mpsc::Sender<OfferPartialRequest>,
    claimed: Vec<Range<u32>>,
    /// By whose word they are.
    stated: BTreeMap<String, Vec<(u32, PieceDigest)>>,
}

impl Announcer {
    pub(super) fn start(
        shared: &Arc<Shared>,
        tasks: &Lifetime,
        staged: &Staged,
        is_served: bool,
    ) -> Self {
        let (requests, announced) = mpsc::channel(QUEUE);
        let announcer = Self {
            requests,
            claimed: Vec::new(),
            stated: BTreeMap::new(),
        };
        if !is_served {
            // Nobody could hear it.
            return announcer;
        }
        let first = OfferPartialRequest {
            content_id: staged.content().to_string(),
            store_root: staged.store().display().to_string(),
            staging_name: staged.name().display().to_string(),
            content_size_bytes: staged.layout().content_size(),
            member: true,
            ..OfferPartialRequest::default()
        };
        let requests = tokio_stream::once(first).chain(ReceiverStream::new(announced));
        let mut store = shared.store();
        let stopping = tasks.stopping();
        let offering = async move {
            let offered = async {
                let mut answers = store.offer_partial(requests).await?.into_inner();
                while answers.message().await?.is_some() {}
                Ok::<(), tonic::Status>(())
            };
            tokio::select! {
                result = offered => if let Err(error) = result {
                    debug!(%error, "what is fetched is not offered meanwhile");
                },
                () = stopping => {}
            }
        };
        drop(tasks.spawn("offer", offering.in_current_span()));
        announcer
    }

    pub(super) fn claim(&mut self, pieces: Range<u32>) {
        self.claimed.push(pieces);
    }

    pub(super) fn state(&mut self, piece: u32, digest: PieceDigest, origin: String) {
        self.stated.entry(origin).or_default().push((piece, digest));
    }

    /// Says what is new, if the store keeps up; else later.
    pub(super) fn flush(&mut self) {
        if self.requests.is_closed() {
            self.claimed.clear();
            self.stated.clear();
            return;
        }
        while !self.claimed.is_empty() {
            let Ok(slot) = self.requests.try_reserve() else {
                return;
            };
            let rest = self.claimed.split_off(self.claimed.len().min(MAX_RANGES));
            let claimed = std::mem::replace(&mut self.claimed, rest);
            slot.send(OfferPartialRequest {
                ranges: to_piece_ranges(&claimed),
                state: PieceState::Claimed.into(),
                ..OfferPartialRequest::default()
            });
        }
        while let Some(mut entry) = self.stated.first_entry() {
            let Ok(slot) = self.requests.try_reserve() else {
                return;
            };
            let most = entry.get().len().min(MAX_PIECES.min(MAX_RANGES));
            let rest = entry.get_mut().split_off(most);
            let pieces = std::mem::replace(entry.get_mut(), rest);
            let origin = entry.key().clone();
            if entry.get().is_empty() {
                entry.remove();
            }
            slot.send(stated(&pieces, origin));
        }
    }
}

/// One range for each piece: digests are in the order of the ranges.
fn stated(pieces: &[(u32, PieceDigest)], origin: String) -> OfferPartialRequest {
    let range = |(piece, _): &(u32, PieceDigest)| PieceRange {
        first: *piece,
        count: 1,
    };
    let digest = |(_, digest): &(u32, PieceDigest)| Bytes::copy_from_slice(digest);
    OfferPartialRequest {
        ranges: pieces.iter().map(range).collect(),
        state: PieceState::Stated.into(),
        stated_digests: pieces.iter().map(digest).collect(),
        origin_peer_id: origin,
        ..OfferPartialRequest::default()
    }
}
