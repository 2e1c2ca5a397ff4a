//! Trees to test with.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use fastrand::Rng;
use zeroshare_content::{
    Algorithm, FileDigests, GRAIN, HashKind, ListedFile, Manifest, TreeId, TreeListing, TreePath,
};

/// All directories were changed then.
pub(crate) const DIRECTORY_MTIME: i64 = 1_000_000_000;

const FILE_MTIME: i64 = 1_100_000_000;

/// A tree in memory. Parents of entries are there by themselves.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TestTree {
    entries: BTreeMap<Vec<u8>, TestEntry>,
}

/// What lies at one path of a tree.
#[derive(Clone, PartialEq, Eq)]
pub enum TestEntry {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// What it contains.
        bytes: Bytes,
        /// Whether it may be run.
        executable: bool,
        /// When it was changed, in seconds since 1970.
        mtime: i64,
    },
    /// A symlink.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
}

impl TestTree {
    /// A tree of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, bytes: impl Into<Bytes>) -> Self {
        self.entry(
            path.as_ref(),
            TestEntry::File {
                bytes: bytes.into(),
                executable: false,
                mtime: FILE_MTIME,
            },
        )
    }

    /// Adds a file that may be run.
    #[must_use]
    pub fn executable(self, path: impl AsRef<[u8]>, bytes: impl Into<Bytes>) -> Self {
        self.entry(
            path.as_ref(),
            TestEntry::File {
                bytes: bytes.into(),
                executable: true,
                mtime: FILE_MTIME + 1,
            },
        )
    }

    /// Adds a symlink.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl Into<Vec<u8>>) -> Self {
        let target = target.into();
        self.entry(path.as_ref(), TestEntry::Symlink { target })
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory(self, path: impl AsRef<[u8]>) -> Self {
        self.entry(path.as_ref(), TestEntry::Directory)
    }

    /// A bit of everything, in one piece of links and one of files: an executable, symlinks, an empty
    /// file, duplicates, names with spaces and beyond ASCII.
    pub fn small() -> Self {
        Self::new()
            .executable("bin/hello", "#!/bin/sh\necho hello\n")
            .symlink("bin/hi", "hello")
            .symlink("current", "share/doc")
            .file("share/doc/README", "Say hello.\n")
            .file("share/doc/copy of README", "Say hello.\n")
            .file("share/doc/empty", "")
            .file("share/grüße.txt", "hej då\n")
            .directory("var/nothing here")
    }

    /// [`Self::small`], and files of several slices, one of them twice, one ending in the middle of a
    /// grain.
    pub fn with_slices(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let grain = usize::try_from(GRAIN).expect("a grain fits into memory");
        let large = random_bytes(&mut random, 9 * grain + 12_345);
        Self::small()
            .file("lib/large.so", large.clone())
            .file("lib/large.so.1", large)
            .executable("lib/even", random_bytes(&mut random, 4 * grain))
            .file("lib/grain", random_bytes(&mut random, grain))
            .file("lib/grain+1", random_bytes(&mut random, grain + 1))
    }

    /// So many files of up to `most_bytes` bytes in directories of 100, every 50th a symlink to the
    /// one before, every 20th a duplicate.
    pub fn many_files(seed: u64, files: usize, most_bytes: usize) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut tree = Self::new();
        let mut last = Bytes::from_static(b"the first of all\n");
        for number in 0..files {
            let path = format!("part {}/file {number}", number / 100);
            if number % 50 == 49 {
                tree = tree.symlink(path, format!("file {}", number - 1));
                continue;
            }
            if number % 20 != 19 {
                let bytes = random.usize(..=most_bytes);
                last = random_bytes(&mut random, bytes);
            }
            tree = match number % 7 {
                0 => tree.executable(path, last.clone()),
                _ => tree.file(path, last.clone()),
            };
        }
        tree
    }

    /// One file of so many random bytes.
    pub fn one_file(seed: u64, bytes: usize) -> Self {
        Self::new().file("data", random_bytes(&mut Rng::with_seed(seed), bytes))
    }

    /// A file below so many directories.
    pub fn deep(directories: usize) -> Self {
        Self::new().file("d/".repeat(directories) + "end", "deep\n")
    }

    /// What it consists of, by path.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &TestEntry)> {
        self.entries.iter().map(|(path, entry)| (&**path, entry))
    }

    /// What lies at a path.
    pub fn at(&self, path: impl AsRef<[u8]>) -> Option<&TestEntry> {
        self.entries.get(path.as_ref())
    }

    /// The same tree without what lies at a path.
    #[must_use]
    pub fn without(mut self, path: impl AsRef<[u8]>) -> Self {
        self.entries.remove(path.as_ref());
        self
    }

    /// Its manifest in one of the new formats; the oldest is [`Self::manifest_text`] only.
    pub fn manifest(&self, algorithm: Algorithm) -> Manifest {
        Manifest::parse(algorithm.family(), self.manifest_text(algorithm))
            .expect("a manifest that was made can be read")
    }

    /// Its manifest as text.
    pub fn manifest_text(&self, algorithm: Algorithm) -> Vec<u8> {
        self.listing()
            .manifest_text(algorithm)
            .expect("the tree of a test has a manifest")
    }

    /// Its id.
    pub fn tree_id(&self, algorithm: Algorithm) -> TreeId {
        TreeId::of_manifest(algorithm.family(), &self.manifest_text(algorithm))
    }

    /// The bytes of all files, each as often as it occurs.
    pub fn total_bytes(&self) -> u64 {
        let sizes = self.entries.values().map(|entry| match entry {
            TestEntry::File { bytes, .. } => bytes.len() as u64,
            TestEntry::Directory | TestEntry::Symlink { .. } => 0,
        });
        sizes.sum()
    }

    pub(crate) fn insert(&mut self, path: Vec<u8>, entry: TestEntry) {
        let mut end = path.len();
        while let Some(slash) = path[..end].iter().rposition(|&byte| byte == b'/') {
            end = slash;
            self.entries
                .entry(path[..end].to_vec())
                .or_insert(TestEntry::Directory);
        }
        self.entries.insert(path, entry);
    }

    fn entry(mut self, path: &[u8], entry: TestEntry) -> Self {
        self.insert(path.to_vec(), entry);
        self
    }

    fn listing(&self) -> TreeListing {
        let mut listing = TreeListing::new();
        for (path, entry) in &self.entries {
            let path = TreePath::new(path.as_slice()).expect("the path of a test can be named");
            let listed = match entry {
                TestEntry::Directory => listing.directory(path, DIRECTORY_MTIME),
                TestEntry::Symlink { target } => listing.symlink(path, target),
                TestEntry::File {
                    bytes,
                    executable,
                    mtime,
                } => listing.file(
                    path,
                    ListedFile {
                        executable: *executable,
                        mtime: *mtime,
                        size: bytes.len() as u64,
                        digests: FileDigests::of(&[HashKind::Sha1, HashKind::Sha256], bytes),
                    },
                ),
            };
            listed.expect("the tree of a test can be listed");
        }
        listing
    }
}

impl fmt::Debug for TestTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.entries.iter();
        f.debug_map()
            .entries(paths.map(|(path, entry)| (String::from_utf8_lossy(path), entry)))
            .finish()
    }
}

impl fmt::Debug for TestEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("directory"),
            Self::Symlink { target } => {
                write!(f, "symlink to {:?}", String::from_utf8_lossy(target))
            }
            Self::File {
                bytes,
                executable,
                mtime,
            } => {
                let kind = if *executable { "executable" } else { "file" };
                let start = &bytes[..bytes.len().min(16)];
                let start = String::from_utf8_lossy(start);
                write!(f, "{kind} of {} bytes {start:?}… of {mtime}", bytes.len())
            }
        }
    }
}

fn random_bytes(random: &mut Rng, bytes: usize) -> Bytes {
    let mut filled = vec![0; bytes];
    random.fill(&mut filled);
    filled.into()
}
