//! Small trees, and a slow and obvious reader of what became of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroshare_content::{
    Algorithm, BlobId, Family, FileDigests, HashKind, ItemKind, ListedFile, Manifest, Piece,
    TreeListing, TreePath,
};
use zeroshare_staging::{Committed, Durability, SourceId, StageOptions, Staged};

/// Larger than one piece of a small tree, and no multiple of anything.
pub(crate) const LARGE: usize = 300_001;

pub(crate) const SOURCE: SourceId = SourceId(7);

/// A tree with all its contents at hand.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) manifest: Manifest,
    pub(crate) contents: BTreeMap<BlobId, Vec<u8>>,
}

#[derive(Debug, Default)]
pub(crate) struct TreeBuilder {
    listing: TreeListing,
    contents: BTreeMap<BlobId, Vec<u8>>,
}

impl TreeBuilder {
    pub(crate) fn dir(mut self, path: impl AsRef<[u8]>) -> Self {
        self.listing.directory(tree_path(path), 0).unwrap();
        self
    }

    pub(crate) fn file(self, path: impl AsRef<[u8]>, bytes: impl Into<Vec<u8>>) -> Self {
        self.entry(path, bytes, false, 1_000_000_000)
    }

    pub(crate) fn entry(
        mut self,
        path: impl AsRef<[u8]>,
        bytes: impl Into<Vec<u8>>,
        executable: bool,
        mtime: i64,
    ) -> Self {
        let bytes = bytes.into();
        let file = ListedFile {
            executable,
            mtime,
            size: bytes.len() as u64,
            digests: FileDigests::of(&HashKind::ALL, &bytes),
        };
        self.listing.file(tree_path(path), file).unwrap();
        self.remember(&bytes);
        self
    }

    pub(crate) fn link(mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let target = target.as_ref();
        self.listing.symlink(tree_path(path), target).unwrap();
        self.remember(target);
        self
    }

    pub(crate) fn build(self) -> Tree {
        self.build_as(Algorithm::Sha256New)
    }

    pub(crate) fn build_as(self, algorithm: Algorithm) -> Tree {
        let text = self.listing.manifest_text(algorithm).unwrap();
        Tree {
            manifest: Manifest::parse(algorithm.family(), text).unwrap(),
            contents: self.contents,
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        for kind in HashKind::ALL {
            self.contents
                .insert(BlobId::of(kind, bytes), bytes.to_vec());
        }
    }
}

pub(crate) fn tree() -> TreeBuilder {
    TreeBuilder::default()
}

/// One of everything that there is.
pub(crate) fn sample() -> Tree {
    tree()
        .dir("bin")
        .dir("empty directory")
        .dir("lib")
        .dir("lib/deep")
        .dir("lib/deep/down")
        .dir("lib-2")
        .file("README", "read me\n")
        .file("copy of README", "read me\n")
        .entry("bin/run", noise(1, 5000), true, -12_345)
        .entry("bin/also run", noise(1, 5000), true, 0)
        .entry("lib/same data", noise(1, 5000), false, 0)
        .file("lib/empty", "")
        .entry("lib/deep/empty program", "", true, 4_300_000_000)
        .file("lib/deep/down/large", noise(2, LARGE))
        .entry("lib/large again", noise(2, LARGE), false, -1)
        .file("lib/large twin", noise(2, LARGE))
        .file("lib-2/other large", noise(3, 2 * LARGE))
        .file(b"lib-2/not \xff utf-8\t", "x")
        .file("lib-2/.manifest", "only the one at the root is special")
        .link("lib/link", "../bin/run")
        .link("current", "lib-2")
        .link("lib/deep/same target", "lib-2")
        .file("what current says", "lib-2")
        .build()
}

impl Tree {
    pub(crate) fn bytes_of(&self, staged: &Staged, item: u32) -> &[u8] {
        &self.contents[&staged.layout().items()[item as usize].blob]
    }

    pub(crate) fn item(&self, staged: &Staged, bytes: &[u8]) -> u32 {
        let items = staged.layout().items().iter();
        let mut numbered = (0..).zip(items);
        let found = numbered.find(|(_, item)| self.contents[&item.blob] == bytes);
        found.expect("the tree has these contents").0
    }

    /// Puts all that is missing, piece by piece as it would travel, and says how many bytes that were.
    pub(crate) fn put_missing(&self, staged: &Staged) -> u64 {
        let mut put = 0;
        for piece in 0..staged.layout().piece_count() {
            if !staged.holds_piece(piece) {
                put += self.put_piece(staged, piece);
            }
        }
        for item in 0..self.item_count(staged) {
            if !staged.is_proven(item) {
                staged.finish_item(item).unwrap();
            }
        }
        put
    }

    pub(crate) fn item_count(&self, staged: &Staged) -> u32 {
        let _ = self;
        u32::try_from(staged.layout().items().len()).unwrap()
    }

    /// Puts what is missing of one piece.
    pub(crate) fn put_piece(&self, staged: &Staged, piece: u32) -> u64 {
        let mut put = 0;
        match staged.layout().piece(piece).unwrap() {
            Piece::Run { items } => {
                for item in items.filter(|item| !staged.is_proven(*item)) {
                    let bytes = self.bytes_of(staged, item);
                    staged.put_item(item, bytes).unwrap();
                    put += bytes.len() as u64;
                }
            }
            Piece::Slice { item, offset, len } => {
                let range =
                    usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
                let bytes = &self.bytes_of(staged, item)[range];
                staged.put_slice(item, offset, bytes, SOURCE).unwrap();
                put += len;
            }
        }
        put
    }

