//! `ListNeighbours`: what peers share publicly, by their own word.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::debug;
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_content::{ContentId, TreeId};
use zeroshare_wire::pb::discovery::v1::WatchPeersRequest;
use zeroshare_wire::pb::discovery::v1::watch_peers_response::Event;
use zeroshare_wire::pb::fetcher::v1::ListNeighboursResponse;
use zeroshare_wire::pb::store::v1::{ListPublicRequest, ListPublicResponse};

use crate::peers::{Candidate, Peer};
use crate::request::NeighboursOrder;
use crate::shared::Shared;
use crate::status::CallError;

/// Peers that are asked at once.
const MAX_PEERS: usize = 64;

/// Trees that one peer may tell of.
const MAX_TREES: usize = 1000;

/// What so many ids take, and little more: whatever is read becomes larger in memory.
const MAX_ANSWER_BYTES: usize = 72 * 1024;

/// Asks all peers, and streams what they say.
pub(crate) fn list(
    shared: &Arc<Shared>,
    order: NeighboursOrder,
) -> Result<ReceiverStream<Result<ListNeighboursResponse, Status>>, CallError> {
    let permit = shared.calls.clone().try_acquire_owned();
    let permit = permit.map_err(|_| CallError::Busy)?;
    let (messages, stream) = mpsc::channel(MAX_PEERS);
    let asking = Asking {
        shared: shared.clone(),
        end: Instant::now() + order.timeout,
        messages,
        _permit: Arc::new(permit),
    };
    let all = asking.clone();
    let from = order.from;
    asking.spawn("list neighbours", async move { all.ask_all(from).await });
    Ok(ReceiverStream::new(stream))
}

/// One question to many; the answer ends when the last clone is dropped.
#[derive(Clone)]
struct Asking {
    shared: Arc<Shared>,
    end: Instant,
    messages: mpsc::Sender<Result<ListNeighboursResponse, Status>>,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Asking {
    /// Runs a part of it until time is up, or nobody listens any more.
    fn spawn(self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let (lifetime, stopping) = (
            self.shared.lifetime.clone(),
            self.shared.lifetime.stopping(),
        );
        let until_the_end = async move {
            tokio::select! {
                over = timeout_at(self.end, part) => if over.is_err() {
                    debug!(name, "time was up");
                },
                () = self.messages.closed() => {}
                () = stopping => {}
            }
        };
        drop(lifetime.spawn(name, until_the_end));
    }

    async fn ask_all(&self, from: Vec<StaticPeer>) {
        if !from.is_empty() {
            for host in from.into_iter().take(MAX_PEERS) {
                let own = self.clone();
                self.clone().spawn("ask a host", async move {
                    match Candidate::resolve(&host).await {
                        Ok(candidate) => own.ask(candidate).await,
                        Err(why) => debug!(why, "a host cannot be asked"),
                    }
                });
            }
        } else if let Err(error) = self.ask_live().await {
            debug!(%error, "discovery does not say who is there");
        }
    }

    /// Asks those that discovery knows.
    async fn ask_live(&self) -> Result<(), Status> {
        let mut discovery = self.shared.discovery();
        let mut events = discovery
            .watch_peers(WatchPeersRequest {})
            .await?
            .into_inner();
        let mut asked = BTreeSet::new();
        while asked.len() < MAX_PEERS {
            let peer = match events.message().await?.and_then(|message| message.event) {
                Some(Event::Up(peer)) => peer,
                Some(Event::Down(_)) => continue,
                Some(Event::SnapshotDone(_)) | None => break,
            };
            let is_banned = peer.ban_end_time.is_some();
            let Some(candidate) = Candidate::of_peer(peer).filter(|_| !is_banned) else {
                continue;
            };
            if asked.insert(candidate.peer_id.clone()) {
                let own = self.clone();
                let ask = async move { own.ask(candidate).await };
                self.clone().spawn("ask a neighbour", ask);
            }
        }
        Ok(())
    }

    async fn ask(&self, candidate: Candidate) {
        let name = candidate.name();
        let connect = &self.shared.config.patience.connect;
        let Ok(peer) = Peer::connect(candidate, connect).await else {
            debug!(peer = name, "a neighbour cannot be reached");
            return;
        };
        let mut store = peer.store().max_decoding_message_size(MAX_ANSWER_BYTES);
        match store.list_public(ListPublicRequest {}).await {
            Ok(listed) => {
                let answer = ListNeighboursResponse {
                    peer_id: peer.candidate.peer_id.clone(),
                    address: peer.address.to_string(),
                    ..checked(&listed.into_inner())
                };
                // Fails when nobody listens any more.
                let _heard = self.messages.send(Ok(answer)).await;
            }
            // It may be of an older version, or tell nobody.
            Err(error) => debug!(peer = name, %error, "a neighbour does not tell what it shares"),
        }
    }
}

/// What of an answer can be used: trees that travel, each once, as they are spelled here.
fn checked(listed: &ListPublicResponse) -> ListNeighboursResponse {
    let trees = listed
        .tree_ids
        .iter()
        .filter_map(|text| text.parse::<TreeId>().ok())
        .filter(|tree| ContentId::Tree(*tree).travels());
    let trees: BTreeSet<TreeId> = trees.collect();
    ListNeighboursResponse {
        truncated: listed.truncated || trees.len() > MAX_TREES,
        tree_ids: trees
            .iter()
            .take(MAX_TREES)
            .map(ToString::to_string)
            .collect(),
        ..ListNeighboursResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::Family;

    use super::*;

    #[test]
    fn what_a_neighbour_says_is_bounded_and_must_make_sense() {
        let id = |number: u32| TreeId::of_manifest(Family::Sha256, &number.to_be_bytes());
        let hex = id(1).directory_names().pop().unwrap();
        let oldest = TreeId::of_manifest(Family::Sha1, b"").to_string();
        let blob = format!("blob:sha256:{}", "0".repeat(64));
        let texts = [&hex, &id(1).to_string(), "../../etc", "", &oldest, &blob];
        let listed = checked(&ListPublicResponse {
            tree_ids: texts.map(ToOwned::to_owned).into(),
            truncated: false,
        });
        assert_eq!(
            (listed.tree_ids, listed.truncated),
            (vec![id(1).to_string()], false)
        );
        let many = (0..1001).map(|number| id(number).to_string());
        let listed = checked(&ListPublicResponse {
            tree_ids: many.collect(),
            truncated: false,
        });
        assert_eq!((listed.tree_ids.len(), listed.truncated), (1000, true));
    }
}
