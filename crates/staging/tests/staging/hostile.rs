use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use zeroshare_staging::{Durability, PutError, StageError, StageOptions, Staged};

use crate::support::{LARGE, SOURCE, Store, Tree, corrupt, make_writable, noise, os, sample, tree};

/// What is done to a tree, and its name.
type Deed<'a> = (&'a str, &'a dyn Fn(&Path));

fn complete(store: &Store, tree: &Tree) -> Staged {
    let staged = store.begin(tree);
    tree.put_missing(&staged);
    staged
}

#[test]
fn an_empty_directory_under_the_name_of_the_tree_is_moved_aside() {
    let (store, tree) = (Store::new(), sample());
    fs::create_dir(tree.place_in(store.path())).unwrap();
    let committed = complete(&store, &tree).commit(Durability::Durable).unwrap();
    assert!(!committed.existed);
    tree.assert_stored(&committed.path);
    let aside = committed.quarantined.unwrap();
    assert!(
        aside
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("tmp-quarantine-sha256new_")
    );
    assert!(fs::read_dir(aside).unwrap().next().is_none());
    assert_eq!(store.names().len(), 2);
}

#[test]
fn a_file_or_symlink_under_the_name_of_the_tree_is_moved_aside() {
    let tree = sample();
    let elsewhere = Store::new();
    let whole = tree.slow_commit(elsewhere.path()).path;
    let put: [&dyn Fn(&Path); 3] = [
        &|at| fs::write(at, "garbage").unwrap(),
        &|at| symlink("nowhere", at).unwrap(),
        // It leads to the right tree, but out of the store.
        &|at| symlink(&whole, at).unwrap(),
    ];
    for put in put {
        let store = Store::new();
        put(&tree.place_in(store.path()));
        let committed = complete(&store, &tree)
            .commit(Durability::Unsynced)
            .unwrap();
        tree.assert_stored(&committed.path);
        assert!(fs::symlink_metadata(committed.quarantined.unwrap()).is_ok());
    }
    tree.assert_stored(&whole);
}

#[test]
fn the_right_tree_under_its_name_is_a_success() {
    let (store, tree) = (Store::new(), sample());
    let staged = complete(&store, &tree);
    // Another writer was quicker, with its own modes and without a manifest.
    let other = Store::new();
    let copied = tree.slow_commit(other.path());
    make_writable(&copied.path);
    fs::remove_file(copied.path.join(".manifest")).unwrap();
    fs::rename(&copied.path, tree.place_in(store.path())).unwrap();
    let committed = staged.commit(Durability::Durable).unwrap();
    assert!(committed.existed && committed.quarantined.is_none());
    assert_eq!(committed.files.len(), copied.files.len());
    for (file, before) in committed.files.iter().zip(&copied.files) {
        assert_eq!((file.line, file.stamp), (before.line, before.stamp));
        assert_eq!(file.midstates, before.midstates);
    }
    assert_eq!(store.names(), [tree.manifest.id().to_string()]);
    tree.assert_same(&committed.path);
}