    /// Reads what counts as proven.
    pub(crate) fn assert_proven(&self, staged: &Staged) {
        for (number, line) in (0..).zip(self.manifest.lines()) {
            let proven = staged.item_of_line(number);
            let Some(item) = proven.filter(|item| staged.is_proven(*item)) else {
                continue;
            };
            let path = staged.dir().join(&line.path);
            let found = match fs::read_link(&path) {
                Ok(target) => target.into_os_string().into_encoded_bytes(),
                Err(_) => fs::read(&path).unwrap(),
            };
            assert!(found == self.bytes_of(staged, item), "{}", path.display());
        }
    }

    pub(crate) fn slow_commit(&self, store: &Path) -> Committed {
        let staged = Staged::begin(store, &self.manifest, &StageOptions::default()).unwrap();
        self.put_missing(&staged);
        staged.commit(Durability::Unsynced).unwrap()
    }

    pub(crate) fn place_in(&self, store: &Path) -> PathBuf {
        store.join(self.manifest.id().to_string())
    }

    /// Compares a directory with the tree, as somebody who knows nothing of staging.
    pub(crate) fn assert_stored(&self, path: &Path) {
        assert_eq!(
            fs::read(path.join(".manifest")).unwrap(),
            self.manifest.text()
        );
        self.assert_same(path);
        for (found, metadata) in walk(path) {
            let expected = if metadata.is_dir() || is_program(&metadata) {
                0o555
            } else {
                0o444
            };
            if !metadata.is_symlink() {
                assert_eq!(metadata.mode() & 0o7777, expected, "{}", found.display());
            }
        }
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o555);
    }

    /// Compares names, types, contents, times and x-bits.
    pub(crate) fn assert_same(&self, path: &Path) {
        let found = text_of(path, self.manifest.family());
        assert_eq!(
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(self.manifest.text())
        );
        assert_eq!(found, self.manifest.text());
    }
}

pub(crate) fn is_program(metadata: &fs::Metadata) -> bool {
    metadata.is_file() && metadata.mode() & 0o111 != 0
}

/// The manifest of what lies on disk.
fn text_of(path: &Path, family: Family) -> Vec<u8> {
    let mut listing = TreeListing::new();
    for (found, metadata) in walk(path) {
        let inner = TreePath::try_from(found.strip_prefix(path).unwrap()).unwrap();
        if metadata.is_dir() {
            listing.directory(inner, 0).unwrap();
        } else if metadata.is_symlink() {
            let target = fs::read_link(&found).unwrap();
            listing
                .symlink(inner, target.as_os_str().as_bytes())
                .unwrap();
        } else {
            assert!(metadata.is_file(), "{}", found.display());
            if inner.as_bytes() == b".manifest" {
                continue;
            }
            assert_eq!(metadata.mtime_nsec(), 0, "{}", found.display());
            let bytes = fs::read(&found).unwrap();
            let file = ListedFile {
                executable: is_program(&metadata),
                mtime: metadata.mtime(),
                size: metadata.len(),
                digests: FileDigests::of(&HashKind::ALL, &bytes),
            };
            listing.file(inner, file).unwrap();
        }
    }
    let algorithm = match family {
        Family::Sha1 => Algorithm::Sha1,
        Family::Sha1New => Algorithm::Sha1New,
        Family::Sha256 => Algorithm::Sha256New,
    };
    listing.manifest_text(algorithm).unwrap()
}

pub(crate) fn walk(path: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let mut found = Vec::new();
    let mut left = vec![path.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                left.push(entry.path());
            }
            found.push((entry.path(), metadata));
        }
    }
    found
}

/// A store in a temporary directory, which removes also what is read-only.
pub(crate) struct Store(tempfile::TempDir);

impl Store {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn begin(&self, tree: &Tree) -> Staged {
        Staged::begin(self.path(), &tree.manifest, &StageOptions::default()).unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        make_writable(self.path());
    }
}

pub(crate) fn make_writable(path: &Path) {
    let mut left = vec![path.to_owned()];
    while let Some(dir) = left.pop() {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
        }
    }
}

/// Bytes that look like nothing, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn tree_path(path: impl AsRef<[u8]>) -> TreePath {
    TreePath::new(path.as_ref().to_vec()).unwrap()
}

pub(crate) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// The items that travel in slices.
pub(crate) fn sliced_items(staged: &Staged) -> Vec<u32> {
    let piece_size = staged.layout().piece_size();
    let items = (0..).zip(staged.layout().items());
    items
        .filter(|(_, item)| item.kind == ItemKind::File && item.size > piece_size)
        .map(|(number, _)| number)
        .collect()
}

/// Changes one byte in the middle of a file, and nothing else that can be seen but its ctime.
pub(crate) fn corrupt(path: &Path) {
    use std::os::unix::fs::FileExt as _;
    let before = fs::metadata(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, before.len() / 2).unwrap();
    file.write_all_at(&[byte[0] ^ 1], before.len() / 2).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    fs::set_permissions(path, before.permissions()).unwrap();
}

/// Where is remembered what is staged.
pub(crate) fn journal_of(store: &Store, staged: &Staged) -> PathBuf {
    store
        .path()
        .join(format!("{}.state", staged.name().display()))
}

/// What a machine that was started anew finds.
pub(crate) fn forget_the_boot(journal: &Path) {
    let mut bytes = fs::read(journal).unwrap();
    bytes[25] ^= 1;
    fs::write(journal, bytes).unwrap();
}
