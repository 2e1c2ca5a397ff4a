use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use zeroshare_staging::{Durability, StageOptions, Staged};

use crate::support::{
    LARGE, SOURCE, Store, Tree, corrupt, forget_the_boot, journal_of, noise, sample, tree,
};

#[test]
fn what_was_put_is_there_for_the_next_run() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    let half = staged.layout().piece_count() / 2;
    let put: u64 = (0..half).map(|piece| tree.put_piece(&staged, piece)).sum();
    let held = staged.held_pieces();
    let (name, missing) = (staged.name().to_owned(), staged.missing_bytes());
    drop(staged);
    let staged = store.begin(&tree);
    assert_eq!(staged.name(), name);
    assert_eq!(staged.held_pieces(), held);
    assert_eq!(staged.missing_bytes(), missing);
    assert_eq!(
        put + tree.put_missing(&staged),
        staged.layout().content_size()
    );
    tree.assert_stored(&staged.commit(Durability::Durable).unwrap().path);
    assert_eq!(store.names(), [tree.manifest.id().to_string()]);
}

#[test]
fn slices_of_an_earlier_run_have_no_known_sender() {
    let store = Store::new();
    let tree = tree().file("large", noise(1, LARGE)).build();
    let staged = store.begin(&tree);
    staged
        .put_slice(0, 131_072, &noise(1, LARGE)[131_072..262_144], SOURCE)
        .unwrap();
    drop(staged);
    let staged = store.begin(&tree);
    assert_eq!(staged.slices(0), [(131_072..262_144, None)]);
    assert_eq!(staged.held_pieces(), [1..2]);
}

