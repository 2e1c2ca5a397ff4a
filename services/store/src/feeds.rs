//! Feeds of Zero Install that peers may read, where this machine's user wants that.
//!
//! A feed is offered with the public key that it is signed with, as far as this user's `gpg` has that key and finds the
//! signature good. Nobody is told which feeds there are: discovery announces marks, from which no address can be read, and
//! whoever asks knows the address. `signed` asks `gpg`, `look` keeps up with the caches, `send` answers.

mod look;
mod send;
mod signed;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use zeroshare_content::{ContentId, FeedUrl};
use zeroshare_shelf::{Beneath, MAX_FEED_BYTES, Stamp};
use zeroshare_wire::convert::from_system_time;
use zeroshare_wire::pb::store::v1::HeldContent;

pub(crate) use look::follow;
pub(crate) use send::send;

/// The feeds of all caches.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    /// 0install's caches of feeds, the first counts first; none: no feed is shared.
    caches: Vec<PathBuf>,
    known: Mutex<BTreeMap<ContentId, Known>>,
}

/// A feed that lies in a cache.
#[derive(Debug, Clone)]
struct Known {
    url: FeedUrl,
    cache: PathBuf,
    stamp: Stamp,
    /// The armored key that it is signed with, and when that was found out; `None`: it is not offered.
    key: Option<(Bytes, SystemTime)>,
}

/// What a peer is given.
#[derive(Debug)]
pub(crate) struct SignedFeed {
    pub(crate) feed: Vec<u8>,
    pub(crate) key: Bytes,
}

impl Feeds {
    /// Of caches that may not be there.
    pub(crate) fn new(caches: Vec<PathBuf>) -> Self {
        Self {
            caches,
            known: Mutex::default(),
        }
    }

    /// The marks of all that are offered.
    pub(crate) fn marks(&self) -> Vec<ContentId> {
        let known = self.known();
        let offered = known.iter().filter(|(_, feed)| feed.key.is_some());
        offered.map(|(mark, _)| *mark).collect()
    }

    /// How discovery is told of a feed; `None`: none is offered under this mark.
    pub(crate) fn held(&self, mark: &ContentId) -> Option<HeldContent> {
        let known = self.known();
        let feed = known.get(mark)?;
        let (_, checked) = feed.key.as_ref()?;
        Some(HeldContent {
            content_id: mark.to_string(),
            size_bytes: feed.stamp.size,
            verify_time: Some(from_system_time(*checked)),
            offered: true,
            ..HeldContent::default()
        })
    }

    /// Reads what is offered under an address; `None`: nothing, or it has changed since it was looked at.
    pub(crate) fn read(&self, url: &FeedUrl) -> Option<SignedFeed> {
        let known = self.known().get(&url.mark()).cloned()?;
        let (key, _) = known.key?;
        let (feed, stamp) = read_feed(&known.cache, &known.url).ok()?;
        (stamp == known.stamp).then_some(SignedFeed { feed, key })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ContentId, Known>> {
        // Each change is one step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a regular file of a cache, following no link; too long is an error.
fn read_feed(cache: &std::path::Path, url: &FeedUrl) -> io::Result<(Vec<u8>, Stamp)> {
    let file = Beneath::open(cache)?.file(url.file_name().as_ref())?;
    let stamp = Stamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(MAX_FEED_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FEED_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than feeds are",
        ));
    }
    Ok((bytes, stamp))
}

#[cfg(test)]
mod tests {
    use zeroshare_testkit::Scratch;

    use super::*;

    #[test]
    fn a_feed_is_given_while_it_is_the_one_that_was_looked_at_and_has_a_key() {
        let scratch = Scratch::new();
        let cache = scratch.directory("cache");
        let url = |name: &str| -> FeedUrl { format!("http://h/{name}").parse().unwrap() };
        let feeds = Feeds::new(vec![cache.clone()]);
        for (name, key) in [("signed", Some(&b"key"[..])), ("unsigned", None)] {
            let url = url(name);
            std::fs::write(cache.join(url.file_name()), name).unwrap();
            let (_, stamp) = read_feed(&cache, &url).unwrap();
            let key = key.map(|key| (Bytes::from_static(key), SystemTime::UNIX_EPOCH));
            let known = Known {
                url: url.clone(),
                cache: cache.clone(),
                stamp,
                key,
            };
            feeds.known().insert(url.mark(), known);
        }
        let signed = url("signed");
        assert_eq!(feeds.marks(), [signed.mark()]);
        let held = feeds.held(&signed.mark()).unwrap();
        assert!(held.offered && held.verify_time.is_some() && held.path.is_empty());
        assert_eq!(feeds.held(&url("unsigned").mark()), None);
        let given = feeds.read(&signed).unwrap();
        assert_eq!((&*given.feed, &*given.key), (&b"signed"[..], &b"key"[..]));
        for nothing in ["unsigned", "unknown"] {
            assert!(feeds.read(&url(nothing)).is_none(), "{nothing}");
        }
        std::fs::write(cache.join(signed.file_name()), "another").unwrap();
        assert!(feeds.read(&signed).is_none(), "nobody looked at that yet");
        let elsewhere = scratch.directory("elsewhere").join("feed");
        std::fs::rename(cache.join(signed.file_name()), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, cache.join(signed.file_name())).unwrap();
        assert!(read_feed(&cache, &signed).is_err(), "no link is followed");
        let large = vec![b' '; MAX_FEED_BYTES + 1];
        std::fs::write(cache.join(url("large").file_name()), large).unwrap();
        assert!(read_feed(&cache, &url("large")).is_err());
    }
}
