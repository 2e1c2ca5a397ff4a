//! Streams of answers.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
};

use tokio::sync::mpsc;
use tokio_stream::{
    Stream, StreamExt as _,
    adapters::Map,
    wrappers::{BroadcastStream, errors::BroadcastStreamRecvError},
};
use tonic::Status;
use zeroshare_wire::pb::discovery::v1::{
    FindProvidersResponse, WatchPeersResponse, WatchRefreshResponse,
    watch_peers_response::{Event, PeerDown, SnapshotDone},
};

use super::{convert, lagged, too_many_lookups};
use crate::engine::{
    Command, LookupKey, News, PeerChange, PeerWatch, RefreshWatch, Refreshed, TooManyLookups,
};

/// What is forgotten, as it happens.
pub(crate) type RefreshStream = Map<BroadcastStream<Refreshed>, Telling>;

type Telling =
    fn(Result<Refreshed, BroadcastStreamRecvError>) -> Result<WatchRefreshResponse, Status>;

/// Providers as they answer; whoever drops it ends the lookup.
#[derive(Debug)]
pub(crate) struct FoundStream {
    news: mpsc::Receiver<Result<News, TooManyLookups>>,
    key: LookupKey,
    engine: mpsc::Sender<Command>,
}

impl FoundStream {
    pub(super) fn new(
        news: mpsc::Receiver<Result<News, TooManyLookups>>,
        key: LookupKey,
        engine: mpsc::Sender<Command>,
    ) -> Self {
        Self { news, key, engine }
    }
}

impl Stream for FoundStream {
    type Item = Result<FindProvidersResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let news = ready!(self.news.poll_recv(context));
            return Poll::Ready(match news {
                Some(Ok(News::Found(_, provider))) => Some(Ok(convert::provider(*provider))),
                Some(Ok(News::Step(_))) => continue,
                Some(Err(TooManyLookups)) => Some(Err(too_many_lookups())),
                None => None,
            });
        }
    }
}

impl Drop for FoundStream {
    fn drop(&mut self) {
        // When the engine is too busy to hear it, the lookup ends with its time.
        drop(self.engine.try_send(Command::Cancel(self.key)));
    }
}

/// Every live peer, then each change.
#[derive(Debug)]
pub(crate) struct PeerStream {
    snapshot: VecDeque<WatchPeersResponse>,
    watch: PeerWatch,
    ended: bool,
}

impl PeerStream {
    pub(super) fn new(mut watch: PeerWatch) -> Self {
        let peers = std::mem::take(&mut watch.snapshot).into_iter();
        let mut snapshot: VecDeque<WatchPeersResponse> = peers
            .map(|peer| event(Event::Up(convert::peer(peer))))
            .collect();
        snapshot.push_back(event(Event::SnapshotDone(SnapshotDone {})));
        Self {
            snapshot,
            watch,
            ended: false,
        }
    }
}

impl Stream for PeerStream {
    type Item = Result<WatchPeersResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(response) = self.snapshot.pop_front() {
            return Poll::Ready(Some(Ok(response)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(change) = self.watch.changes.poll_recv(context) else {
            return Poll::Pending;
        };
        Poll::Ready(match change {
            Some(PeerChange::Up(peer)) => Some(Ok(event(Event::Up(convert::peer(*peer))))),
            Some(PeerChange::Down(node)) => Some(Ok(event(Event::Down(PeerDown {
                peer_id: node.to_string(),
            })))),
            None => {
                self.ended = true;
                self.watch
                    .lagged
                    .load(Ordering::Acquire)
                    .then(|| Err(lagged()))
            }
        })
    }
}

fn event(event: Event) -> WatchPeersResponse {
    WatchPeersResponse { event: Some(event) }
}

/// Tells what is forgotten from now on; whoever is too far behind is told to forget everything.
pub(super) fn refreshes(watch: RefreshWatch) -> RefreshStream {
    let telling: Telling = |refreshed| Ok(convert::refresh(&refreshed.unwrap_or_default()));
    BroadcastStream::new(watch).map(telling)
}