#[test]
fn a_tree_that_differs_in_anything_is_replaced() {
    let tree = sample();
    let damage: [Deed<'_>; 9] = [
        ("a byte", &|tree| corrupt(&tree.join("lib-2/other large"))),
        ("a missing file", &|tree| {
            fs::remove_file(tree.join("README")).unwrap();
        }),
        ("a surplus file", &|tree| {
            fs::write(tree.join("lib/more"), "").unwrap();
        }),
        ("a surplus directory", &|tree| {
            fs::create_dir(tree.join("more")).unwrap();
        }),
        ("the x-bit", &|tree| {
            fs::set_permissions(tree.join("README"), fs::Permissions::from_mode(0o555)).unwrap();
        }),
        ("a time", &|tree| {
            let file = fs::File::open(tree.join("README")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("a link's target", &|tree| {
            fs::remove_file(tree.join("current")).unwrap();
            symlink("lib-3", tree.join("current")).unwrap();
        }),
        ("the manifest", &|tree| {
            fs::remove_file(tree.join(".manifest")).unwrap();
            fs::write(tree.join(".manifest"), "F").unwrap();
        }),
        ("a directory that is a symlink", &|tree| {
            fs::rename(tree.join("lib"), tree.join("lib-2/moved")).unwrap();
            symlink("lib-2/moved", tree.join("lib")).unwrap();
        }),
    ];
    for (what, damage) in damage {
        let store = Store::new();
        let standing = tree.slow_commit(store.path()).path;
        make_writable(&standing);
        damage(&standing);
        let committed = complete(&store, &tree)
            .commit(Durability::Unsynced)
            .unwrap();
        assert!(committed.quarantined.is_some(), "{what}");
        tree.assert_stored(&committed.path);
    }
}

#[test]
fn a_symlink_or_file_under_the_name_of_the_staging_directory_is_replaced() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    let dir = staged.dir().to_owned();
    staged.discard().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), &dir).unwrap();
    tree.assert_stored(
        &complete(&store, &tree)
            .commit(Durability::Unsynced)
            .unwrap()
            .path,
    );
    assert!(fs::read_dir(elsewhere.path()).unwrap().next().is_none());
    fs::write(&dir, "garbage").unwrap();
    assert!(
        complete(&store, &tree)
            .commit(Durability::Unsynced)
            .unwrap()
            .existed
    );
}

#[test]
fn nothing_is_written_through_symlinks_in_the_staging_directory() {
    let (store, tree) = (Store::new(), sample());
    let elsewhere = tempfile::tempdir().unwrap();
    let victim = elsewhere.path().join("run");
    fs::write(&victim, "precious").unwrap();
    let staged = store.begin(&tree);
    // Both for a file and for a directory on the way to one.
    symlink(elsewhere.path().join("new"), staged.dir().join("README")).unwrap();
    fs::remove_dir(staged.dir().join("bin")).unwrap();
    symlink(elsewhere.path(), staged.dir().join("bin")).unwrap();
    let item = tree.item(&staged, b"read me\n");
    let refused = staged.put_item(item, b"read me\n");
    assert!(matches!(refused, Err(PutError::NameTaken { .. })));
    let item = tree.item(&staged, &noise(1, 5000));
    assert!(staged.put_item(item, &noise(1, 5000)).is_err());
    assert!(!staged.is_proven(item));
    // Nor through one that stays in the tree.
    fs::remove_dir(staged.dir().join("lib-2")).unwrap();
    symlink("lib", staged.dir().join("lib-2")).unwrap();
    assert!(
        staged
            .put_slice(tree.item(&staged, &noise(3, 2 * LARGE)), 0, b"x", SOURCE)
            .is_err()
    );
    assert!(!staged.dir().join("lib/other large").exists());
    fs::rename(
        staged.dir().join("lib/deep"),
        staged.dir().join("lib/moved"),
    )
    .unwrap();
    symlink("moved", staged.dir().join("lib/deep")).unwrap();
    let large = tree.item(&staged, &noise(2, LARGE));
    assert!(staged.put_item(large, &noise(2, LARGE)).is_err());
    assert!(!staged.dir().join("lib/moved/down/large").exists());
    assert!(!staged.is_proven(large));
    drop(staged);
    // The next run throws out what is not of the tree.
    tree.assert_stored(
        &complete(&store, &tree)
            .commit(Durability::Unsynced)
            .unwrap()
            .path,
    );
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[test]
fn what_does_not_belong_into_a_staging_directory_is_thrown_out() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    let dir = staged.dir().to_owned();
    drop(staged);
    fs::create_dir_all(dir.join("lib/surplus/deeper")).unwrap();
    fs::write(dir.join("lib/surplus/deeper/file"), "x").unwrap();
    fs::set_permissions(
        dir.join("lib/surplus/deeper"),
        fs::Permissions::from_mode(0o555),
    )
    .unwrap();
    fs::create_dir(dir.join("README")).unwrap();
    symlink("/etc/passwd", dir.join("lib/empty2")).unwrap();
    fs::remove_dir(dir.join("lib/deep/down")).unwrap();
    fs::write(dir.join("lib/deep/down"), "no directory").unwrap();
    fs::write(dir.join(".manifest.2"), "").unwrap();
    tree.assert_stored(
        &complete(&store, &tree)
            .commit(Durability::Unsynced)
            .unwrap()
            .path,
    );
}

