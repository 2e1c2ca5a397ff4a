//! What all calls to peers have in common.

use std::time::Instant;

use tokio::time::timeout_at;
use tonic::{Code, Status, Streaming};
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_transfer::{CallEnd, Pace};
use zeroshare_wire::pb::store::v1::ReadPiecesResponse;
use zeroshare_wire::pb::store::v1::read_pieces_response::Part;

/// Waits for the next part of an answer, within what the pace allows; `None` is its end.
///
/// A message without a part counts as nothing, and is not waited for twice as long. Also says how many bytes came.
pub(crate) async fn next_part(
    stream: &mut Streaming<ReadPiecesResponse>,
    pace: &mut Pace,
) -> Result<(Option<Part>, u64), CallEnd> {
    loop {
        let message = match timeout_at(pace.deadline().into(), stream.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Ok((None, 0)),
            Ok(Err(status)) => return Err(end_of_status(&status)),
            Err(_) => return Err(CallEnd::Stalled),
        };
        let Some(part) = message.part else { continue };
        let bytes = match &part {
            Part::Data(data) | Part::ManifestData(data) => data.len() as u64,
            Part::Head(_) | Part::Header(_) => 0,
        };
        pace.handle_bytes(Instant::now(), bytes);
        return Ok((Some(part), bytes));
    }
}

/// What a failed call means for the provider.
pub(crate) fn end_of_status(status: &Status) -> CallEnd {
    match errors::reason(status) {
        Some(ErrorReason::TooManyTransfers) => CallEnd::Busy {
            retry_after: errors::retry_after(status),
        },
        Some(ErrorReason::ContentNotFound) => CallEnd::NotHeld { piece: None },
        Some(ErrorReason::PieceNotHeld) => {
            let piece = errors::metadata(status)
                .get("piece")
                .and_then(|text| text.parse().ok());
            // Which one it was is not said: its word about pieces is worth nothing.
            piece.map_or(CallEnd::Violation, |piece| CallEnd::NotHeld {
                piece: Some(piece),
            })
        }
        Some(ErrorReason::StoreCorrupt) => CallEnd::Corrupt,
        Some(ErrorReason::NotAllowed) => CallEnd::Refused,
        // We asked by the layout that the content has.
        Some(ErrorReason::MalformedRequest) => CallEnd::Violation,
        _ => end_of_code(status.code()),
    }
}

fn end_of_code(code: Code) -> CallEnd {
    match code {
        Code::NotFound => CallEnd::NotHeld { piece: None },
        Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => CallEnd::Refused,
        Code::ResourceExhausted => CallEnd::Busy { retry_after: None },
        // A message larger than any that the protocol has.
        Code::OutOfRange => CallEnd::Violation,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => CallEnd::Lost,
    }
}
