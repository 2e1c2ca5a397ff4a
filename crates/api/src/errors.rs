//! How our services fail: each status carries exactly one `google.rpc.ErrorInfo` with a reason of
//! `zeroshare.errors.v1`.

use std::{collections::BTreeMap, fmt::Display, mem, time::Duration};

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, RetryInfo, StatusExt as _, pb};
pub use zeroshare_wire::pb::errors::v1::ErrorReason;
use zeroshare_wire::{FieldError, convert::optional_duration};

/// The domain of our reasons.
pub const DOMAIN: &str = "zeroshare";

const PREFIX: &str = "ERROR_REASON_";

/// Fails a call with a reason; `metadata` as `errors.proto` names it.
pub fn status(
    code: Code,
    reason: ErrorReason,
    metadata: &[(&str, String)],
    message: impl Display,
) -> Status {
    let details = error_info(reason, metadata);
    Status::with_error_details(code, message.to_string(), details)
}

/// Fails a call because a field of its request is malformed.
pub fn malformed(field: &str, why: impl Display) -> Status {
    let mut details = error_info(ErrorReason::MalformedRequest, &[]);
    details.add_bad_request_violation(field, why.to_string());
    let message = format!("{field}: {why}");
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Fails a call because a field of its request was refused by the border.
pub fn malformed_field(error: &FieldError) -> Status {
    malformed(error.field, &error.fault)
}

/// Adds when the caller may come back.
pub fn with_retry(mut status: Status, after: Duration) -> Status {
    let mut details = status.get_error_details();
    details.set_retry_info(Some(after));
    let (code, message) = (status.code(), status.message().to_owned());
    let metadata = mem::take(status.metadata_mut());
    Status::with_error_details_and_metadata(code, message, details, metadata)
}

/// Why a call failed; `None` when one of our services did not say so, or one newer than this.
pub fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    ErrorReason::from_str_name(&format!("{PREFIX}{}", info.reason))
        .filter(|&reason| reason != ErrorReason::Unspecified)
}

/// What the reason is about; empty when nothing was said.
pub fn metadata(status: &Status) -> BTreeMap<String, String> {
    status
        .get_details_error_info()
        .filter(|info| info.domain == DOMAIN)
        .map(|info| info.metadata.into_iter().collect())
        .unwrap_or_default()
}

/// When the caller may come back, as the service asks; the caller bounds it. What is no duration from 0 up is no wish.
pub fn retry_after(status: &Status) -> Option<Duration> {
    // By hand: the conversion of tonic-types overflows on the least number of seconds.
    let details = pb::Status::decode(status.details()).ok()?.details;
    let detail = details
        .into_iter()
        .find(|detail| detail.type_url == RetryInfo::TYPE_URL)?;
    let delay = pb::RetryInfo::decode(detail.value.as_slice())
        .ok()?
        .retry_delay;
    optional_duration("retry_delay", delay.as_ref(), Duration::MAX).ok()?
}

/// A reason as it travels: without its prefix.
pub fn reason_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn error_info(reason: ErrorReason, metadata: &[(&str, String)]) -> ErrorDetails {
    let metadata = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect::<std::collections::HashMap<_, _>>();
    ErrorDetails::with_error_info(reason_name(reason), DOMAIN, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_wire() {
        let sent = status(
            Code::NotFound,
            ErrorReason::PieceNotHeld,
            &[
                ("contentId", "blob:x".to_owned()),
                ("piece", "7".to_owned()),
            ],
            "no piece 7",
        );
        let sent = sent.into_http::<tonic::body::Body>();
        let received = Status::from_header_map(sent.headers()).unwrap();
        assert_eq!(received.code(), Code::NotFound);
        assert_eq!(reason(&received), Some(ErrorReason::PieceNotHeld));
        assert_eq!(metadata(&received)["piece"], "7");
        assert_eq!(retry_after(&received), None);
    }

    #[test]
    fn a_retry_hint_keeps_the_reason() {
        let busy = status(
            Code::ResourceExhausted,
            ErrorReason::TooManyTransfers,
            &[],
            "busy",
        );
        let busy = with_retry(busy, Duration::from_millis(250));
        assert_eq!(busy.code(), Code::ResourceExhausted);
        assert_eq!(busy.message(), "busy");
        assert_eq!(reason(&busy), Some(ErrorReason::TooManyTransfers));
        assert_eq!(retry_after(&busy), Some(Duration::from_millis(250)));
    }

    /// What a peer may send, whatever our own side would make.
    fn asking_for(seconds: i64, nanos: i32) -> Status {
        let retry_delay = Some(prost_types::Duration { seconds, nanos });
        let detail = prost_types::Any {
            type_url: RetryInfo::TYPE_URL.to_owned(),
            value: pb::RetryInfo { retry_delay }.encode_to_vec(),
        };
        let sent = pb::Status {
            details: vec![detail],
            ..pb::Status::default()
        };
        Status::with_details(Code::ResourceExhausted, "busy", sent.encode_to_vec().into())
    }

    #[test]
    fn a_retry_hint_that_is_no_duration_is_none() {
        for (seconds, nanos) in [
            (i64::MIN, i32::MIN),
            (i64::MIN, 0),
            (i64::MAX, i32::MAX),
            (-1, 0),
            (0, -1),
            (0, 1_000_000_000),
        ] {
            assert_eq!(retry_after(&asking_for(seconds, nanos)), None);
        }
        let second = Some(Duration::from_secs(1));
        assert_eq!(retry_after(&asking_for(1, 0)), second);
    }

    #[test]
    fn a_malformed_field_is_named() {
        let status = malformed("content_ids", "at most 256");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason(&status), Some(ErrorReason::MalformedRequest));
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "content_ids");
        assert_eq!(violations[0].description, "at most 256");
    }

    #[test]
    fn a_status_of_somebody_else_has_no_reason() {
        assert_eq!(reason(&Status::unavailable("gone")), None);
        let details = ErrorDetails::with_error_info("NO_SPACE", "elsewhere", []);
        let foreign = Status::with_error_details(Code::Internal, "no", details);
        assert_eq!(reason(&foreign), None);
        assert!(metadata(&foreign).is_empty());
    }

    #[test]
    fn every_reason_is_read_as_it_was_written() {
        for number in 1.. {
            let Ok(sent) = ErrorReason::try_from(number) else {
                assert!(number > 20, "reasons are numbered without gaps");
                break;
            };
            let status = status(Code::Internal, sent, &[], "x");
            assert_eq!(reason(&status), Some(sent));
        }
    }
}
