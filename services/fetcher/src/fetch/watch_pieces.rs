//! Following what a partial provider gets.

use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;
use zeroshare_transfer::ProviderId;
use zeroshare_wire::convert::piece_ranges_within;
use zeroshare_wire::pb::content::v1::PieceState;
use zeroshare_wire::pb::store::v1::WatchPiecesRequest;

use super::reader::{Report, Surroundings};
use crate::peers::Peer;

/// Follows one provider until it has everything, goes away, or the fetch ends.
///
/// Between two events a provider may be silent for as long as it likes: it is watched, not waited for. Only what is linked
/// or proven counts; what a provider merely claims or states is of no use without midstates.
pub(crate) async fn watch_pieces(
    peer: Peer,
    provider: ProviderId,
    around: Surroundings,
    answer_time: Duration,
) {
    let stopping = around.tasks.stopping();
    tokio::select! {
        () = follow(&peer, provider, &around, answer_time) => {}
        () = stopping => {}
    }
}

async fn follow(peer: &Peer, provider: ProviderId, around: &Surroundings, answer_time: Duration) {
    let request = WatchPiecesRequest {
        content_id: around.content.to_string(),
    };
    let mut store = peer.store();
    let mut events = match timeout(answer_time, store.watch_pieces(request)).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(error)) => {
            debug!(peer = %peer.address, %error, "a provider does not say what it has");
            return;
        }
        Err(_) => return,
    };
    loop {
        let event = match events.message().await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(error) => {
                debug!(peer = %peer.address, %error, "a provider is not followed any more");
                return;
            }
        };
        let is_held = matches!(event.state(), PieceState::Linked | PieceState::Proven);
        let pieces = around.layout.piece_count();
        let Ok(ranges) = piece_ranges_within("ranges", &event.ranges, pieces) else {
            return;
        };
        if is_held && !ranges.is_empty() {
            let report = Report::Holding { provider, ranges };
            if around.reports.send(report).await.is_err() {
                return;
            }
        }
    }
}
