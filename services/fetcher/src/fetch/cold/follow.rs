//! Following what a peer claims, states and has.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;
use zeroshare_api::errors::{ErrorReason, reason};
use zeroshare_transfer::cold::{ColdStart, MemberId, PieceDigest};
use zeroshare_wire::convert::piece_ranges_within;
use zeroshare_wire::pb::content::v1::PieceState;
use zeroshare_wire::pb::store::v1::{WatchPiecesRequest, WatchPiecesResponse};

use super::{Report, Surroundings};
use crate::peers::Peer;

/// Times that a peer is followed anew, having been lost: each time it says everything again.
const MAX_TRIES: u32 = 5;

/// Until a peer is asked again that holds nothing any more: it may just have committed, and its store be told of it now.
const COMMITS: Duration = Duration::from_millis(300);

/// What a peer says of pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Claimed(Range<u32>),
    /// It read the piece from upstream itself.
    Stated(u32, PieceDigest),
    /// It can give them; whether it stands by them.
    Held(Range<u32>, bool),
    /// All that it had when it was first followed was said.
    Known,
}

impl Word {
    pub(super) fn tell(self, machine: &mut ColdStart, now: Instant, member: MemberId) {
        match self {
            Self::Claimed(pieces) => machine.handle_claimed(now, member, pieces),
            Self::Stated(piece, digest) => machine.handle_stated(now, member, piece, digest),
            Self::Held(pieces, proven) => machine.handle_held(member, pieces, proven),
            Self::Known => machine.handle_known(member),
        }
    }
}

/// Follows a peer until it has nothing more to say, is lost, or the fetch ends.
pub(super) async fn follow(
    peer: Peer,
    member: MemberId,
    around: Arc<Surroundings>,
    reports: mpsc::Sender<Report>,
) {
    let stopping = around.tasks.stopping();
    let following = async {
        for _ in 0..MAX_TRIES {
            match follow_once(&peer, member, &around, &reports).await {
                End::Complete => return,
                End::Behind => {}
                End::NotHeld => tokio::time::sleep(COMMITS).await,
                End::Lost => break,
            }
        }
        drop(reports.send(Report::Gone { member }).await);
    };
    tokio::select! {
        () = following => {}
        () = stopping => {}
    }
}

enum End {
    /// It has everything.
    Complete,
    /// It said more than was listened to.
    Behind,
    /// It holds nothing of it now.
    NotHeld,
    Lost,
}

impl End {
    fn of_error(error: &tonic::Status) -> Self {
        match reason(error) {
            Some(ErrorReason::WatcherLagged) => Self::Behind,
            Some(ErrorReason::ContentNotFound) => Self::NotHeld,
            Some(_) | None => Self::Lost,
        }
    }
}

async fn follow_once(
    peer: &Peer,
    member: MemberId,
    around: &Surroundings,
    reports: &mpsc::Sender<Report>,
) -> End {
    let request = WatchPiecesRequest {
        content_id: around.blob.to_string(),
    };
    let answer_time = around.shared.config.patience.starved;
    // Of its own, where no piece stands in the way of a claim.
    let Ok(Ok(mut store)) = timeout(answer_time, peer.control()).await else {
        return End::Lost;
    };
    let mut events = match timeout(answer_time, store.watch_pieces(request)).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(error)) => {
            debug!(peer = %peer.address, %error, "a peer does not say what it has");
            return End::of_error(&error);
        }
        Err(_) => return End::Lost,
    };
    let pieces = around.staged.layout().piece_count();
    let mut is_complete = false;
    loop {
        let event = match events.message().await {
            Ok(Some(event)) => event,
            Ok(None) if is_complete => return End::Complete,
            Ok(None) => return End::Lost,
            Err(error) => {
                debug!(peer = %peer.address, %error, "a peer is not followed any more");
                return End::of_error(&error);
            }
        };
        let Some(words) = words_of(&event, &peer.candidate.peer_id, pieces) else {
            debug!(peer = %peer.address, "a peer says what makes no sense of its pieces");
            return End::Lost;
        };
        is_complete |= words.contains(&Word::Held(0..pieces, true));
        if reports.send(Report::Told { member, words }).await.is_err() {
            return End::Complete;
        }
    }
}

/// Reads one event; `None` if it makes no sense.
fn words_of(event: &WatchPiecesResponse, peer_id: &str, pieces: u32) -> Option<Vec<Word>> {
    let ranges = piece_ranges_within("ranges", &event.ranges, pieces).ok()?;
    let mut words = Vec::new();
    match event.state() {
        PieceState::Claimed => words.extend(ranges.into_iter().map(Word::Claimed)),
        PieceState::Linked | PieceState::Proven => {
            words.extend(ranges.into_iter().map(|range| Word::Held(range, true)));
        }
        PieceState::Stated if !peer_id.is_empty() && event.origin_peer_id == peer_id => {
            let numbers = event
                .ranges
                .iter()
                .flat_map(|range| range.first..range.first.saturating_add(range.count));
            let mut digests = event.stated_digests.iter();
            for number in numbers {
                let digest = digests.next()?.as_ref().try_into().ok()?;
                words.push(Word::Stated(number, digest));
            }
        }
        PieceState::Stated => {
            words.extend(ranges.into_iter().map(|range| Word::Held(range, false)));
        }
        PieceState::Unspecified => {}
    }
    if event.snapshot_done {
        words.push(Word::Known);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zeroshare_wire::pb::content::v1::PieceRange;

    use super::*;

    #[test]
    fn a_statement_counts_on_its_origins_own_connection_only() {
        let event = |origin: &str, digests: usize| WatchPiecesResponse {
            ranges: vec![
                PieceRange { first: 7, count: 1 },
                PieceRange { first: 3, count: 2 },
            ],
            state: PieceState::Stated.into(),
            stated_digests: (0..digests).map(|_| Bytes::from(vec![1; 32])).collect(),
            origin_peer_id: origin.to_owned(),
            ..WatchPiecesResponse::default()
        };
        let digest = [1; 32];
        let own = [
            Word::Stated(7, digest),
            Word::Stated(3, digest),
            Word::Stated(4, digest),
        ];
        assert_eq!(words_of(&event("me", 3), "me", 10).unwrap(), own);
        let passed_on = [Word::Held(3..5, false), Word::Held(7..8, false)];
        assert_eq!(words_of(&event("other", 3), "me", 10).unwrap(), passed_on);
        assert_eq!(words_of(&event("", 3), "", 10).unwrap(), passed_on);
        assert_eq!(words_of(&event("me", 2), "me", 10), None);
        assert_eq!(words_of(&event("me", 3), "me", 5), None);
    }
}
