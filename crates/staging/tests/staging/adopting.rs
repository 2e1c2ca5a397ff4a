use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use zeroshare_staging::{Durability, StageOptions, Staged};

use crate::support::{LARGE, SOURCE, Store, noise, sample, tree};

#[test]
fn a_whole_tree_is_adopted_from_another_one() {
    let (from, store, tree) = (Store::new(), Store::new(), sample());
    let there = tree.slow_commit(from.path()).path;
    let staged = store.begin(&tree);
    for item in 0..tree.item_count(&staged) {
        let line = staged.layout().items()[item as usize].line;
        let path = there.join(&tree.manifest.lines()[line as usize].path);
        assert!(staged.adopt(item, &path).unwrap(), "{}", path.display());
        assert!(staged.is_proven(item));
    }
    let committed = staged.commit(Durability::Unsynced).unwrap();
    tree.assert_stored(&committed.path);
    tree.assert_stored(&there);
    assert!(committed.files.iter().any(|file| file.midstates.is_some()));
}

#[test]
fn what_is_not_wanted_is_not_adopted() {
    let store = Store::new();
    let tree = tree()
        .file("large", noise(1, LARGE))
        .file("small", noise(2, 100))
        .link("link", "target")
        .build();
    let staged = store.begin(&tree);
    let large = tree.item(&staged, &noise(1, LARGE));
    let small = tree.item(&staged, &noise(2, 100));
    let link = tree.item(&staged, b"target");
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |name: &str| elsewhere.path().join(name);
    fs::write(path("as large"), noise(9, LARGE)).unwrap();
    fs::write(path("as small"), noise(9, 100)).unwrap();
    fs::write(path("right"), noise(1, LARGE)).unwrap();
    symlink("tArget", path("as long")).unwrap();
    symlink(path("right"), path("symlink to right")).unwrap();
    let fifo = path("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let refused: [(u32, PathBuf); 10] = [
        (large, path("as large")),
        (large, path("as small")),
        (large, path("missing")),
        (large, path("symlink to right")),
        (large, fifo.clone()),
        (large, elsewhere.path().to_owned()),
        (small, path("as small")),
        (small, fifo),
        (link, path("as long")),
        (link, PathBuf::new()),
    ];
    for (item, from) in refused {
        assert!(!staged.adopt(item, &from).unwrap(), "{}", from.display());
        assert!(!staged.is_proven(item));
    }
    assert!(!staged.dir().join("large").exists());
    assert!(staged.adopt(large, &path("right")).unwrap());
    tree.put_missing(&staged);
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn slices_that_were_fetched_survive_a_file_that_does_not_match() {
    let store = Store::new();
    let tree = tree().file("large", noise(1, LARGE)).build();
    let elsewhere = tempfile::tempdir().unwrap();
    let (wrong, right) = (
        elsewhere.path().join("wrong"),
        elsewhere.path().join("right"),
    );
    fs::write(&wrong, noise(9, LARGE)).unwrap();
    fs::write(&right, noise(1, LARGE)).unwrap();
    let staged = store.begin(&tree);
    staged
        .put_slice(0, 0, &noise(1, LARGE)[..131_072], SOURCE)
        .unwrap();
    assert!(!staged.adopt(0, &wrong).unwrap());
    assert_eq!(staged.held_pieces(), [0..1]);
    assert!(staged.adopt(0, &right).unwrap());
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

fn with_links(store: &Path, tree: &crate::support::Tree) -> Staged {
    let options = StageOptions {
        link_trees: true,
        ..StageOptions::default()
    };
    Staged::begin(store, &tree.manifest, &options).unwrap()
}

#[test]
fn twins_in_one_store_are_linked_when_that_is_asked_for() {
    let store = Store::new();
    let first = tree()
        .file("a", noise(1, LARGE))
        .entry("b", noise(2, LARGE), true, 5)
        .build();
    let second = tree()
        .file("c", noise(1, LARGE))
        .entry("d", noise(2, LARGE), true, 6)
        .build();
    let there = first.slow_commit(store.path()).path;
    let staged = with_links(store.path(), &second);
    for (bytes, name) in [(noise(1, LARGE), "a"), (noise(2, LARGE), "b")] {
        let item = second.item(&staged, &bytes);
        assert!(staged.adopt(item, &there.join(name)).unwrap());
    }
    let here = staged.commit(Durability::Unsynced).unwrap().path;
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(there.join("a")), inode(here.join("c")));
    // Its time differs, and links share it.
    assert_ne!(inode(there.join("b")), inode(here.join("d")));
    first.assert_stored(&there);
    second.assert_stored(&here);
}

#[test]
fn what_could_be_written_later_is_copied_not_linked() {
    let store = Store::new();
    let first = tree().file("a", noise(1, LARGE)).build();
    let second = tree().file("c", noise(1, LARGE)).build();
    let there = first.slow_commit(store.path()).path.join("a");
    fs::set_permissions(&there, fs::Permissions::from_mode(0o644)).unwrap();
    let staged = with_links(store.path(), &second);
    assert!(staged.adopt(0, &there).unwrap());
    let here = staged.commit(Durability::Unsynced).unwrap().path;
    assert_ne!(
        fs::metadata(&there).unwrap().ino(),
        fs::metadata(here.join("c")).unwrap().ino()
    );
    second.assert_stored(&here);
}

#[test]
fn a_corrupt_twin_is_neither_linked_nor_copied() {
    let store = Store::new();
    let first = tree().file("a", noise(1, LARGE)).build();
    let second = tree().file("c", noise(1, LARGE)).build();
    let there = first.slow_commit(store.path()).path.join("a");
    crate::support::corrupt(&there);
    let staged = with_links(store.path(), &second);
    assert!(!staged.adopt(0, &there).unwrap());
    assert!(!staged.dir().join("c").exists());
}

#[test]
fn links_out_of_the_store_are_not_made() {
    let (other, store) = (Store::new(), Store::new());
    let tree = tree().file("a", noise(1, LARGE)).build();
    let there = tree.slow_commit(other.path()).path.join("a");
    let staged = with_links(store.path(), &tree);
    assert!(staged.adopt(0, &there).unwrap());
    assert_eq!(fs::metadata(&there).unwrap().nlink(), 1);
}
