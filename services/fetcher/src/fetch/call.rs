//! What all calls to peers have in common.

use std::time::Instant;

use bytes::BytesMut;
use tokio::time::timeout_at;
use tonic::{Code, Status};
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_transfer::{CallEnd, Pace};
use zeroshare_wire::pb::store::v1::ReadPiecesRequest;

use crate::peers::Peer;
use zeroshare_api::parts::{Part, PartStream};

/// Waits for the next part of an answer, within what the pace allows; `None` is its end. May be dropped midway.
///
/// A message without a part counts as nothing, and is not waited for twice as long.
pub(crate) async fn next_part(
    stream: &mut PartStream,
    pace: &mut Pace,
) -> Result<Option<Part>, CallEnd> {
    let part = match timeout_at(pace.deadline().into(), stream.next()).await {
        Ok(Ok(Some(part))) => part,
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(status)) => return Err(end_of_status(&status)),
        Err(_) => return Err(CallEnd::Stalled),
    };
    if let Part::Data(data) | Part::ManifestData(data) = &part {
        pace.handle_bytes(Instant::now(), data.len() as u64);
    }
    Ok(Some(part))
}

/// Reads exactly `len` bytes of data, at most a grain: they are kept in memory. May be dropped midway.
pub(crate) async fn read_data(
    peer: &Peer,
    stream: &mut PartStream,
    pace: &mut Pace,
    len: u64,
) -> Result<BytesMut, CallEnd> {
    let mut bytes = BytesMut::new();
    while (bytes.len() as u64) < len {
        match next_part(stream, pace).await? {
            Some(Part::Data(data)) if (bytes.len() + data.len()) as u64 <= len => {
                peer.meter.add(data.len() as u64);
                bytes.extend_from_slice(&data);
            }
            Some(_) => return Err(CallEnd::Violation),
            None => return Err(CallEnd::Lost),
        }
    }
    Ok(bytes)
}

/// Asks, and waits until the answer begins, within what the pace allows; an error of nothing is that. May be dropped midway.
pub(crate) async fn open_parts(
    peer: &Peer,
    request: &ReadPiecesRequest,
    pace: &Pace,
) -> Result<PartStream, Option<Status>> {
    let asking = PartStream::open(peer.channel(), request);
    match timeout_at(pace.deadline().into(), asking).await {
        Ok(answer) => answer.map_err(Some),
        Err(_) => Err(None),
    }
}

/// As [`open_parts`], where only what it means for the provider counts. May be dropped midway.
pub(crate) async fn ask(
    peer: &Peer,
    request: &ReadPiecesRequest,
    pace: &Pace,
) -> Result<PartStream, CallEnd> {
    let opened = open_parts(peer, request, pace).await;
    opened.map_err(|status| status.map_or(CallEnd::Stalled, |status| end_of_status(&status)))
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
