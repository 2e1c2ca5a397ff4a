//! What becomes of errors on the wire.

use std::time::Duration;

use tonic::{Code, Status};
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_chassis::process::chain;
use zeroshare_content::ContentId;
use zeroshare_shelf::{CommitError, IndexError, OpenError, ReadError, ShelfError};

/// When a peer may come back that found all slots taken: a transfer of a few pieces is done by then.
const BUSY_RETRY: Duration = Duration::from_millis(100);

/// When a caller may come back that found us draining.
const RESTART_RETRY: Duration = Duration::from_secs(2);

pub(crate) fn not_found(id: &ContentId) -> Status {
    let metadata = [("contentId", id.to_string())];
    errors::status(
        Code::NotFound,
        ErrorReason::ContentNotFound,
        &metadata,
        format!("nothing of {id} is offered here"),
    )
}

pub(crate) fn piece_not_held(id: &ContentId, piece: u32) -> Status {
    let metadata = [("contentId", id.to_string()), ("piece", piece.to_string())];
    errors::status(
        Code::NotFound,
        ErrorReason::PieceNotHeld,
        &metadata,
        format!("piece {piece} of {id} is not held"),
    )
}

pub(crate) fn midstates_not_known(id: &ContentId) -> Status {
    let message = format!("these midstates of {id} are not known");
    let metadata = [("contentId", id.to_string())];
    errors::status(
        Code::NotFound,
        ErrorReason::MidstatesNotKnown,
        &metadata,
        message,
    )
}

pub(crate) fn too_many_transfers() -> Status {
    let status = errors::status(
        Code::ResourceExhausted,
        ErrorReason::TooManyTransfers,
        &[],
        "too many transfers at once",
    );
    errors::with_retry(status, BUSY_RETRY)
}

/// For peers, while nothing is shared.
pub(crate) fn paused(left: Duration) -> Status {
    let status = errors::status(
        Code::PermissionDenied,
        ErrorReason::NotAllowed,
        &[],
        "sharing is paused here",
    );
    errors::with_retry(status, left)
}

pub(crate) fn lagged() -> Status {
    errors::status(
        Code::ResourceExhausted,
        ErrorReason::WatcherLagged,
        &[],
        "too much has happened since the last change was read",
    )
}

pub(crate) fn shutting_down() -> Status {
    let status = errors::status(
        Code::Unavailable,
        ErrorReason::ShuttingDown,
        &[],
        "the store is stopping",
    );
    errors::with_retry(status, RESTART_RETRY)
}

pub(crate) fn not_allowed(who: &'static str, caller: String) -> Status {
    let message = format!("{caller} may not do this here");
    errors::status(
        Code::PermissionDenied,
        ErrorReason::NotAllowed,
        &[(who, caller)],
        message,
    )
}

pub(crate) fn open_status(id: &ContentId, error: &OpenError) -> Status {
    match error {
        OpenError::NotHeld { .. } => not_found(id),
        OpenError::NotStaging { .. } => errors::malformed("staging_name", error),
        OpenError::Manifest { source, .. } => {
            let metadata = [("contentId", id.to_string()), ("why", source.to_string())];
            errors::status(
                Code::DataLoss,
                ErrorReason::ManifestRefused,
                &metadata,
                chain(error),
            )
        }
        OpenError::Layout { .. } | OpenError::Index(_) | OpenError::Io { .. } => {
            unreadable(id, chain(error))
        }
    }
}

pub(crate) fn read_status(id: &ContentId, piece: u32, error: &ReadError) -> Status {
    match error {
        ReadError::NoSuchPiece { .. } => errors::malformed("spans", error),
        ReadError::Changed { .. } => piece_not_held(id, piece),
        ReadError::Corrupt { .. } => {
            let metadata = [("contentId", id.to_string())];
            errors::status(Code::DataLoss, ErrorReason::StoreCorrupt, &metadata, error)
        }
        ReadError::Io { .. } | ReadError::Index(_) => unreadable(id, chain(error)),
        ReadError::Stopped => Status::cancelled("nobody reads"),
    }
}

pub(crate) fn commit_status(error: &CommitError) -> Status {
    match error {
        CommitError::NotThere { .. } => errors::malformed("path", error),
        CommitError::Mismatch { path } => {
            let metadata = [("path", path.display().to_string())];
            errors::status(
                Code::FailedPrecondition,
                ErrorReason::StampMismatch,
                &metadata,
                error,
            )
        }
        CommitError::Manifest { id, source } => {
            let metadata = [("contentId", id.to_string()), ("why", source.to_string())];
            errors::status(
                Code::DataLoss,
                ErrorReason::ManifestRefused,
                &metadata,
                chain(error),
            )
        }
        CommitError::Layout { id, .. } => unreadable(id, chain(error)),
        CommitError::Index(error) => index_status(error),
    }
}

pub(crate) fn shelf_status(error: &ShelfError) -> Status {
    match error {
        ShelfError::Index(error) => index_status(error),
        ShelfError::NotHeld { id } => not_found(id),
        ShelfError::Stopped => shutting_down(),
    }
}

pub(crate) fn index_status(error: &IndexError) -> Status {
    errors::status(
        Code::Internal,
        ErrorReason::StoreUnreadable,
        &[],
        chain(error),
    )
}

fn unreadable(id: &ContentId, message: String) -> Status {
    let metadata = [("contentId", id.to_string())];
    errors::status(
        Code::Internal,
        ErrorReason::StoreUnreadable,
        &metadata,
        message,
    )
}
