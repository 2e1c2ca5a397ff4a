//! What is looked for on this machine, or on its way to it by other means than a fetch: for those who would get it too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tonic::{Status, Streaming};
use zeroshare_content::ContentId;
use zeroshare_wire::convert::content_id;
use zeroshare_wire::pb::store::v1::{AnnounceArrivalRequest, WatchArrivalResponse};

use crate::peers::{Door, malformed};
use crate::slots::Slot;
use crate::status;
use crate::store::Store;
use crate::watch::{Watched, start};

/// Arrivals that are told of at once: more programs are hardly started at a time.
const MAX_ARRIVALS: usize = 64;

/// A machine that was switched off says nothing: whoever waits for it hears so by silence.
const BEAT: Duration = Duration::from_secs(1);

/// What is told of now.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    current: Mutex<BTreeMap<(ContentId, u64), watch::Receiver<bool>>>,
}

/// Something that is told of until this is dropped.
#[derive(Debug)]
struct Arrival {
    store: Arc<Store>,
    key: (ContentId, u64),
    is_on_its_way: watch::Sender<bool>,
}

impl Arrivals {
    /// Whether it is on its way here, and each change; `None`: it is not even looked for.
    pub(crate) fn find(&self, ids: &[ContentId]) -> Option<watch::Receiver<bool>> {
        let current = self.current();
        let all = ids.iter().flat_map(|id| {
            let same = current.range((*id, 0)..=(*id, u64::MAX));
            same.map(|(_, arrival)| arrival)
        });
        // Several mounts may look for the same: whoever gets it counts.
        all.max_by_key(|arrival| *arrival.borrow()).cloned()
    }

    fn begin(&self, id: ContentId, is_on_its_way: bool) -> Option<(u64, watch::Sender<bool>)> {
        let mut current = self.current();
        if current.len() >= MAX_ARRIVALS {
            return None;
        }
        let numbers = current.keys().map(|(_, number)| *number);
        let number = numbers.max().map_or(0, |last| last.wrapping_add(1));
        let (tell, hear) = watch::channel(is_on_its_way);
        current.insert((id, number), hear);
        Some((number, tell))
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<(ContentId, u64), watch::Receiver<bool>>> {
        // Each change is one step.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.store.arrivals.current().remove(&self.key);
    }
}

/// Tells of an arrival until the announcing stream ends.
pub(crate) async fn announce(
    store: &Arc<Store>,
    mut said: Streaming<AnnounceArrivalRequest>,
) -> Result<(), Status> {
    let Some(first) = said.message().await? else {
        return Ok(());
    };
    let id = content_id("content_id", &first.content_id).map_err(malformed)?;
    let begun = store.arrivals.begin(id, first.on_its_way);
    let (number, is_on_its_way) = begun.ok_or_else(status::too_many_transfers)?;
    let arrival = Arrival {
        store: Arc::clone(store),
        key: (id, number),
        is_on_its_way,
    };
    tracing::debug!(content = %id, "looked for here");
    let stopping = store.lifetime.stopping();
    tokio::pin!(stopping);
    loop {
        let next = tokio::select! {
            next = said.next() => next,
            () = &mut stopping => None,
        };
        let Some(Ok(change)) = next else {
            return Ok(());
        };
        tracing::debug!(content = %id, on_its_way = change.on_its_way, "looked for here");
        arrival.is_on_its_way.send_replace(change.on_its_way);
    }
}

/// Tells a peer of an arrival until that ends; for other machines no longer than until sharing is paused.
pub(crate) fn tell(
    store: &Arc<Store>,
    ids: &[ContentId],
    door: Door,
    slot: Slot,
) -> Watched<WatchArrivalResponse> {
    let found = store.arrivals.find(ids);
    let pausing = Arc::clone(store);
    let paused = async move {
        match door {
            Door::Lan => status::paused(pausing.pause.begun().await),
            Door::Local => std::future::pending().await,
        }
    };
    start(store, "watch an arrival", paused, async move |told| {
        let _slot = slot;
        let Some(mut arrival) = found else {
            return Ok(());
        };
        loop {
            let on_its_way = *arrival.borrow_and_update();
            told.send(Ok(WatchArrivalResponse { on_its_way })).await?;
            tokio::select! {
                changed = arrival.changed() => if changed.is_err() {
                    return Ok(());
                },
                () = tokio::time::sleep(BEAT) => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{BlobId, HashKind};

    use super::*;

    fn id(text: &str) -> ContentId {
        BlobId::of(HashKind::Sha256, text.as_bytes()).into()
    }

    #[test]
    fn whoever_gets_it_counts_more_than_who_only_looks_for_it() {
        let arrivals = Arrivals::default();
        assert!(arrivals.find(&[id("it")]).is_none());
        let (first, told) = arrivals.begin(id("it"), false).unwrap();
        let (second, _other) = arrivals.begin(id("it"), false).unwrap();
        assert_ne!(first, second);
        let is_on_its_way = |ids: &[ContentId]| arrivals.find(ids).map(|found| *found.borrow());
        assert_eq!(is_on_its_way(&[id("other"), id("it")]), Some(false));
        told.send_replace(true);
        assert_eq!(is_on_its_way(&[id("other"), id("it")]), Some(true));
        assert_eq!(is_on_its_way(&[id("other")]), None);
    }

    #[test]
    fn they_have_a_bound() {
        let arrivals = Arrivals::default();
        let all: Vec<_> = (0..2 * MAX_ARRIVALS)
            .filter_map(|number| arrivals.begin(id(&number.to_string()), false))
            .collect();
        assert_eq!(all.len(), MAX_ARRIVALS);
    }
}
