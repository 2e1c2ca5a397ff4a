//! `FindFeed`: a feed of Zero Install from peers that share it, unchecked but for its size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::debug;
use zeroshare_api::deadline;
use zeroshare_chassis::process::chain;
use zeroshare_content::FeedUrl;
use zeroshare_shelf::MAX_FEED_BYTES;
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::discovery::v1::FindProvidersRequest;
use zeroshare_wire::pb::fetcher::v1::FindFeedResponse;
use zeroshare_wire::pb::store::v1::ReadFeedRequest;

use crate::fetch::Members;
use crate::peers::{Candidate, Peer};
use crate::request::FeedOrder;
use crate::shared::Shared;
use crate::status::CallError;

/// Peers that are asked; the next is asked while the caller looks at what the one before gave.
const MAX_PEERS: usize = 16;

/// Keys are smaller, even with a photograph.
const MAX_KEY_BYTES: usize = 64 * 1024;

/// How long one peer may take for all of it: a second at 2 MiB/s, and some for a busy one.
const PEER_TIME: Duration = Duration::from_secs(5);

/// How much later than it was told to discovery may answer.
const ANSWER_GRACE: Duration = Duration::from_millis(100);

/// What a caller may take to look at one answer, in which it may ask its user.
const CALLER_TIME: Duration = Duration::from_mins(10);

type Answers = mpsc::Sender<Result<FindFeedResponse, Status>>;

/// Asks one peer after the other, and streams what they give.
pub(crate) fn find(
    shared: &Arc<Shared>,
    order: FeedOrder,
) -> Result<ReceiverStream<Result<FindFeedResponse, Status>>, CallError> {
    let permit = shared.calls.clone().try_acquire_owned();
    let permit = permit.map_err(|_| CallError::Busy)?;
    let (answers, stream) = mpsc::channel(1);
    let (own, stopping) = (Arc::clone(shared), shared.lifetime.stopping());
    let asking = async move {
        let _permit: OwnedSemaphorePermit = permit;
        tokio::select! {
            () = ask_all(&own, order, &answers) => {}
            () = answers.closed() => {}
            () = stopping => {}
        }
    };
    drop(shared.lifetime.spawn("find a feed", asking));
    Ok(ReceiverStream::new(stream))
}

async fn ask_all(shared: &Shared, order: FeedOrder, answers: &Answers) {
    let candidates = match candidates(shared, &order).await {
        Ok(candidates) => candidates,
        Err(status) => {
            // Fails when nobody listens any more.
            drop(answers.send(Err(status)).await);
            return;
        }
    };
    for candidate in candidates {
        let answer = ask(shared, candidate, &order.url).await;
        let Some(answer) = answer else { continue };
        let told = timeout(CALLER_TIME, answers.send(Ok(answer))).await;
        if !matches!(told, Ok(Ok(()))) {
            return;
        }
    }
}

/// Those who may have it, the first that answered first.
async fn candidates(shared: &Shared, order: &FeedOrder) -> Result<Vec<Candidate>, Status> {
    let mut candidates: Vec<Candidate> = Vec::new();
    if !order.from.is_empty() {
        for host in order.from.iter().take(MAX_PEERS) {
            match timeout(PEER_TIME, Candidate::resolve(host)).await {
                Ok(Ok(candidate)) => candidates.push(candidate),
                Ok(Err(why)) => debug!(why, "a host cannot be asked"),
                Err(_) => debug!(%host, "its name was not resolved in time"),
            }
        }
        return Ok(candidates);
    }
    let request = FindProvidersRequest {
        content_ids: vec![order.url.mark().to_string()],
        wait: Some(to_duration(order.timeout)),
        enough: 0,
        with_askers: false,
    };
    let mut discovery = shared.discovery();
    let look = async {
        let mut found = discovery.find_providers(request).await?.into_inner();
        while candidates.len() < MAX_PEERS
            && let Some(answer) = found.message().await?
        {
            let candidate = Candidate::of_discovery(answer, Members::LeftOut);
            let is_known =
                |new: &Candidate| candidates.iter().any(|one| one.peer_id == new.peer_id);
            candidates.extend(candidate.filter(|new| !is_known(new)));
        }
        Ok(())
    };
    match deadline::within(order.timeout + ANSWER_GRACE, look).await {
        Err(status) if status.code() != Code::DeadlineExceeded => Err(status),
        _ => Ok(candidates),
    }
}

/// What a peer gives; `None`: it does not have it.
async fn ask(shared: &Shared, candidate: Candidate, url: &FeedUrl) -> Option<FindFeedResponse> {
    let name = candidate.name();
    let mut answer = FindFeedResponse {
        peer_id: candidate.peer_id.clone(),
        address: name.clone(),
        ..FindFeedResponse::default()
    };
    match timeout(PEER_TIME, read(shared, candidate, url)).await {
        Ok(Ok((feed, key))) => (answer.feed, answer.key) = (feed, key),
        Ok(Err(Fault::Status(status))) if status.code() == Code::NotFound => {
            debug!(peer = name, "a peer does not have the feed any more");
            return None;
        }
        Ok(Err(fault)) => answer.fault = chain(&fault),
        Err(_) => answer.fault = format!("it did not give the feed within {PEER_TIME:?}"),
    }
    Some(answer)
}

/// Why a peer gave nothing useful.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it cannot be reached")]
    Unreachable,
    #[error("it says: {}", .0.message())]
    Status(Status),
    #[error("its {what} is larger than {most} bytes")]
    TooLarge { what: &'static str, most: usize },
}

async fn read(
    shared: &Shared,
    candidate: Candidate,
    url: &FeedUrl,
) -> Result<(Bytes, Bytes), Fault> {
    let connect = &shared.config.patience.connect;
    let peer = Peer::connect(candidate, connect).await;
    let peer = peer.map_err(|_| Fault::Unreachable)?;
    let request = ReadFeedRequest {
        feed_url: url.to_string(),
    };
    let parts = peer.store().read_feed(request).await;
    let mut parts = parts.map_err(Fault::Status)?.into_inner();
    let (mut feed, mut key) = (Vec::new(), Vec::new());
    while let Some(part) = parts.message().await.map_err(Fault::Status)? {
        take(&mut feed, &part.feed_data, "feed", MAX_FEED_BYTES)?;
        take(&mut key, &part.key_data, "key", MAX_KEY_BYTES)?;
    }
    Ok((feed.into(), key.into()))
}

fn take(all: &mut Vec<u8>, part: &[u8], what: &'static str, most: usize) -> Result<(), Fault> {
    if all.len() + part.len() > most {
        return Err(Fault::TooLarge { what, most });
    }
    all.extend_from_slice(part);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_is_allowed() {
        let mut all = vec![0; 3];
        take(&mut all, &[1, 2], "key", 5).unwrap();
        let refused = take(&mut all, &[3], "key", 5).unwrap_err();
        assert_eq!(refused.to_string(), "its key is larger than 5 bytes");
        assert_eq!(all, [0, 0, 0, 1, 2]);
    }
}
