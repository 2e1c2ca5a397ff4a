//! Streams of changes.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::time;
use tokio_stream::Stream;
use tonic::Status;
use zeroshare_content::ContentId;
use zeroshare_shelf::{Audience, PieceSource};
use zeroshare_wire::pb::content::v1::{PieceRange, PieceState};
use zeroshare_wire::pb::store::v1::watch_content_response::Event;
use zeroshare_wire::pb::store::v1::{HeldContent, WatchContentResponse, WatchPiecesResponse};

use crate::peers::Door;
use crate::slots::Slot;
use crate::store::{Source, Store};
use crate::{convert, status};

/// Messages that wait for a watcher's connection.
const MESSAGES_AHEAD: usize = 16;

/// Trees looked up at once for a snapshot.
const PAGE: usize = 1000;

/// Changes that follow each other this quickly are told at once: a fetch makes very many.
const GATHER: Duration = Duration::from_millis(20);

/// A stream that a task feeds.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    messages: mpsc::Receiver<Result<T, Status>>,
}

impl<T> Stream for Watched<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_recv(context)
    }
}

pub(crate) type Told<T> = mpsc::Sender<Result<T, Status>>;

/// Why a watch ends: an error to tell, or nobody listens.
pub(crate) enum End {
    Failed(Status),
    Gone,
}

impl<T> From<mpsc::error::SendError<T>> for End {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::Gone
    }
}

/// Who watches the pieces of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PiecesWatch {
    pub(crate) content: ContentId,
    pub(crate) audience: Audience,
    pub(crate) door: Door,
}

/// Watches which pieces of something are held, until all are; for other machines no longer than until sharing is paused.
pub(crate) fn pieces(
    store: &Arc<Store>,
    source: Source,
    watch: PiecesWatch,
    slot: Slot,
) -> Watched<WatchPiecesResponse> {
    let PiecesWatch {
        content,
        audience,
        door,
    } = watch;
    let pausing = Arc::clone(store);
    let paused = async move {
        match door {
            Door::Lan => status::paused(pausing.pause.begun().await),
            Door::Local => std::future::pending().await,
        }
    };
    let watching = Arc::clone(store);
    start(store, "watch pieces", paused, async move |told| {
        let _slot = slot;
        match source {
            Source::Whole(source) => told_whole(&watching, &told, source, true).await,
            Source::Part(offer) => {
                let Some((snapshot, changes)) = offer.watch() else {
                    return Err(End::Failed(status::not_found(&content)));
                };
                for message in snapshot {
                    told.send(Ok(message)).await?;
                }
                let done = WatchPiecesResponse {
                    snapshot_done: true,
                    ..WatchPiecesResponse::default()
                };
                told.send(Ok(done)).await?;
                follow(&told, changes).await?;
                // The offer has ended: either all is there, or it was given up.
                match watching.open(&content, audience).await {
                    Ok(Source::Whole(source)) => told_whole(&watching, &told, source, false).await,
                    Ok(Source::Part(_)) => Err(End::Failed(status::not_found(&content))),
                    Err(status) => Err(End::Failed(status)),
                }
            }
        }
    })
}

/// Watches all that is held, whole or in part, and is for these ears.
pub(crate) fn contents(store: &Arc<Store>, audience: Audience) -> Watched<WatchContentResponse> {
    let watching = Arc::clone(store);
    start(
        store,
        "watch content",
        std::future::pending(),
        async move |told| {
            // Before the snapshot, so that nothing falls between.
            let mut changes = watching.changes.subscribe();
            let mut after = None;
            // Who may not see everything is not told either that something else has gone.
            let mut shown = (audience == Audience::Peers).then(BTreeSet::new);
            loop {
                let page = watching.shelf.holdings(after.as_ref(), PAGE, audience);
                if let Some(shown) = &mut shown {
                    shown.extend(page.iter().map(|holding| holding.id));
                }
                after = page.last().map(|holding| holding.id);
                for holding in &page {
                    let held = unless_paused(&watching, convert::held_whole(holding, audience));
                    tell(&told, Event::Held(held)).await?;
                }
                if page.len() < PAGE {
                    break;
                }
            }
            let others = watching.offers.ids(audience);
            for id in others.into_iter().chain(watching.feeds.marks()) {
                tell_change(&watching, &told, &id, &mut shown).await?;
            }
            tell(&told, Event::SnapshotDone(true)).await?;
            loop {
                for id in changed(&told, &mut changes).await? {
                    tell_change(&watching, &told, &id, &mut shown).await?;
                }
            }
        },
    )
}

/// What is held of something now; `None`: nothing for these ears.
pub(crate) fn held(store: &Store, id: &ContentId, audience: Audience) -> Option<HeldContent> {
    let whole = store.shelf.holding(id, audience);
    let part = store.offers.find(id, audience);
    let held = match (whole, part) {
        (Some(holding), Some(offer)) if !holding.is_readable() => convert::held_in_part(&offer),
        (Some(holding), _) => convert::held_whole(&holding, audience),
        (None, Some(offer)) => convert::held_in_part(&offer),
        // What peers may read is no secret on this machine.
        (None, None) => store.feeds.held(id)?,
    };
    Some(unless_paused(store, held))
}

fn unless_paused(store: &Store, held: HeldContent) -> HeldContent {
    HeldContent {
        offered: held.offered && !store.pause.is_on(),
        ..held
    }
}

