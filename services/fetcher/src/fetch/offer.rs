//! Offering what is proven already through this machine's own store; best effort.

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{Instrument as _, debug};
use zeroshare_chassis::Lifetime;
use zeroshare_staging::Staged;
use zeroshare_wire::convert::{MAX_RANGES, to_piece_ranges};
use zeroshare_wire::pb::content::v1::PieceState;
use zeroshare_wire::pb::store::v1::OfferPartialRequest;

use crate::shared::Shared;

/// Announcements that the store did not read yet; when it is full, the next tick tries again.
const QUEUE: usize = 4;

/// An offer of something that is still being fetched; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Offer {
    ranges: mpsc::Sender<Vec<Range<u32>>>,
    /// Proven, and not announced yet.
    fresh: Vec<Range<u32>>,
}

impl Offer {
    /// Begins with what is proven by now.
    pub(crate) fn start(shared: &Arc<Shared>, tasks: &Lifetime, staged: &Staged) -> Self {
        let (ranges, announced) = mpsc::channel::<Vec<Range<u32>>>(QUEUE);
        let first = OfferPartialRequest {
            content_id: staged.content().to_string(),
            store_root: staged.store().display().to_string(),
            staging_name: staged.name().display().to_string(),
            content_size_bytes: staged.layout().content_size(),
            state: PieceState::Proven.into(),
            ..OfferPartialRequest::default()
        };
        let later = ReceiverStream::new(announced).map(|ranges| OfferPartialRequest {
            ranges: to_piece_ranges(&ranges),
            state: PieceState::Proven.into(),
            ..OfferPartialRequest::default()
        });
        let requests = tokio_stream::once(first).chain(later);
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
        let layout = staged.layout();
        let proven = (0..layout.piece_count()).filter(|piece| is_proven(staged, *piece));
        let fresh = proven.map(|piece| piece..piece + 1).collect();
        Self { ranges, fresh }
    }

    /// Takes note of a piece all of which is proven.
    pub(crate) fn add(&mut self, piece: u32) {
        self.fresh.push(piece..piece + 1);
    }

    /// Announces what is new, if the store keeps up.
    pub(crate) fn announce(&mut self) {
        if self.fresh.is_empty() || self.ranges.is_closed() {
            self.fresh.clear();
            return;
        }
        let Ok(slot) = self.ranges.try_reserve() else {
            return;
        };
        let mut ranges = zeroshare_wire::convert::merge_ranges(std::mem::take(&mut self.fresh));
        self.fresh = ranges.split_off(ranges.len().min(MAX_RANGES));
        slot.send(ranges);
    }
}

/// Whether every byte of a piece is proven, slices included.
pub(crate) fn is_proven(staged: &Staged, piece: u32) -> bool {
    use zeroshare_content::Piece;
    match staged.layout().piece(piece) {
        Some(Piece::Run { mut items }) => items.all(|item| staged.is_proven(item)),
        Some(Piece::Slice { item, .. }) => staged.is_proven(item),
        None => false,
    }
}
