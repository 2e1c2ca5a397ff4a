//! Which paths there are, by the names of cached feeds alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use zeroshare_content::TreeId;

use super::address::Address;

/// Feeds that one path may stand for: by two schemes, of the user and of the system.
const MAX_FEEDS: usize = 4;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Directory,
    /// A link to this tree.
    Link(TreeId),
}

/// A feed in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CachedFeed {
    /// The cache that it lies in, and what it is called there.
    pub(crate) dir: PathBuf,
    pub(crate) file: PathBuf,
    pub(crate) address: Address,
}

/// Directories, by their paths.
#[derive(Debug, Default)]
pub(crate) struct Index {
    root: Directory,
}

/// What lies in a directory, versions left out.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    inside: BTreeMap<String, Self>,
    /// Whose versions lie here, what counts first before.
    feeds: Vec<CachedFeed>,
}

impl Index {
    /// Takes feeds of all caches; those of a cache that counts first must come before those of others.
    pub(crate) fn new(feeds: impl IntoIterator<Item = CachedFeed>) -> Self {
        let mut index = Self::default();
        for feed in feeds {
            let mut directory = &mut index.root;
            for name in &feed.address.path {
                directory = directory.inside.entry(name.clone()).or_default();
            }
            if directory.feeds.len() < MAX_FEEDS {
                directory.feeds.push(feed);
                directory.feeds.sort_by_key(|feed| feed.address.rank);
            }
        }
        index
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.root.inside.is_empty()
    }

    /// Finds a directory.
    pub(crate) fn directory(&self, path: &[String]) -> Option<&Directory> {
        path.iter()
            .try_fold(&self.root, |directory, name| directory.inside.get(name))
    }
}

impl Directory {
    /// The directories in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.inside.keys()
    }

    /// Whose versions lie in it.
    pub(crate) fn feeds(&self) -> &[CachedFeed] {
        &self.feeds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_are_directories() {
        let index = Index::new([
            feed("/u", "http%3a%2f%2fa.org%2fx%2fone.xml"),
            feed("/u", "https%3a%2f%2fa.org%2fx%2fone.xml"),
            feed("/s", "http%3a%2f%2fa.org%2fx%2fone.xml"),
            feed("/s", "http%3a%2f%2fa.org%2fx"),
            feed("/s", "http%3a%2f%2fb.org%2ftwo.xml"),
        ]);
        assert!(!index.is_empty() && Index::default().is_empty());
        assert_eq!(names(&index, &[]), ["a.org", "b.org"]);
        assert_eq!(names(&index, &["a.org", "x"]), ["one.xml"]);
        assert_eq!(names(&index, &["b.org", "two.xml"]), [""; 0]);
        assert!(index.directory(&path(&["a.org", "y"])).is_none());
        let one = index.directory(&path(&["a.org", "x", "one.xml"])).unwrap();
        let from = one.feeds().iter();
        let from: Vec<_> = from
            .map(|feed| (feed.dir.to_str().unwrap(), feed.address.rank))
            .collect();
        assert_eq!(from, [("/u", 0), ("/u", 1), ("/s", 1)]);
        let above = index.directory(&path(&["a.org", "x"])).unwrap();
        assert_eq!(above.feeds().len(), 1, "a path can be both");
    }

    fn names<'a>(index: &'a Index, at: &[&str]) -> Vec<&'a str> {
        let directory = index.directory(&path(at)).unwrap();
        directory.names().map(String::as_str).collect()
    }

    fn path(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn feed(dir: &str, file: &str) -> CachedFeed {
        CachedFeed {
            dir: dir.into(),
            file: file.into(),
            address: Address::of_file(file.as_bytes()).unwrap(),
        }
    }
}