#[test]
fn a_file_whose_last_slice_came_before_the_crash_is_finished_at_once() {
    let store = Store::new();
    let tree = tree()
        .file("large", noise(1, LARGE))
        .file("twin", noise(1, LARGE))
        .build();
    let staged = store.begin(&tree);
    staged.put_slice(0, 0, &noise(1, LARGE), SOURCE).unwrap();
    drop(staged);
    let staged = store.begin(&tree);
    assert!(staged.is_complete());
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn wrong_slices_of_an_earlier_run_are_found_out_and_replaced() {
    let store = Store::new();
    let tree = tree().file("large", noise(1, LARGE)).build();
    let staged = store.begin(&tree);
    staged.put_slice(0, 0, &noise(9, LARGE), SOURCE).unwrap();
    drop(staged);
    let staged = store.begin(&tree);
    assert!(!staged.is_complete());
    assert!(staged.finish_item(0).is_err());
    staged.put_slice(0, 0, &noise(1, LARGE), SOURCE).unwrap();
    staged.finish_item(0).unwrap();
}

fn corrupt_both_kinds(store: &Store, tree: &Tree) -> Staged {
    let staged = store.begin(tree);
    tree.put_missing(&staged);
    let journal = journal_of(store, &staged);
    let dir = staged.dir().to_owned();
    drop(staged);
    corrupt(&dir.join("bin/run"));
    corrupt(&dir.join("lib-2/other large"));
    forget_the_boot(&journal);
    store.begin(tree)
}

#[test]
fn after_a_new_start_of_the_machine_everything_is_hashed_first() {
    let (store, tree) = (Store::new(), sample());
    let staged = corrupt_both_kinds(&store, &tree);
    // One of them stood at three lines, two of which are whole.
    assert_eq!(staged.missing_bytes(), 2 * LARGE as u64);
    assert_eq!(tree.put_missing(&staged), 2 * LARGE as u64);
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn after_a_new_start_slices_are_not_believed() {
    let store = Store::new();
    let tree = tree().file("large", noise(1, LARGE)).build();
    let staged = store.begin(&tree);
    staged
        .put_slice(0, 0, &noise(1, LARGE)[..262_144], SOURCE)
        .unwrap();
    let journal = journal_of(&store, &staged);
    drop(staged);
    forget_the_boot(&journal);
    let staged = store.begin(&tree);
    assert!(staged.held_pieces().is_empty());
    tree.put_missing(&staged);
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn a_journal_is_believed_up_to_its_first_fault() {
    let store = Store::new();
    let tree = tree().file("large", noise(1, LARGE)).build();
    let staged = store.begin(&tree);
    for start in [0, 131_072, 262_144] {
        let end = (start + 131_072).min(LARGE);
        staged
            .put_slice(0, start as u64, &noise(1, LARGE)[start..end], SOURCE)
            .unwrap();
    }
    let journal = journal_of(&store, &staged);
    drop(staged);
    let whole = fs::read(&journal).unwrap();
    let record = 32;
    // Torn in the last record.
    fs::write(&journal, &whole[..whole.len() - 1]).unwrap();
    let staged = store.begin(&tree);
    assert_eq!(staged.held_pieces(), [0..2]);
    drop(staged);
    // Damaged in the second one.
    let mut damaged = whole.clone();
    let second = damaged.len() - 2 * record;
    damaged[second + 9] ^= 1;
    fs::write(&journal, damaged).unwrap();
    let staged = store.begin(&tree);
    assert_eq!(staged.held_pieces(), [0..1]);
    drop(staged);
    for worthless in [b"".as_slice(), &whole[..50], &noise(3, 5000)] {
        fs::write(&journal, worthless).unwrap();
        // Nothing of it is believed, but the file is hashed, and found to be whole.
        assert!(store.begin(&tree).is_complete());
    }
}

#[test]
fn the_journal_of_another_tree_is_not_believed() {
    let store = Store::new();
    let wanted = tree().file("large", noise(1, LARGE)).build();
    let other = tree().file("large", noise(2, LARGE)).build();
    let staged = store.begin(&other);
    staged.put_slice(0, 0, &noise(2, LARGE), SOURCE).unwrap();
    let foreign = fs::read(journal_of(&store, &staged)).unwrap();
    staged.discard().unwrap();
    let staged = store.begin(&wanted);
    staged.put_slice(0, 0, b"x", SOURCE).unwrap();
    let journal = journal_of(&store, &staged);
    drop(staged);
    fs::write(&journal, foreign).unwrap();
    assert!(store.begin(&wanted).held_pieces().is_empty());
}

#[test]
fn a_recorded_file_of_another_size_is_started_anew() {
    let store = Store::new();
    let tree = tree().file("large", noise(1, LARGE)).build();
    let staged = store.begin(&tree);
    staged
        .put_slice(0, 0, &noise(1, LARGE)[..131_072], SOURCE)
        .unwrap();
    let file = staged.dir().join("large");
    drop(staged);
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(200_000)
        .unwrap();
    let staged = store.begin(&tree);
    assert!(staged.held_pieces().is_empty());
    tree.put_missing(&staged);
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn a_commit_that_died_before_the_rename_is_resumed() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    tree.put_missing(&staged);
    let dir = staged.dir().to_owned();
    drop(staged);
    // All directories have their final modes.
    for (path, metadata) in crate::support::walk(&dir) {
        if metadata.is_dir() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
        }
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
    let staged = store.begin(&tree);
    assert!(staged.is_complete());
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn what_was_recorded_of_a_file_that_is_gone_is_forgotten_for_good() {
    let store = Store::new();
    let tree = tree().file("large", noise(1, LARGE)).build();
    let staged = store.begin(&tree);
    staged
        .put_slice(0, 0, &noise(1, LARGE)[..131_072], SOURCE)
        .unwrap();
    fs::remove_file(staged.dir().join("large")).unwrap();
    drop(staged);
    let staged = store.begin(&tree);
    assert!(staged.held_pieces().is_empty());
    staged
        .put_slice(0, 262_144, &noise(1, LARGE)[262_144..], SOURCE)
        .unwrap();
    drop(staged);
    assert_eq!(store.begin(&tree).held_pieces(), [2..3]);
}

#[test]
fn one_content_at_many_lines_is_resumed_at_all_of_them() {
    let store = Store::new();
    let mut builder = tree().link("0", "same").file("1", "same");
    for number in 0..500 {
        builder = builder
            .entry(format!("f{number}"), "same", false, number % 3)
            .link(format!("l{number}"), "same");
    }
    let tree = builder.build();
    let staged = store.begin(&tree);
    staged.put_item(0, b"same").unwrap();
    let (dir, journal) = (staged.dir().to_owned(), journal_of(&store, &staged));
    drop(staged);
    // As if it had died in the middle, once under this boot and once under another.
    for number in (0..500).step_by(7) {
        fs::remove_file(dir.join(format!("f{number}"))).unwrap();
        fs::remove_file(dir.join(format!("l{}", number / 2))).unwrap();
    }
    let staged = store.begin(&tree);
    assert!(staged.is_complete());
    drop(staged);
    for number in (0..500).step_by(5) {
        fs::remove_file(dir.join(format!("f{number}"))).unwrap();
    }
    forget_the_boot(&journal);
    let staged = store.begin(&tree);
    assert!(staged.is_complete());
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn equal_files_that_are_not_linked_are_hashed_each() {
    let store = Store::new();
    let tree = tree()
        .file("a", noise(1, 1000))
        .file("b", noise(1, 1000))
        .file("c", noise(1, 1000))
        .build();
    let options = StageOptions {
        link_files: false,
        ..StageOptions::default()
    };
    let begin = || Staged::begin(store.path(), &tree.manifest, &options).unwrap();
    for damaged in ["a", "b", "c"] {
        let staged = begin();
        tree.put_missing(&staged);
        let (dir, journal) = (staged.dir().to_owned(), journal_of(&store, &staged));
        drop(staged);
        corrupt(&dir.join(damaged));
        forget_the_boot(&journal);
        let staged = begin();
        // It is mended from one of the others.
        assert!(staged.is_complete());
        tree.assert_proven(&staged);
    }
}
