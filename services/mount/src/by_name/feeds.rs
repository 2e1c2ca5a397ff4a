//! 0install's caches of feeds, read when somebody asks.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::debug;
use zeroshare_chassis::process::chain;
use zeroshare_shelf::{Beneath, MAX_FEED_BYTES};

use super::address::Address;
use super::feed::{self, FeedError, Versions};
use super::index::{CachedFeed, Index, What};

/// For how long the names of cached feeds are believed.
const FRESH: Duration = Duration::from_secs(1);

/// Feeds of one cache.
const MAX_FEEDS: usize = 10_000;

/// Feeds whose versions are remembered.
const MAX_READ: usize = 1024;

/// What feeds say, of all caches.
#[derive(Debug)]
pub(crate) struct Feeds {
    /// The first counts first.
    caches: Vec<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    index: Arc<Index>,
    indexed: Option<Instant>,
    read: BTreeMap<PathBuf, (Stamp, Arc<Versions>)>,
}

/// What changes with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// Why a feed cannot be read.
#[derive(Debug, thiserror::Error)]
enum ReadFault {
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    #[error("it is not text")]
    NoText(#[source] std::string::FromUtf8Error),
    #[error(transparent)]
    Feed(FeedError),
}

impl Feeds {
    /// Of caches that may not be there.
    pub(crate) fn new(caches: Vec<PathBuf>) -> Self {
        Self {
            caches,
            state: Mutex::default(),
        }
    }

    /// Whether any feed is cached.
    pub(crate) fn is_empty(&self, now: Instant) -> bool {
        self.index(now).is_empty()
    }

    /// What a path is; `None`: nothing.
    pub(crate) fn look(&self, now: Instant, path: &[String]) -> Option<What> {
        let index = self.index(now);
        if index.directory(path).is_some() {
            return Some(What::Directory);
        }
        let (name, above) = path.split_last()?;
        let feeds = index.directory(above)?.feeds();
        let mut all = feeds.iter().map(|feed| self.versions(feed));
        let tree = all.find_map(|versions| versions.get(name).copied());
        tree.map(What::Link)
    }

    /// What lies in a directory; `None` if it is none.
    pub(crate) fn list(&self, now: Instant, path: &[String]) -> Option<BTreeMap<String, What>> {
        let index = self.index(now);
        let directory = index.directory(path)?;
        let mut inside = BTreeMap::new();
        for feed in directory.feeds() {
            for (version, tree) in self.versions(feed).iter() {
                inside.entry(version.clone()).or_insert(What::Link(*tree));
            }
        }
        let names = directory.names();
        inside.extend(names.map(|name| (name.clone(), What::Directory)));
        Some(inside)
    }

    fn index(&self, now: Instant) -> Arc<Index> {
        let state = self.state();
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < FRESH;
        if state.indexed.is_some_and(is_fresh) {
            return state.index.clone();
        }
        drop(state);
        let index = Arc::new(Index::new(self.caches.iter().flat_map(|dir| cached(dir))));
        let mut state = self.state();
        state.indexed = Some(now);
        state.index = index.clone();
        index
    }

    /// What a feed says; nothing, if it cannot be read.
    fn versions(&self, feed: &CachedFeed) -> Arc<Versions> {
        self.read(feed).unwrap_or_else(|fault| {
            debug!(
                feed = feed.address.text,
                why = chain(&fault),
                "a cached feed is left out"
            );
            Arc::default()
        })
    }

