//! Bytes of files that are not here yet: the fetcher brings them, and the rest of the tree after them.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};
use tracing::debug;
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_content::TreeId;
use zeroshare_wire::pb::fetcher::v1::ReadRangeRequest;

use crate::shared::Shared;

/// The fetcher says each moment that something comes; one that is silent for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// A fetcher that went away may come back for so long.
const ABSENCE: Duration = Duration::from_secs(10);

/// Before it is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Why bytes cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFault {
    #[error("{}", .0.message())]
    Fetch(#[source] Status),
    #[error("the fetcher gave nothing for {SILENCE:?}")]
    Silent,
    #[error("the file is shorter than its manifest says")]
    Short,
}

/// Which bytes of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) line: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Reads exactly these bytes, which must lie in the file, once they are proven.
pub(crate) async fn read(shared: &Shared, id: TreeId, range: Range) -> Result<Vec<u8>, ReadFault> {
    let patience = Instant::now() + ABSENCE;
    loop {
        match read_once(shared, id, range).await {
            Err(ReadFault::Fetch(status)) if is_away(&status) && Instant::now() < patience => {
                debug!(%id, why = status.message(), "the fetcher does not answer");
                sleep(PAUSE).await;
            }
            end => return end,
        }
    }
}

async fn read_once(shared: &Shared, id: TreeId, range: Range) -> Result<Vec<u8>, ReadFault> {
    let request = ReadRangeRequest {
        content_ids: vec![id.to_string()],
        file: range.line,
        offset_bytes: range.offset,
        length_bytes: range.len,
        from: shared.config.from.clone(),
        client: shared.client.clone(),
        locate_timeout: None,
    };
    let mut fetcher = shared.fetcher();
    let asked = timeout(SILENCE, fetcher.read_range(request)).await;
    let asked = asked.map_err(|_| ReadFault::Silent)?;
    let mut parts = asked.map_err(ReadFault::Fetch)?.into_inner();
    let len = usize::try_from(range.len).map_err(|_| ReadFault::Short)?;
    let mut bytes = Vec::new();
    loop {
        let part = timeout(SILENCE, parts.message()).await;
        let part = part.map_err(|_| ReadFault::Silent)?;
        match part.map_err(ReadFault::Fetch)? {
            Some(part) if bytes.len() + part.data.len() <= len => {
                bytes.extend_from_slice(&part.data);
            }
            None if bytes.len() == len => return Ok(bytes),
            Some(_) | None => return Err(ReadFault::Short),
        }
    }
}

/// Whether the fetcher is gone or about to go, rather than says that the bytes cannot be had.
fn is_away(status: &Status) -> bool {
    match errors::reason(status) {
        // It says so too of what was cancelled, by another code.
        Some(reason) => reason == ErrorReason::ShuttingDown && status.code() == Code::Unavailable,
        // A connection that is lost in the middle of an answer is any of these.
        None => matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Internal
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_killed_in_the_middle_may_come_back_and_who_says_no_is_believed() {
        let unsaid = |code| Status::new(code, "the connection is lost");
        for code in [Code::Unavailable, Code::Unknown, Code::Internal] {
            assert!(is_away(&unsaid(code)), "{code:?}");
        }
        assert!(!is_away(&unsaid(Code::DeadlineExceeded)));
        let said = |code, reason| errors::status(code, reason, &[], "no");
        assert!(is_away(&said(Code::Unavailable, ErrorReason::ShuttingDown)));
        assert!(!is_away(&said(
            Code::Unavailable,
            ErrorReason::ProvidersExhausted
        )));
        assert!(!is_away(&said(Code::Cancelled, ErrorReason::ShuttingDown)));
        assert!(!is_away(&said(Code::NotFound, ErrorReason::NoProviders)));
    }
}
