//! Telling members, through this machine's own store, what is claimed, and what pieces hash to; best effort.

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use zeroshare_chassis::Lifetime;
use zeroshare_proof::Midstates;
use zeroshare_staging::Staged;
use zeroshare_transfer::cold::PieceDigest;
use zeroshare_wire::convert::{MAX_RANGES, to_piece_ranges};
use zeroshare_wire::pb::content::v1::{PieceRange, PieceState};
use zeroshare_wire::pb::store::v1::OfferPartialRequest;

use super::super::offer::{beginning_of, keep, parts_of};
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
            member: true,
            ..beginning_of(staged)
        };
        keep(shared, tasks, first, announced);
        announcer
    }

    pub(super) fn claim(&mut self, pieces: Range<u32>) {
        self.claimed.push(pieces);
    }

    pub(super) fn state(&mut self, piece: u32, digest: PieceDigest, origin: String) {
        self.stated.entry(origin).or_default().push((piece, digest));
    }

    /// Says that all is proven, and by which midstates, so that everybody can have it before it is committed.
    pub(super) async fn prove(&mut self, midstates: Option<&Midstates>, pieces: u32) {
        let lists = midstates.into_iter().flat_map(|list| parts_of(0, list));
        let lists = lists.map(|part| OfferPartialRequest {
            midstates: Some(part),
            ..OfferPartialRequest::default()
        });
        let all = OfferPartialRequest {
            ranges: to_piece_ranges(slice::from_ref(&(0..pieces))),
            state: PieceState::Proven.into(),
            ..OfferPartialRequest::default()
        };
        for request in lists.chain([all]) {
            if self.requests.send(request).await.is_err() {
                return;
            }
        }
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