/// Runs what feeds a stream, until somebody stops listening or the service stops.
pub(crate) fn start<T: Send + 'static, W>(
    store: &Store,
    name: &'static str,
    ends_early: impl Future<Output = Status> + Send + 'static,
    work: impl FnOnce(Told<T>) -> W,
) -> Watched<T>
where
    W: Future<Output = Result<(), End>> + Send + 'static,
{
    let (told, messages) = mpsc::channel(MESSAGES_AHEAD);
    let work = work(told.clone());
    let stopping = store.lifetime.stopping();
    store.lifetime.spawn(name, async move {
        let end = tokio::select! {
            end = work => end,
            status = ends_early => Err(End::Failed(status)),
            () = stopping => Err(End::Failed(status::shutting_down())),
            () = told.closed() => Err(End::Gone),
        };
        if let Err(End::Failed(status)) = end {
            // Whoever does not take it in time learns by the end of the connection.
            let _taken = time::timeout(Duration::from_secs(1), told.send(Err(status))).await;
        }
    });
    Watched { messages }
}

async fn told_whole(
    store: &Arc<Store>,
    told: &Told<WatchPiecesResponse>,
    source: Arc<PieceSource>,
    snapshot_done: bool,
) -> Result<(), End> {
    let count = source.layout().piece_count();
    let known = store
        .on_disk("count midstates", move |_| source.known_midstates())
        .await;
    let known = known.map_err(End::Failed)?;
    let known = known.map_err(|error| End::Failed(status::index_status(&error)))?;
    let ranges = if count == 0 {
        Vec::new()
    } else {
        vec![PieceRange { first: 0, count }]
    };
    let message = WatchPiecesResponse {
        ranges,
        state: PieceState::Proven.into(),
        known_midstates: u32::try_from(known).unwrap_or(u32::MAX),
        snapshot_done,
        ..WatchPiecesResponse::default()
    };
    Ok(told.send(Ok(message)).await?)
}

/// Passes changes on until the offer ends.
async fn follow(
    told: &Told<WatchPiecesResponse>,
    mut changes: broadcast::Receiver<Arc<WatchPiecesResponse>>,
) -> Result<(), End> {
    loop {
        match changes.recv().await {
            Ok(change) => told.send(Ok(WatchPiecesResponse::clone(&change))).await?,
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                return Err(End::Failed(status::lagged()));
            }
        }
    }
}

/// Waits for a change, and gathers what follows soon after.
async fn changed<T>(
    told: &Told<T>,
    changes: &mut broadcast::Receiver<ContentId>,
) -> Result<BTreeSet<ContentId>, End> {
    let mut ids = BTreeSet::new();
    let first = changes.recv().await;
    time::sleep(GATHER).await;
    let mut next = first.map_err(|error| match error {
        broadcast::error::RecvError::Closed => broadcast::error::TryRecvError::Closed,
        broadcast::error::RecvError::Lagged(missed) => {
            broadcast::error::TryRecvError::Lagged(missed)
        }
    });
    loop {
        match next {
            Ok(id) => {
                ids.insert(id);
            }
            Err(broadcast::error::TryRecvError::Empty) => return Ok(ids),
            Err(broadcast::error::TryRecvError::Closed) => return Err(End::Gone),
            Err(broadcast::error::TryRecvError::Lagged(_)) => {
                return Err(End::Failed(status::lagged()));
            }
        }
        if told.is_closed() {
            return Err(End::Gone);
        }
        next = changes.try_recv();
    }
}

async fn tell_change(
    store: &Store,
    told: &Told<WatchContentResponse>,
    id: &ContentId,
    shown: &mut Option<BTreeSet<ContentId>>,
) -> Result<(), End> {
    let audience = match shown {
        Some(_) => Audience::Peers,
        None => Audience::Local,
    };
    let event = match (held(store, id, audience), shown) {
        (Some(held), shown) => {
            if let Some(shown) = shown {
                shown.insert(*id);
            }
            Event::Held(held)
        }
        (None, shown) => {
            if shown.as_mut().is_some_and(|shown| !shown.remove(id)) {
                return Ok(());
            }
            Event::GoneContentId(id.to_string())
        }
    };
    tell(told, event).await
}

async fn tell(told: &Told<WatchContentResponse>, event: Event) -> Result<(), End> {
    Ok(told
        .send(Ok(WatchContentResponse { event: Some(event) }))
        .await?)
}

#[cfg(test)]
mod tests {
    use zeroshare_api::errors::{ErrorReason, reason};

    use super::*;

    #[tokio::test]
    async fn a_watcher_too_far_behind_is_told_so() {
        let (told, _messages) = mpsc::channel(1);
        let (changes, behind) = broadcast::channel(2);
        for _ in 0..3 {
            changes
                .send(Arc::new(WatchPiecesResponse::default()))
                .unwrap();
        }
        assert_lagged(follow(&told, behind).await);

        let (told, _messages) = mpsc::channel::<Result<(), Status>>(1);
        let (changes, mut behind) = broadcast::channel(2);
        for number in 0..3_u8 {
            let id = zeroshare_content::BlobId::of(zeroshare_content::HashKind::Sha256, &[number])
                .into();
            changes.send(id).unwrap();
        }
        assert_lagged(changed(&told, &mut behind).await.map(drop));
    }

    fn assert_lagged(end: Result<(), End>) {
        match end {
            Err(End::Failed(status)) => {
                assert_eq!(reason(&status), Some(ErrorReason::WatcherLagged));
            }
            Ok(()) | Err(End::Gone) => panic!("it was not told"),
        }
    }
}
