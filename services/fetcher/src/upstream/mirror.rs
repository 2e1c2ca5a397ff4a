//! One URL, and what its server can do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED,
    RANGE,
};
use http::{Method, StatusCode};

use super::client::{Answer, Client};
use super::{UpstreamError, UpstreamUrl};

/// Failures that say: never again.
const DEAD: u32 = u32::MAX;

/// One URL, and what its server can do.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) url: UpstreamUrl,
    /// What it says that there is, in bytes.
    pub(crate) size: u64,
    /// Whether it gives parts.
    pub(crate) has_ranges: bool,
    /// What names this very version of it, if anything does.
    pub(super) version: Option<HeaderValue>,
    /// Where it was redirected to last.
    place: Mutex<UpstreamUrl>,
    failures: AtomicU32,
}

impl Mirror {
    /// Asks for the head, and where a server does not give it, for the first byte.
    pub(super) async fn probe(client: &Client, url: &UpstreamUrl) -> Result<Self, UpstreamError> {
        let head = client.send(&Method::HEAD, url, &HeaderMap::new()).await?;
        let status = head.response.status();
        let size = content_length(head.response.headers());
        if let (StatusCode::OK, Some(size)) = (status, size) {
            let ranges = head.response.headers().get(ACCEPT_RANGES);
            let has_ranges =
                ranges.is_some_and(|unit| unit.as_bytes().eq_ignore_ascii_case(b"bytes"));
            return Ok(Self::new(url, &head, size, has_ranges));
        }
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Err(UpstreamError::Status {
                url: head.url,
                status,
            });
        }
        Self::probe_by_reading(client, url).await
    }

    async fn probe_by_reading(client: &Client, url: &UpstreamUrl) -> Result<Self, UpstreamError> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        // The body is left alone: of a whole answer only what was on its way comes.
        let answer = client.send(&Method::GET, url, &headers).await?;
        let (status, headers) = (answer.response.status(), answer.response.headers());
        let size = match status {
            StatusCode::PARTIAL_CONTENT => content_range(headers).map(|(_, _, size)| size),
            StatusCode::OK => content_length(headers),
            _ => {
                return Err(UpstreamError::Status {
                    url: answer.url,
                    status,
                });
            }
        };
        let Some(size) = size else {
            return Err(UpstreamError::NoSize { url: answer.url });
        };
        Ok(Self::new(
            url,
            &answer,
            size,
            status == StatusCode::PARTIAL_CONTENT,
        ))
    }

    fn new(url: &UpstreamUrl, answer: &Answer, size: u64, has_ranges: bool) -> Self {
        Self {
            url: url.clone(),
            size,
            has_ranges,
            version: version(answer.response.headers()),
            place: Mutex::new(answer.url.clone()),
            failures: AtomicU32::new(0),
        }
    }

    /// Where to ask: where it was redirected to before.
    pub(super) fn place(&self) -> UpstreamUrl {
        self.place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes where it was redirected to.
    pub(super) fn moved(&self, place: UpstreamUrl) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.failures() == DEAD
    }

    pub(super) fn kill(&self) {
        self.failures.store(DEAD, Ordering::Relaxed);
    }

    /// Takes in that it failed: it is asked later than others, or never again.
    pub(crate) fn failed(&self, error: &UpstreamError) {
        // Links that were given out by a redirect may have expired.
        self.moved(self.url.clone());
        if error.is_final() {
            self.kill();
        } else if !self.is_dead() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// First and last byte, and size of the whole.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((
        first.trim().parse().ok()?,
        last.trim().parse().ok()?,
        size.trim().parse().ok()?,
    ))
}

/// A strong tag, else the time of the last change.
fn version(headers: &HeaderMap) -> Option<HeaderValue> {
    let tag = headers
        .get(ETAG)
        .filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    tag.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}
