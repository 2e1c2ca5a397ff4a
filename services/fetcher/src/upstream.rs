//! Reading from where a blob comes from, over HTTP: what no peer has.
//!
//! Only URLs that this fetch was itself started with are ever asked, and where they redirect to. Whatever a server says is a hint: its bytes
//! are hashed like everybody's. Start reading at [`Upstream::probe`].

mod address;
mod client;
mod error;
mod mirror;
mod reading;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, info, warn};
use zeroshare_chassis::rate::Throttle;
use zeroshare_transfer::PaceRule;

pub(crate) use address::{AddressError, UpstreamUrl};
pub(crate) use client::{Client, Roots};
pub(crate) use error::UpstreamError;
pub(crate) use mirror::Mirror;
pub(crate) use reading::Reading;

/// How patient a reader is.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamPatience {
    /// For a connection, its handshake included.
    pub(crate) connect: Duration,
    /// For the beginning of an answer.
    pub(crate) answer: Duration,
    /// For the others, once one mirror has answered.
    pub(crate) late: Duration,
    /// For its bytes.
    pub(crate) pace: PaceRule,
}

impl Default for UpstreamPatience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(15),
            late: Duration::from_secs(2),
            pace: PaceRule::default(),
        }
    }
}

/// The mirrors of one blob that can be used together: they agree on its size.
#[derive(Debug)]
pub(crate) struct Upstream {
    mirrors: Vec<Arc<Mirror>>,
    client: Client,
    throttle: Arc<Throttle>,
}

impl Upstream {
    /// Asks all URLs how large it is, at once. The size that most of those say that answer decides, of several the one of the first URL;
    /// who disagrees is left out, and so is who answers long after another one.
    ///
    /// The error is that of the first URL.
    pub(crate) async fn probe(
        urls: &[UpstreamUrl],
        roots: Roots,
        patience: UpstreamPatience,
        throttle: Arc<Throttle>,
    ) -> Result<Self, UpstreamError> {
        let late = patience.late;
        let client = Client::new(roots, patience)?;
        let mut asked = Vec::new();
        for url in urls {
            asked.push(Box::pin(Mirror::probe(&client, url)));
        }
        let mut mirrors: Vec<Arc<Mirror>> = Vec::new();
        let mut first_error = None;
        // In their order; at most a few, and each has a deadline.
        for answer in join_all(asked, late).await {
            match answer {
                Ok(mirror) => mirrors.push(Arc::new(mirror)),
                Err(error) => {
                    info!(%error, "a mirror is of no use");
                    first_error.get_or_insert(error);
                }
            }
        }
        let size = agreed_size(&mirrors.iter().map(|mirror| mirror.size).collect::<Vec<_>>());
        mirrors.retain(|mirror| {
            let agrees = Some(mirror.size) == size;
            if !agrees {
                warn!(url = %mirror.url, size = mirror.size, others = size, "a mirror has something of another size and is left out");
            }
            agrees
        });
        match (mirrors.is_empty(), first_error) {
            (true, Some(error)) => Err(error),
            (true, None) => Err(UpstreamError::NoUrl),
            (false, _) => Ok(Self {
                mirrors,
                client,
                throttle,
            }),
        }
    }

    /// What it says to have, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.mirrors.first().map_or(0, |mirror| mirror.size)
    }

    /// The limit that all downloads share.
    pub(crate) fn throttle(&self) -> Arc<Throttle> {
        self.throttle.clone()
    }

    /// Whether any of it can be asked for alone.
    pub(crate) fn has_ranges(&self) -> bool {
        self.mirrors.iter().any(|mirror| mirror.has_ranges)
    }

    /// The mirror to be read now: the first that failed least, of those that can give ranges if any can.
    pub(crate) fn choose(&self) -> Option<Arc<Mirror>> {
        let ranges = self.has_ranges();
        let usable = self
            .mirrors
            .iter()
            .filter(|mirror| mirror.has_ranges == ranges);
        let alive = usable.filter(|mirror| !mirror.is_dead());
        alive.min_by_key(|mirror| mirror.failures()).cloned()
    }

    /// Asks nobody for what this mirror has any more: it is not the blob. Says whether another one is left.
    pub(crate) fn condemn(&self, mirror: &Mirror) -> bool {
        mirror.kill();
        self.choose().is_some()
    }

    /// Begins to read bytes `start..end` of a mirror. May be dropped midway.
    pub(crate) async fn read(
        &self,
        mirror: Arc<Mirror>,
        range: std::ops::Range<u64>,
    ) -> Result<Reading, UpstreamError> {
        let opened =
            Reading::open(&self.client, mirror.clone(), range, self.throttle.clone()).await;
        if let Err(error) = &opened {
            debug!(url = %mirror.url, %error, "upstream cannot be read");
            mirror.failed(error);
        }
        opened
    }
}

/// The size that most say, of several the one said first.
fn agreed_size(sizes: &[u64]) -> Option<u64> {
    let count = |size: u64| sizes.iter().filter(|other| **other == size).count();
    // Of equals the last is taken.
    let said = sizes.iter().rev().copied();
    said.max_by_key(|size| count(*size))
}

/// Waits for all of a few futures, but once one was successful no longer than `late` for the others; gives the outputs in order.
async fn join_all<F, T, E>(mut futures: Vec<Pin<Box<F>>>, late: Duration) -> Vec<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut outputs: Vec<Option<Result<T, E>>> = futures.iter().map(|_| None).collect();
    let mut join = async |is_enough: fn(&Result<T, E>) -> bool| {
        std::future::poll_fn(|context| {
            for (future, output) in futures.iter_mut().zip(&mut outputs) {
                if output.is_none()
                    && let Poll::Ready(value) = future.as_mut().poll(context)
                {
                    *output = Some(value);
                }
            }
            let mut come = outputs.iter().flatten();
            if outputs.iter().all(Option::is_some) || come.any(is_enough) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    };
    join(Result::is_ok).await;
    // Whatever came in time counts.
    drop(timeout(late, join(|_| false)).await);
    outputs.into_iter().flatten().collect()
}
