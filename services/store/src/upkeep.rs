//! What goes on without being asked for: looking, hashing, hashing again.

mod friends;
mod pace;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{self, Instant};
use zeroshare_chassis::process::chain;
use zeroshare_content::ContentId;
use zeroshare_shelf::{Audience, Copies, Due, RootWatcher, ShelfError};

use crate::store::Store;
use pace::Pace;

pub(crate) use friends::resolve_friends;

/// How often the stores are listed although nothing was noticed: some file systems tell nothing.
const RESCAN_INTERVAL: Duration = Duration::from_mins(1);

/// Changes that follow each other this quickly are looked at together.
const SETTLE: Duration = Duration::from_millis(50);

/// Trees that nobody reads stay open so long.
const CLOSE_IDLE: Duration = Duration::from_mins(1);

/// After a failure of the index nothing is hashed for so long.
const FAILURE_PAUSE: Duration = Duration::from_mins(1);

/// How often is looked whether something is due to be hashed again, at least: clocks are set.
const DUE_INTERVAL: Duration = Duration::from_hours(6);

/// Keeps looking at what lies in the stores.
pub(crate) async fn look(store: Arc<Store>) {
    let changed = Arc::new(Notify::new());
    let ring = Arc::clone(&changed);
    let mut watcher = match RootWatcher::new(move || ring.notify_one()) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "cannot watch the stores, looking every minute"
            );
            None
        }
    };
    let roots: Vec<PathBuf> = store
        .shelf
        .roots()
        .iter()
        .map(|root| root.path.clone())
        .collect();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = changed.notified() => time::sleep(SETTLE).await,
            () = time::sleep_until(next) => {}
            () = store.lifetime.stopping() => return,
        }
        next = Instant::now() + RESCAN_INTERVAL;
        let watched = watcher.take();
        let roots = roots.clone();
        let looked = store.on_disk("look at stores", move |store| {
            let mut watched = watched;
            // Before looking, so that nothing falls between.
            if let Some(watcher) = &mut watched {
                watcher.watch(&roots);
            }
            store.shelf.close_idle(CLOSE_IDLE);
            store.pages.shrink();
            (watched, store.shelf.rescan(SystemTime::now()))
        });
        match looked.await {
            Ok((watched, outcome)) => {
                watcher = watched;
                if let Err(error) = outcome {
                    tracing::warn!(error = chain(&error), "cannot look at the stores");
                }
            }
            // It stops.
            Err(_) => return,
        }
    }
}

/// Hashes what was never hashed, or changed since; two trees at a time, so that neither the disk nor the processor waits for
/// the other.
pub(crate) async fn verify_new(store: Arc<Store>) {
    let in_hand = Mutex::default();
    tokio::join!(
        verify_one_by_one(&store, &in_hand),
        verify_one_by_one(&store, &in_hand)
    );
}

type InHand = Mutex<BTreeSet<ContentId>>;

async fn verify_one_by_one(store: &Arc<Store>, in_hand: &InHand) {
    loop {
        while let Some(id) = take_new(store, in_hand) {
            // There may be more for the other.
            store.work.notify_one();
            let watching = Arc::clone(store);
            // Its writer may say meanwhile that it was proven on the way in.
            let is_wanted = move |_| watching.shelf.is_unverified(id);
            let went_well = hash(store, id, Copies::Unverified, is_wanted).await;
            lock(in_hand).remove(&id);
            if !went_well {
                pause(store, FAILURE_PAUSE).await;
            }
        }
        tokio::select! {
            () = store.work.notified() => {}
            () = store.lifetime.stopping() => return,
        }
    }
}

fn lock(in_hand: &InHand) -> MutexGuard<'_, BTreeSet<ContentId>> {
    in_hand.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A tree that waits to be hashed, and of which its writer will say no more; nobody else takes it meanwhile.
fn take_new(store: &Store, in_hand: &InHand) -> Option<ContentId> {
    if store.lifetime.is_stopping() {
        return None;
    }
    let offered = store.offers.ids(Audience::Local);
    let mut in_hand = lock(in_hand);
    let id = store
        .shelf
        .unverified()
        .into_iter()
        .find(|id| !offered.contains(id) && !in_hand.contains(id))?;
    in_hand.insert(id);
    Some(id)
}

/// Slowly hashes again what was verified long ago.
pub(crate) async fn verify_old(store: Arc<Store>, max_age: Duration, rate_bytes: u64) {
    // What was just started has better things to do.
    pause(&store, FAILURE_PAUSE).await;
    while !store.lifetime.is_stopping() {
        let wait = match store.shelf.due(SystemTime::now(), max_age) {
            Due::Now(id) => {
                let mut pace = Pace::new(rate_bytes);
                let stopping = store.lifetime.clone();
                let keep_pace = move |bytes| {
                    pace.keep(bytes, &|| stopping.is_stopping());
                    true
                };
                let went_well = hash(&store, id, Copies::All, keep_pace).await;
                if went_well {
                    Duration::ZERO
                } else {
                    FAILURE_PAUSE
                }
            }
            Due::At(time) => time.duration_since(SystemTime::now()).unwrap_or_default(),
            Due::Never => DUE_INTERVAL,
        };
        pause(&store, wait.min(DUE_INTERVAL)).await;
    }
}

/// Hashes one tree as long as that is wanted, and says whether something came out.
async fn hash(
    store: &Arc<Store>,
    id: ContentId,
    copies: Copies,
    mut is_wanted: impl FnMut(u64) -> bool + Send + 'static,
) -> bool {
    tracing::debug!(content = %id, "hashing content");
    let hashed = store.on_disk("hash content", move |store| {
        store.shelf.verify(id, copies, &mut |bytes| {
            if is_wanted(bytes) && !store.lifetime.is_stopping() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
    });
    match hashed.await {
        Ok(Ok(outcome)) if outcome.faults.is_empty() => {
            tracing::info!(content = %id, "content verified");
            true
        }
        Ok(Err(error @ ShelfError::Index(_))) => {
            tracing::warn!(content = %id, error = chain(&error), "cannot note that content was hashed");
            false
        }
        // The shelf said what is wrong, or the tree is gone, or it stops.
        Ok(Ok(_) | Err(ShelfError::NotHeld { .. } | ShelfError::Stopped)) | Err(_) => true,
    }
}

async fn pause(store: &Store, wait: Duration) {
    tokio::select! {
        () = time::sleep(wait) => {}
        () = store.lifetime.stopping() => {}
    }
}
