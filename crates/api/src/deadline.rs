//! Deadlines that end as `DEADLINE_EXCEEDED`.

use std::time::Duration;

use tonic::Status;

/// Waits for a call no longer than `limit`; dropping it cancels the call.
///
/// Unlike `Endpoint::timeout` it holds for reading a stream too, and it does not look as if somebody
/// had cancelled.
pub async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {limit:?}"
        ))),
    }
}