    fn read(&self, feed: &CachedFeed) -> Result<Arc<Versions>, ReadFault> {
        let opened = Beneath::open(&feed.dir).and_then(|dir| dir.file(&feed.file));
        let file = opened.map_err(ReadFault::Io)?;
        let stamp = Stamp::of(&file).map_err(ReadFault::Io)?;
        let path = feed.dir.join(&feed.file);
        if let Some((known, versions)) = self.state().read.get(&path)
            && *known == stamp
        {
            return Ok(versions.clone());
        }
        let mut bytes = Vec::new();
        let most = MAX_FEED_BYTES as u64 + 1;
        let read = file.take(most).read_to_end(&mut bytes);
        read.map_err(ReadFault::Io)?;
        let text = String::from_utf8(bytes).map_err(ReadFault::NoText)?;
        let versions = feed::read(&text, &feed.address.text, ARCH);
        let versions = Arc::new(versions.map_err(ReadFault::Feed)?);
        let mut state = self.state();
        if state.read.len() >= MAX_READ {
            state.read.clear();
        }
        state.read.insert(path, (stamp, versions.clone()));
        Ok(versions)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// The feeds of a cache, by their names.
fn cached(dir: &Path) -> Vec<CachedFeed> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let feeds = names.filter_map(|name| {
        Some(CachedFeed {
            dir: dir.to_owned(),
            address: Address::of_file(name.as_bytes())?,
            file: name.into(),
        })
    });
    feeds.take(MAX_FEEDS).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use zeroshare_content::{Family, TreeId};

    use super::*;

    const FILE: &str = "http%3a%2f%2fa.org%2fone.xml";

    #[test]
    fn a_feed_is_found_when_it_is_cached_and_read_again_when_it_changed() {
        let (user, system) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let feeds = Feeds::new(vec![
            user.path().to_owned(),
            system.path().to_owned(),
            "/nonexistent".into(),
        ]);
        let start = Instant::now();
        assert!(feeds.is_empty(start));
        assert_eq!(feeds.look(start, &[]), Some(What::Directory));
        write(system.path(), &[("1.0", 1), ("2.0", 2)]);
        write(user.path(), &[("2.0", 3)]);
        assert!(feeds.is_empty(start), "that was asked just now");
        let now = start + FRESH;
        assert!(!feeds.is_empty(now));
        let at =
            |names: &[&str]| -> Vec<String> { names.iter().map(ToString::to_string).collect() };
        let inside = feeds.list(now, &at(&["a.org", "one.xml"])).unwrap();
        let expected = [("1.0", id(1)), ("2.0", id(3))];
        let links = |all: [(&str, TreeId); 2]| {
            BTreeMap::from(all.map(|(version, tree)| (version.to_owned(), What::Link(tree))))
        };
        assert_eq!(inside, links(expected));
        let version = at(&["a.org", "one.xml", "2.0"]);
        assert_eq!(feeds.look(now, &version), Some(What::Link(id(3))));
        write(user.path(), &[("2.0", 4), ("2.10", 5)]);
        assert_eq!(feeds.look(now, &version), Some(What::Link(id(4))));
        for nothing in [
            &["a.org", "one.xml", "3.0"][..],
            &["a.org", "one.xml", "2.0", "bin"],
            &["a.org", "two.xml"],
            &["a.org", "1.0"],
            &["b.org"],
        ] {
            assert_eq!(feeds.look(now, &at(nothing)), None, "{nothing:?}");
            assert_eq!(feeds.list(now, &at(nothing)), None, "{nothing:?}");
        }
    }

    #[test]
    fn what_is_no_file_or_no_feed_says_nothing() {
        let cache = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        write(elsewhere.path(), &[("1.0", 1)]);
        symlink(elsewhere.path().join(FILE), cache.path().join(FILE)).unwrap();
        let broken = "http%3a%2f%2fa.org%2fbroken.xml";
        fs::write(cache.path().join(broken), b"<\xff").unwrap();
        fs::create_dir(cache.path().join("http%3a%2f%2fa.org%2fdir.xml")).unwrap();
        let feeds = Feeds::new(vec![cache.path().to_owned()]);
        let now = Instant::now();
        for name in ["one.xml", "broken.xml", "dir.xml"] {
            let path = ["a.org".to_owned(), name.to_owned()];
            assert_eq!(feeds.list(now, &path), Some(BTreeMap::new()), "{name}");
        }
    }

    fn write(dir: &Path, versions: &[(&str, u32)]) {
        let all = versions.iter().map(|(version, number)| {
            format!("<implementation version='{version}' id='{}'/>", id(*number))
        });
        let feed = format!(
            "<interface xmlns='http://zero-install.sourceforge.net/2004/injector/interface' \
             uri='http://a.org/one.xml'>{}</interface>",
            all.collect::<String>()
        );
        fs::write(dir.join(FILE), feed).unwrap();
    }

    fn id(number: u32) -> TreeId {
        TreeId::of_manifest(Family::Sha256, &number.to_be_bytes())
    }
}