#[test]
fn what_appears_or_vanishes_before_the_rename_stops_it() {
    let tree = sample();
    let tamper: [Deed<'_>; 5] = [
        ("surplus", &|dir| {
            fs::write(dir.join("lib/surplus"), "").unwrap();
        }),
        ("vanished", &|dir| {
            fs::remove_file(dir.join("README")).unwrap();
        }),
        ("grown", &|dir| {
            fs::set_permissions(dir.join("README"), fs::Permissions::from_mode(0o644)).unwrap();
            fs::write(dir.join("README"), "read me more\n").unwrap();
        }),
        ("touched", &|dir| {
            let file = fs::File::open(dir.join("README")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("replaced by a symlink", &|dir| {
            fs::remove_file(dir.join("README")).unwrap();
            symlink("lib", dir.join("README")).unwrap();
        }),
    ];
    for (what, tamper) in tamper {
        let store = Store::new();
        let staged = complete(&store, &tree);
        tamper(staged.dir());
        let refused = staged.commit(Durability::Unsynced);
        assert!(refused.is_err(), "{what}");
        assert!(!tree.place_in(store.path()).exists());
        // The next run mends it.
        tree.assert_stored(
            &complete(&store, &tree)
                .commit(Durability::Unsynced)
                .unwrap()
                .path,
        );
    }
}

#[test]
fn modes_that_were_tampered_with_are_set_right() {
    let (store, tree) = (Store::new(), sample());
    let staged = complete(&store, &tree);
    fs::set_permissions(
        staged.dir().join("README"),
        fs::Permissions::from_mode(0o4777),
    )
    .unwrap();
    fs::set_permissions(staged.dir().join("lib"), fs::Permissions::from_mode(0o2777)).unwrap();
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn a_target_that_no_symlink_can_have_is_an_error() {
    let store = Store::new();
    let tree = tree().link("link", b"zero\0inside").build();
    let staged = store.begin(&tree);
    assert!(matches!(
        staged.put_item(0, b"zero\0inside"),
        Err(PutError::Io { .. })
    ));
    assert!(!staged.is_proven(0));
}

#[test]
fn the_second_of_two_is_told_who_writes() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    let second = Staged::begin(store.path(), &tree.manifest, &StageOptions::default());
    assert!(matches!(second, Err(StageError::AlreadyLocked { dir }) if dir == staged.dir()));
    // Another tree is no matter.
    let other = crate::support::tree().file("one", "one").build();
    other.assert_stored(&other.slow_commit(store.path()).path);
    drop(staged);
    store.begin(&tree);
}

#[test]
fn deep_and_wide_paths_are_written_and_removed() {
    let store = Store::new();
    let mut builder = tree();
    let mut path = PathBuf::new();
    for depth in 0..200 {
        path.push(format!("d{depth}"));
        builder = builder.dir(path.as_os_str().as_encoded_bytes());
    }
    path.push("file");
    let tree = builder
        .file(path.as_os_str().as_encoded_bytes(), "deep")
        .build();
    let staged = store.begin(&tree);
    tree.put_missing(&staged);
    drop(staged);
    store.begin(&tree).discard().unwrap();
    assert!(store.names().is_empty());
    tree.assert_stored(&tree.slow_commit(store.path()).path);
}

#[test]
fn a_replaced_tree_whose_exchange_was_cut_short_is_not_mistaken_for_staged_data() {
    let (store, tree) = (Store::new(), tree().file("large", noise(1, LARGE)).build());
    let staged = store.begin(&tree);
    staged.put_slice(0, 0, &noise(1, LARGE), SOURCE).unwrap();
    staged.finish_item(0).unwrap();
    let dir = staged.dir().to_owned();
    drop(staged);
    // As if it had died between the exchange and the move: the corrupt tree has the staging name, no journal.
    let journal = store.path().join(os(&[
        dir.file_name().unwrap().as_encoded_bytes(),
        b".state",
    ]
    .concat()));
    fs::remove_file(journal).unwrap();
    corrupt(&dir.join("large"));
    assert!(!store.begin(&tree).is_complete());
}
