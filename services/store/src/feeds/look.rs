//! Keeping up with what lies in the caches.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{self, Instant};
use tonic::Status;
use zeroshare_chassis::process::chain;
use zeroshare_content::{ContentId, FeedUrl};
use zeroshare_shelf::{RootWatcher, Stamp};

use super::{Known, read_feed, signed};
use crate::store::Store;

/// Feeds that are offered: more than a machine has programs. Their keys take 64 KiB at most.
const MAX_FEEDS: usize = 1000;

/// Names that are looked at in one cache.
const MAX_NAMES: usize = 10_000;

/// How often is looked although nothing was noticed.
const INTERVAL: Duration = Duration::from_mins(1);

/// Changes that follow each other this quickly are looked at together.
const SETTLE: Duration = Duration::from_millis(50);

/// Looks now, and whenever something changed, until the store stops.
pub(crate) async fn follow(store: Arc<Store>) {
    if store.feeds.caches.is_empty() {
        return;
    }
    let changed = Arc::new(Notify::new());
    let ring = Arc::clone(&changed);
    let mut watcher = RootWatcher::new(move || ring.notify_one()).ok();
    loop {
        if let Some(watcher) = &mut watcher {
            watcher.watch(&store.feeds.caches);
        }
        let stopping = store.lifetime.stopping();
        tokio::select! {
            looked = look(&store) => if looked.is_err() { return },
            () = stopping => return,
        }
        let next = Instant::now() + INTERVAL;
        tokio::select! {
            () = changed.notified() => time::sleep(SETTLE).await,
            () = time::sleep_until(next) => {}
            () = store.lifetime.stopping() => return,
        }
    }
}

/// Looks once; fails when the store stops.
async fn look(store: &Arc<Store>) -> Result<(), Status> {
    let found = store.on_disk("look at feeds", |store| {
        let mut found = BTreeMap::new();
        for cache in &store.feeds.caches {
            list(cache, &mut found);
        }
        found
    });
    let mut found = found.await?;
    store.feeds.known().retain(|mark, known| {
        let still = found.get(mark).is_some_and(|found| found.is(known));
        if !still && known.key.is_some() {
            tell(store, *mark);
        }
        still
    });
    found.retain(|mark, _| !store.feeds.known().contains_key(mark));
    for (mark, found) in found {
        let known = judge(store, found).await?;
        let is_offered = known.key.is_some();
        store.feeds.known().insert(mark, known);
        if is_offered {
            tell(store, mark);
        }
    }
    Ok(())
}

/// A file that may be a feed.
struct Found {
    url: FeedUrl,
    cache: PathBuf,
    stamp: Stamp,
}

impl Found {
    fn is(&self, known: &Known) -> bool {
        self.cache == known.cache && self.stamp == known.stamp
    }
}

/// Adds the feeds of one cache, those left out that are there already.
fn list(cache: &Path, found: &mut BTreeMap<ContentId, Found>) {
    let Ok(entries) = fs::read_dir(cache) else {
        return;
    };
    for entry in entries.take(MAX_NAMES).filter_map(Result::ok) {
        let url = FeedUrl::of_file_name(entry.file_name().as_bytes());
        // Of the name itself: links are left out.
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file);
        let (Some(url), Some(metadata)) = (url, metadata) else {
            continue;
        };
        if found.len() >= MAX_FEEDS {
            return;
        }
        found.entry(url.mark()).or_insert_with(|| Found {
            url,
            cache: cache.to_owned(),
            stamp: Stamp::of(&metadata),
        });
    }
}

async fn judge(store: &Arc<Store>, found: Found) -> Result<Known, Status> {
    let Found { url, cache, stamp } = found;
    let (of, at) = (url.clone(), cache.clone());
    let read = store
        .on_disk("read a feed", move |_| read_feed(&at, &of))
        .await?;
    let key = match read {
        // Changed meanwhile, it is looked at again.
        Ok((_, now)) if now != stamp => None,
        Ok((feed, _)) => key_of(&feed, &url).await,
        Err(error) => {
            tracing::debug!(%url, %error, "a cached feed cannot be read");
            None
        }
    };
    Ok(Known {
        url,
        cache,
        stamp,
        key: key.map(|key| (key, SystemTime::now())),
    })
}

async fn key_of(feed: &[u8], url: &FeedUrl) -> Option<Bytes> {
    match signed::key_of(feed, url).await {
        Ok(key) => {
            tracing::info!(%url, "feed offered");
            Some(key)
        }
        Err(error) => {
            tracing::info!(%url, error = chain(&error), "feed not offered");
            None
        }
    }
}

fn tell(store: &Store, mark: ContentId) {
    // Fails when nobody watches.
    let _watchers = store.changes.send(mark);
}
