//! The trees of tests are what they say.

use std::{fs, os::unix::fs::MetadataExt as _};

use zeroshare_content::Algorithm;
use zeroshare_testkit::{Scratch, TestEntry, TestTree, flip_byte, put_in_store, resident_bytes};

#[test]
fn trees_are_the_same_for_the_same_seed_only() {
    assert_eq!(TestTree::with_slices(1), TestTree::with_slices(1));
    assert_ne!(TestTree::with_slices(1), TestTree::with_slices(2));
    assert_eq!(
        TestTree::many_files(1, 300, 100),
        TestTree::many_files(1, 300, 100)
    );
    let files = TestTree::many_files(1, 300, 100);
    let files = files
        .entries()
        .filter(|(_, entry)| !matches!(entry, TestEntry::Directory));
    assert_eq!(files.count(), 300);
}

#[test]
fn a_tree_in_a_store_is_read_only_and_reads_back() {
    let scratch = Scratch::new();
    for tree in [TestTree::small(), TestTree::deep(40), TestTree::new()] {
        let directory = put_in_store(&tree, scratch.path(), Algorithm::Sha1New);
        assert_eq!(TestTree::read_from(&directory), tree);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o555);
        let manifest = fs::metadata(directory.join(".manifest")).unwrap();
        assert_eq!(manifest.mode() & 0o7777, 0o444);
    }
    let hello = scratch.join(
        TestTree::small()
            .tree_id(Algorithm::Sha1New)
            .directory_names()[0]
            .as_str(),
    );
    assert_eq!(
        fs::metadata(hello.join("bin/hello")).unwrap().mode() & 0o7777,
        0o555
    );
}

#[test]
fn a_flipped_byte_shows_in_nothing_but_the_bytes() {
    let scratch = Scratch::new();
    let tree = TestTree::small();
    let directory = put_in_store(&tree, scratch.path(), Algorithm::Sha256New);
    let path = directory.join("share/doc/README");
    let before = fs::metadata(&path).unwrap();
    flip_byte(&path, 3);
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (before.len(), before.mtime(), before.mode()),
        (after.len(), after.mtime(), after.mode())
    );
    assert_ne!(TestTree::read_from(&directory), tree);
}

#[test]
fn a_scratch_directory_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let path = scratch.path().to_owned();
    put_in_store(&TestTree::small(), &path, Algorithm::Sha256New);
    drop(scratch);
    assert!(!path.exists());
}

#[test]
fn this_process_holds_memory() {
    assert!(resident_bytes() > 100_000);
}
