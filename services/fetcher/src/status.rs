//! How calls fail: one match from each error to code, reason and metadata.

use tonic::{Code, Status};
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_content::ContentId;
use zeroshare_wire::FieldError;

use crate::fetch::FetchFailure;
use crate::registry::StartError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{0}")]
    Malformed(#[source] FieldError),
    #[error("{what}; {hint}")]
    NotAllowed {
        user: String,
        what: &'static str,
        hint: &'static str,
    },
    #[error("no fetch of {id} is known")]
    FetchNotFound { id: ContentId },
    #[error(transparent)]
    NotStarted(#[from] StartError),
    #[error("the service has too many calls at once")]
    Busy,
    #[error("the bytes are not those of {expected}")]
    DigestMismatch { expected: String, actual: String },
    #[error("the caller sends nothing")]
    Stalled,
    #[error(transparent)]
    Failed(FetchFailure),
    /// The caller's stream broke.
    #[error("{0}")]
    Stream(#[source] Status),
}

impl From<FieldError> for CallError {
    fn from(error: FieldError) -> Self {
        Self::Malformed(error)
    }
}

impl From<FetchFailure> for CallError {
    fn from(failure: FetchFailure) -> Self {
        Self::Failed(failure)
    }
}

pub(crate) fn status(error: &CallError) -> Status {
    let (code, reason, metadata) = match error {
        CallError::Malformed(field) => return errors::malformed_field(field),
        CallError::Stream(status) => return status.clone(),
        CallError::NotAllowed { user, .. } => {
            let metadata = vec![("user", user.clone())];
            (Code::PermissionDenied, ErrorReason::NotAllowed, metadata)
        }
        CallError::FetchNotFound { id } => {
            let metadata = vec![("contentId", id.to_string())];
            (Code::NotFound, ErrorReason::FetchNotFound, metadata)
        }
        CallError::NotStarted(StartError::Other { id, .. }) => {
            let metadata = vec![("contentId", id.to_string())];
            (Code::FailedPrecondition, ErrorReason::InUse, metadata)
        }
        CallError::NotStarted(StartError::TooManyFetches | StartError::TooManyClients)
        | CallError::Busy => (
            Code::ResourceExhausted,
            ErrorReason::TooManyTransfers,
            Vec::new(),
        ),
        CallError::DigestMismatch { expected, actual } => {
            let metadata = vec![("expected", expected.clone()), ("actual", actual.clone())];
            (Code::InvalidArgument, ErrorReason::DigestMismatch, metadata)
        }
        CallError::Stalled => return Status::deadline_exceeded(error.to_string()),
        CallError::Failed(failure) => (code_of(failure), failure.reason(), failure.metadata()),
    };
    errors::status(code, reason, &metadata, error)
}

fn code_of(failure: &FetchFailure) -> Code {
    match failure {
        FetchFailure::NoProviders { .. } => Code::NotFound,
        FetchFailure::ProvidersExhausted { .. }
        | FetchFailure::Upstream { .. }
        | FetchFailure::Stopping => Code::Unavailable,
        FetchFailure::ManifestRefused { .. } => Code::DataLoss,
        FetchFailure::NoSpace { .. } => Code::ResourceExhausted,
        FetchFailure::TooLarge { .. }
        | FetchFailure::TargetExists { .. }
        | FetchFailure::BadTarget { .. }
        | FetchFailure::InUse { .. } => Code::FailedPrecondition,
        FetchFailure::Disk { .. } => Code::Internal,
        FetchFailure::Cancelled => Code::Cancelled,
    }
}
