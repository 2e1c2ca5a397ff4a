//! Following what a partial provider gets.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::debug;
use zeroshare_transfer::ProviderId;
use zeroshare_wire::convert::piece_ranges_within;
use zeroshare_wire::pb::content::v1::PieceState;
use zeroshare_wire::pb::store::v1::{WatchPiecesRequest, WatchPiecesResponse};

use super::reader::{Report, Surroundings};
use crate::peers::Peer;

/// Rests before a stream that ended is opened again: the first, doubled each time up to the last.
const RESTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Streams in a row that said nothing at all.
const MAX_SILENT: u32 = 10;

/// Follows one provider until it has everything, is gone, or the fetch ends.
///
/// Between two events a provider may be silent for as long as it likes: it is watched, not waited for. Only what is linked
/// or proven can be had; what is claimed is about to be, and anything else is wanted first. It goes over a connection of its
/// own, where no piece stands in the way.
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
    let watch = Watch {
        peer,
        provider,
        around,
        answer_time,
    };
    let (mut rest, longest) = RESTS;
    let mut silent = 0;
    loop {
        match watch.once().await {
            End::All | End::NobodyListens => return,
            End::Said => (rest, silent) = (RESTS.0, 0),
            End::Silent => silent += 1,
        }
        if silent >= MAX_SILENT {
            debug!(peer = %peer.address, "a provider is not followed any more");
            return;
        }
        sleep(rest).await;
        rest = (rest * 2).min(longest);
    }
}

/// How one stream ended.
enum End {
    /// The provider has everything.
    All,
    /// It said something, and may go on.
    Said,
    /// It said nothing.
    Silent,
    /// The fetch is over.
    NobodyListens,
}

struct Watch<'a> {
    peer: &'a Peer,
    provider: ProviderId,
    around: &'a Surroundings,
    answer_time: Duration,
}

impl Watch<'_> {
    async fn once(&self) -> End {
        let request = WatchPiecesRequest {
            content_id: self.around.content.to_string(),
        };
        let opening = async {
            let mut store = self.peer.control().await.ok()?;
            match store.watch_pieces(request).await {
                Ok(response) => Some(response.into_inner()),
                Err(error) => {
                    debug!(peer = %self.peer.address, %error, "a provider does not say what it has");
                    None
                }
            }
        };
        let Ok(Some(mut events)) = timeout(self.answer_time, opening).await else {
            return End::Silent;
        };
        let mut end = End::Silent;
        loop {
            let event = match events.message().await {
                Ok(Some(event)) => event,
                Ok(None) => return end,
                Err(error) => {
                    debug!(peer = %self.peer.address, %error, "a provider stopped saying what it gets");
                    return end;
                }
            };
            match self.tell(&event).await {
                Some(End::Said) => end = End::Said,
                Some(other) => return other,
                None => {}
            }
        }
    }

    /// Tells the fetch; `None` if there was nothing in it.
    async fn tell(&self, event: &WatchPiecesResponse) -> Option<End> {
        let pieces = self.around.layout.piece_count();
        let ranges = piece_ranges_within("ranges", &event.ranges, pieces).unwrap_or_default();
        if ranges.is_empty() {
            return None;
        }
        let provider = self.provider;
        let has_all = ranges.first() == Some(&(0..pieces));
        let report = match event.state() {
            PieceState::Linked | PieceState::Proven => Report::Holding { provider, ranges },
            PieceState::Claimed => Report::Claimed { provider, ranges },
            PieceState::Stated | PieceState::Unspecified => return None,
        };
        let is_all = has_all && matches!(report, Report::Holding { .. });
        if self.around.reports.send(report).await.is_err() {
            return Some(End::NobodyListens);
        }
        Some(if is_all { End::All } else { End::Said })
    }
}
