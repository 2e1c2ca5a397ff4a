//! The bytes of one range.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, IF_RANGE, RANGE};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout_at;
use zeroshare_chassis::rate::Throttle;
use zeroshare_transfer::Pace;

use super::client::{Answer, Client};
use super::mirror::{Mirror, content_length, content_range};
use super::{UpstreamError, UpstreamUrl};

/// A range that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    mirror: Arc<Mirror>,
    url: UpstreamUrl,
    body: Incoming,
    left: u64,
    pace: Pace,
    throttle: Arc<Throttle>,
}

impl Reading {
    pub(super) async fn open(
        client: &Client,
        mirror: Arc<Mirror>,
        range: Range<u64>,
        throttle: Arc<Throttle>,
    ) -> Result<Self, UpstreamError> {
        let is_whole = range == (0..mirror.size);
        let headers = if is_whole {
            HeaderMap::new()
        } else {
            part_of(&mirror, &range)
        };
        let place = mirror.place();
        let mut answer = client.send(&Method::GET, &place, &headers).await?;
        if answer.response.status().is_client_error() && place != mirror.url {
            // What a redirect gave out may have expired.
            answer = client.send(&Method::GET, &mirror.url, &headers).await?;
        }
        check(&answer, &mirror, &range, is_whole)?;
        mirror.moved(answer.url.clone());
        Ok(Self {
            url: answer.url,
            body: answer.response.into_body(),
            left: range.end - range.start,
            pace: Pace::new(client.patience.pace, Instant::now()),
            throttle,
            mirror,
        })
    }

    /// Gives the next bytes; `None` once all came. May be dropped midway.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let read = self.read().await;
        if let Err(error) = &read {
            self.mirror.failed(error);
        }
        read
    }

    async fn read(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        while self.left > 0 {
            let frame = match timeout_at(self.pace.deadline().into(), self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_)) | None) => {
                    return Err(UpstreamError::Short {
                        url: self.url.clone(),
                    });
                }
                Err(_) => {
                    return Err(UpstreamError::Stalled {
                        url: self.url.clone(),
                    });
                }
            };
            let Ok(mut data) = frame.into_data() else {
                continue;
            };
            data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            if data.is_empty() {
                continue;
            }
            self.left -= data.len() as u64;
            self.pace.handle_bytes(Instant::now(), data.len() as u64);
            let start = Instant::now();
            self.throttle.pass(data.len() as u64).await;
            self.pace.handle_pause(start.elapsed());
            return Ok(Some(data));
        }
        Ok(None)
    }

    /// Takes out the time during which nobody listened.
    pub(crate) fn handle_pause(&mut self, since: Instant) {
        self.pace.handle_pause(since.elapsed());
    }
}

fn part_of(mirror: &Mirror, range: &Range<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let text = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(RANGE, value);
    }
    if let Some(version) = &mirror.version {
        headers.insert(IF_RANGE, version.clone());
    }
    headers
}

/// Whether the answer is just what was asked for, of the version that was seen first.
fn check(
    answer: &Answer,
    mirror: &Mirror,
    range: &Range<u64>,
    is_whole: bool,
) -> Result<(), UpstreamError> {
    let (status, headers) = (answer.response.status(), answer.response.headers());
    let changed = || UpstreamError::Changed {
        url: answer.url.clone(),
    };
    match status {
        StatusCode::PARTIAL_CONTENT if !is_whole => {
            let expected = (range.start, range.end.saturating_sub(1), mirror.size);
            if content_range(headers) == Some(expected) {
                Ok(())
            } else {
                Err(changed())
            }
        }
        StatusCode::OK if is_whole => match content_length(headers) {
            Some(size) if size != mirror.size => Err(changed()),
            Some(_) | None => Ok(()),
        },
        // All of it instead of a part: it is not what it was.
        StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE => Err(changed()),
        _ => Err(UpstreamError::Status {
            url: answer.url.clone(),
            status,
        }),
    }
}
