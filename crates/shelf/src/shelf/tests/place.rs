//! Stores to look into, and slow answers to compare with.

use std::fs;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime};

use zeroshare_content::{Algorithm, HashKind, ItemKind, Manifest, Piece, TreeId};
use zeroshare_proof::Midstates;

use crate::index::{FileRecord, TreeState};
use crate::pieces::{PieceReader, ReadError, Recheck};
use crate::scan::{MANIFEST_FILE, scan_tree};
use crate::shelf::*;

pub(super) const BOOT: &str = "this boot";

/// Larger than the piece size of a small tree, so that it travels in slices.
pub(super) const LARGE: usize = 5 * GRAIN_BYTES + 77;

pub(super) const GRAIN_BYTES: usize = 128 * 1024;

/// Two stores, one of them shared, and an index.
pub(super) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for name in ["shared", "own", "elsewhere"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        place
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn options(&self) -> ShelfOptions {
        let root = |name: &str, shared| ShelvedRoot {
            path: self.path(name),
            shared,
        };
        ShelfOptions {
            roots: vec![root("shared", true), root("own", false)],
            index: IndexPlace::File(self.path("index/index.sqlite")),
            boot: BOOT.to_owned(),
            observer: Box::new(|_| ()),
        }
    }

    pub(super) fn shelf(&self) -> Shelf {
        self.shelf_with_events().0
    }

    pub(super) fn verified_shelf(&self) -> Shelf {
        let shelf = self.shelf();
        shelf.verify_all();
        shelf
    }

    pub(super) fn shelf_with_events(&self) -> (Shelf, Receiver<ShelfEvent>) {
        let (sender, events) = mpsc::channel();
        let observer = Box::new(move |event| sender.send(event).unwrap_or(()));
        let shelf = Shelf::open_index(ShelfOptions {
            observer,
            ..self.options()
        })
        .unwrap();
        shelf.rescan(SystemTime::now()).unwrap();
        (shelf, events)
    }

    /// Puts the same tree into a store under one of its names.
    pub(super) fn put_tree(&self, store: &str, algorithm: Algorithm) -> TreeId {
        let tree = self.path(store).join("tmp-new");
        fs::create_dir_all(tree.join("dir")).unwrap();
        let large: Vec<u8> = (0..LARGE)
            .map(|at| u8::try_from(at / 7 % 251).unwrap())
            .collect();
        for (name, bytes) in [
            ("small", &b"8 bytes!"[..]),
            ("large", &large),
            ("copy", &large),
            ("empty", b""),
        ] {
            fs::write(tree.join(name), bytes).unwrap();
            restore_time(&tree.join(name));
        }
        symlink("null", tree.join("dir/link")).unwrap();
        let scanned = scan_tree(&tree, &HashKind::ALL, &mut |_| ()).unwrap();
        let id = scanned.tree_id(algorithm).unwrap();
        fs::write(
            tree.join(MANIFEST_FILE),
            scanned.manifest_text(algorithm).unwrap(),
        )
        .unwrap();
        fs::rename(
            tree,
            self.path(store).join(id.directory_name(algorithm).unwrap()),
        )
        .unwrap();
        id
    }

    /// What the writer of a tree would tell of it.
    pub(super) fn describe(&self, store: &str, id: &TreeId) -> Committed {
        let path = self.path(store).join(id.to_string());
        let scanned = scan_tree(&path, &[HashKind::Sha256], &mut |_| ()).unwrap();
        let manifest = Manifest::verified(id, fs::read(path.join(MANIFEST_FILE)).unwrap()).unwrap();
        let files = scanned.files().iter().map(|file| CommittedFile {
            line: line_of(&manifest, &file.path.to_string()),
            stamp: file.stamp,
            midstates: file
                .midstates
                .as_ref()
                .map_or(Vec::new(), |list| list.as_bytes().to_vec()),
        });
        Committed {
            id: id.into(),
            path,
            undurable_boot: None,
            files: files.collect(),
        }
    }
}

impl Shelf {
    pub(super) fn verify_all(&self) {
        for id in self.unverified() {
            self.verify(id, Copies::Unverified, &mut go_on).unwrap();
        }
        assert_eq!(self.unverified(), []);
    }

    /// Makes the index take the files as they are for those that were hashed, as a disk that decays does.
    pub(super) fn believe_stamps(&self, id: &TreeId) {
        let copy = self.catalogue().copies(&id.into())[0].clone();
        let (root, name) = copy.place.in_store().unwrap();
        let (key, record) = self
            .index
            .tree(self.root_path(root), name)
            .unwrap()
            .unwrap();
        assert!(matches!(record.state, TreeState::Verified { .. }));
        let source = self.open(id, Audience::Local).unwrap();
        let files: Vec<FileRecord> = self
            .index
            .files(key, 0..=u32::MAX)
            .unwrap()
            .into_iter()
            .map(|file| {
                let path = source.manifest().lines()[file.line as usize].path.clone();
                let metadata = source.dir.file(path.as_path()).unwrap().metadata().unwrap();
                let list = self.index.midstates(key, file.line).unwrap();
                FileRecord {
                    stamp: crate::Stamp::of(&metadata),
                    midstates: list
                        .map(|list| Midstates::from_bytes(metadata.len(), list).unwrap()),
                    ..file
                }
            })
            .collect();
        self.put(&copy, record, &files).unwrap();
    }
}

pub(super) fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(super) fn drained(events: &Receiver<ShelfEvent>) -> Vec<ShelfEvent> {
    events.try_iter().collect()
}

pub(super) fn restore_time(path: &Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

pub(super) fn line_of(manifest: &Manifest, path: &str) -> u32 {
    let line = manifest
        .lines()
        .iter()
        .position(|line| line.path.as_bytes() == path.as_bytes());
    u32::try_from(line.unwrap()).unwrap()
}

pub(super) fn read_range(
    source: &PieceSource,
    piece: u32,
    range: Range<u64>,
    recheck: Recheck,
) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    PieceReader::new(source, recheck, &|| true).read(piece, range, None, &mut bytes)?;
    Ok(bytes)
}

pub(super) fn try_read_all(
    source: &PieceSource,
    recheck: Recheck,
) -> Result<Vec<Vec<u8>>, ReadError> {
    let pieces = 0..source.layout().piece_count();
    pieces
        .map(|piece| {
            read_range(
                source,
                piece,
                0..source.layout().piece_len(piece).unwrap(),
                recheck,
            )
        })
        .collect()
}

pub(super) fn read_all(source: &PieceSource, recheck: Recheck) -> Vec<Vec<u8>> {
    try_read_all(source, recheck).unwrap()
}

/// What each piece must be, by reading whole files.
pub(super) fn slow_pieces(tree: &Path, id: &TreeId) -> Vec<Vec<u8>> {
    let manifest = Manifest::verified(id, fs::read(tree.join(MANIFEST_FILE)).unwrap()).unwrap();
    let layout = zeroshare_content::Layout::of_manifest(&manifest).unwrap();
    let content = |item: u32| {
        let item = layout.items()[item as usize];
        let path = tree.join(manifest.lines()[item.line as usize].path.as_path());
        match item.kind {
            ItemKind::File => fs::read(path).unwrap(),
            ItemKind::Link => fs::read_link(path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes(),
        }
    };
    (0..layout.piece_count())
        .map(|piece| match layout.piece(piece).unwrap() {
            Piece::Run { items } => items.flat_map(content).collect(),
            Piece::Slice { item, offset, len } => content(item)[at(offset)..][..at(len)].to_vec(),
        })
        .collect()
}

pub(super) fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
