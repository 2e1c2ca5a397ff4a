//! What a peer serves, in memory.

pub(crate) mod lists;

use std::{fs, ops::Range, os::unix::ffi::OsStrExt as _, path::Path};

use bytes::{Bytes, BytesMut};
use zeroshare_content::{
    Algorithm, BlobId, ContentId, Family, HashKind, Layout, Manifest, Piece, TreeId,
};

use zeroshare_wire::convert::merge_ranges;

use crate::{TestEntry, TestTree};

/// One tree or blob with all its bytes, cut by the real layout.
#[derive(Debug, Clone)]
pub struct Offered {
    id: ContentId,
    manifest: Bytes,
    layout: Option<Layout>,
    items: Vec<Bytes>,
    /// Which pieces are held, sorted; `None`: all.
    held: Option<Vec<Range<u32>>>,
}

impl Offered {
    /// Offers a tree.
    pub fn tree(tree: &TestTree, algorithm: Algorithm) -> Self {
        Self::of_manifest(&tree.manifest(algorithm), |path| match tree.at(path) {
            Some(TestEntry::File { bytes, .. }) => bytes.clone(),
            Some(TestEntry::Symlink { target }) => Bytes::copy_from_slice(target),
            Some(TestEntry::Directory) | None => panic!("a manifest names what the tree has"),
        })
    }

    /// Offers a tree that lies in a store, under the id that its `.manifest` gives.
    pub fn directory(directory: &Path, family: Family) -> Self {
        let text = fs::read(directory.join(".manifest")).expect("a manifest lies in the tree");
        let manifest = Manifest::parse(family, text).expect("the manifest can be read");
        Self::of_manifest(&manifest, |path| {
            let path = directory.join(std::ffi::OsStr::from_bytes(path));
            match fs::read_link(&path) {
                Ok(target) => Bytes::copy_from_slice(target.as_os_str().as_bytes()),
                Err(_) => fs::read(&path).expect("a file can be read").into(),
            }
        })
    }

    /// Offers a single file.
    pub fn blob(kind: HashKind, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let id = BlobId::of(kind, &bytes);
        let layout = Layout::of_blob(id, bytes.len() as u64).expect("a blob has a layout");
        Self {
            id: id.into(),
            manifest: Bytes::new(),
            layout: Some(layout),
            items: vec![bytes],
            held: None,
        }
    }

    /// Offers a manifest as it is, under the id that it hashes to, and no pieces at all.
    pub fn manifest(family: Family, text: impl Into<Bytes>) -> Self {
        let manifest = text.into();
        Self {
            id: TreeId::of_manifest(family, &manifest).into(),
            manifest,
            layout: None,
            items: Vec::new(),
            held: None,
        }
    }

    /// Offers only these pieces of it.
    #[must_use]
    pub fn only(mut self, pieces: impl IntoIterator<Item = u32>) -> Self {
        let held = pieces.into_iter().map(|piece| piece..piece + 1).collect();
        self.held = Some(merge_ranges(held));
        self
    }

    /// What it is.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// How it is cut; not for what has only a manifest.
    pub fn layout(&self) -> &Layout {
        self.layout.as_ref().expect("a manifest alone is not cut")
    }

    /// The text of its manifest; empty for a blob.
    pub fn manifest_text(&self) -> &Bytes {
        &self.manifest
    }

    /// The bytes of one piece; `None` past the end.
    pub fn piece(&self, number: u32) -> Option<Bytes> {
        match self.layout.as_ref()?.piece(number)? {
            Piece::Run { items } => {
                let mut run = BytesMut::new();
                for item in items {
                    run.extend_from_slice(&self.items[index(item)]);
                }
                Some(run.freeze())
            }
            Piece::Slice { item, offset, len } => {
                Some(self.items[index(item)].slice(index(offset)..index(offset + len)))
            }
        }
    }

    /// How many pieces it has.
    pub fn piece_count(&self) -> u32 {
        self.layout.as_ref().map_or(0, Layout::piece_count)
    }

    /// How many bytes it has.
    pub fn content_size(&self) -> u64 {
        self.layout.as_ref().map_or(0, Layout::content_size)
    }

    pub(crate) fn starts_file(&self, number: u32) -> bool {
        let piece = self.layout.as_ref().and_then(|layout| layout.piece(number));
        matches!(piece, Some(Piece::Slice { offset: 0, .. }))
    }

    pub(crate) fn is_slice(&self, number: u32) -> bool {
        let piece = self.layout.as_ref().and_then(|layout| layout.piece(number));
        matches!(piece, Some(Piece::Slice { .. }))
    }

    pub(crate) fn holds(&self, number: u32) -> bool {
        match &self.held {
            None => number < self.piece_count(),
            Some(held) => held.iter().any(|range| range.contains(&number)),
        }
    }

    pub(crate) fn held(&self) -> Vec<Range<u32>> {
        let all = std::iter::once(0..self.piece_count());
        self.held.clone().unwrap_or_else(|| all.collect())
    }

    fn of_manifest(manifest: &Manifest, read: impl Fn(&[u8]) -> Bytes) -> Self {
        let layout = Layout::of_manifest(manifest).expect("the tree of a test can be cut");
        let items = layout.items().iter().map(|item| {
            let bytes = read(manifest.lines()[index(item.line)].path.as_bytes());
            let hash = BlobId::of(item.blob.kind(), &bytes);
            assert_eq!(hash, item.blob, "the bytes are those of the manifest");
            bytes
        });
        Self {
            id: manifest.id().into(),
            manifest: Bytes::copy_from_slice(manifest.text()),
            items: items.collect(),
            layout: Some(layout.clone()),
            held: None,
        }
    }
}

pub(crate) fn index(number: impl TryInto<usize>) -> usize {
    number.try_into().ok().expect("tests fit into memory")
}
