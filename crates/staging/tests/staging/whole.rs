use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use zeroshare_content::{Algorithm, Entry};
use zeroshare_proof::GrainHasher;
use zeroshare_staging::{CommitError, Durability, PutError, StageOptions, Staged};

use crate::support::{LARGE, Store, noise, sample, sliced_items, tree};

#[test]
fn a_tree_put_piece_by_piece_is_what_its_manifest_says() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    assert!(!staged.is_complete());
    assert_eq!(staged.missing_bytes(), staged.layout().content_size());
    assert_eq!(tree.put_missing(&staged), staged.layout().content_size());
    assert!(staged.is_complete());
    assert_eq!(staged.missing_bytes(), 0);
    let all = [0..staged.layout().piece_count()];
    assert_eq!(staged.held_pieces(), all);
    let committed = staged.commit(Durability::Durable).unwrap();
    assert_eq!(committed.path, tree.place_in(store.path()));
    assert!(committed.durable && !committed.existed && committed.quarantined.is_none());
    assert!(committed.boot_id.is_some());
    tree.assert_stored(&committed.path);
    assert_eq!(store.names(), [tree.manifest.id().to_string()]);
}

#[test]
fn the_empty_tree_is_a_tree() {
    let (store, tree) = (Store::new(), tree().build());
    let staged = store.begin(&tree);
    assert!(staged.is_complete());
    let committed = staged.commit(Durability::Durable).unwrap();
    tree.assert_stored(&committed.path);
    assert!(committed.files.is_empty());
}

#[test]
fn a_tree_of_the_older_family_is_proven_by_its_own_hash() {
    let store = Store::new();
    let tree = tree()
        .file("small", "small")
        .file("large", noise(1, LARGE))
        .link("link", "small")
        .build_as(Algorithm::Sha1New);
    let committed = tree.slow_commit(store.path());
    tree.assert_stored(&committed.path);
    assert!(committed.files.iter().all(|file| file.midstates.is_none()));
}

#[test]
fn more_entries_than_are_synced_one_by_one_are_durable_too() {
    let store = Store::new();
    let mut tree = tree().dir("many");
    for number in 0..100 {
        tree = tree.file(format!("many/{number}"), format!("{}", number % 10));
    }
    let tree = tree.build();
    let staged = store.begin(&tree);
    tree.put_missing(&staged);
    tree.assert_stored(&staged.commit(Durability::Durable).unwrap().path);
}

#[test]
fn without_a_sync_the_commit_says_so() {
    let (store, tree) = (Store::new(), sample());
    let committed = tree.slow_commit(store.path());
    assert!(!committed.durable);
    tree.assert_stored(&committed.path);
}

#[test]
fn the_stamps_are_those_of_the_committed_files() {
    let (store, tree) = (Store::new(), sample());
    let committed = tree.slow_commit(store.path());
    let mut lines = Vec::new();
    for file in &committed.files {
        let line = &tree.manifest.lines()[file.line as usize];
        let found = fs::symlink_metadata(committed.path.join(&line.path)).unwrap();
        assert!(found.is_file());
        assert_eq!(file.stamp.device, found.dev());
        assert_eq!(file.stamp.inode, found.ino());
        assert_eq!(file.stamp.size, found.len());
        assert_eq!(file.stamp.modify_time, (found.mtime(), 0));
        assert_eq!(file.stamp.change_time.0, found.ctime());
        assert_eq!(i64::from(file.stamp.change_time.1), found.ctime_nsec());
        lines.push(file.line);
    }
    let files = tree.manifest.lines().iter().zip(0..);
    let files = files.filter(|(line, _)| {
        let found = fs::symlink_metadata(committed.path.join(&line.path)).unwrap();
        found.is_file()
    });
    assert_eq!(lines, files.map(|(_, number)| number).collect::<Vec<u32>>());
}

#[test]
fn large_files_come_with_their_midstates() {
    let (store, tree) = (Store::new(), sample());
    let committed = tree.slow_commit(store.path());
    let mut with_midstates = 0;
    for file in &committed.files {
        let bytes = fs::read(
            committed
                .path
                .join(&tree.manifest.lines()[file.line as usize].path),
        )
        .unwrap();
        let expected = (bytes.len() > 128 * 1024).then(|| {
            let mut hasher = GrainHasher::new();
            hasher.update(&bytes);
            hasher.finish().1
        });
        with_midstates += usize::from(expected.is_some());
        assert_eq!(file.midstates, expected);
    }
    assert_eq!(with_midstates, 4);
}

#[test]
fn equal_files_of_a_tree_are_one_file_on_disk() {
    let (store, tree) = (Store::new(), sample());
    let committed = tree.slow_commit(store.path());
    let inode = |path: &str| fs::metadata(committed.path.join(path)).unwrap().ino();
    assert_eq!(inode("README"), inode("copy of README"));
    assert_eq!(inode("lib/deep/down/large"), inode("lib/large twin"));
    // Links share their time and mode.
    assert_ne!(inode("lib/large again"), inode("lib/large twin"));
    assert_ne!(inode("bin/run"), inode("bin/also run"));
    assert_ne!(inode("bin/also run"), inode("lib/same data"));
}

#[test]
fn equal_files_can_be_kept_apart() {
    let (store, tree) = (Store::new(), sample());
    let options = StageOptions {
        link_files: false,
        ..StageOptions::default()
    };
    let staged = Staged::begin(store.path(), &tree.manifest, &options).unwrap();
    tree.put_missing(&staged);
    let committed = staged.commit(Durability::Unsynced).unwrap();
    tree.assert_stored(&committed.path);
    for file in &committed.files {
        let line = &tree.manifest.lines()[file.line as usize];
        let found = fs::metadata(committed.path.join(&line.path)).unwrap();
        assert_eq!(found.nlink(), 1);
    }
}

#[test]
fn wrong_bytes_are_refused_and_leave_nothing() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    let item = tree.item(&staged, b"read me\n");
    let refused = staged.put_item(item, b"read mE\n");
    assert!(matches!(refused, Err(PutError::Mismatch { .. })));
    let refused = staged.put_item(item, b"read me");
    assert!(matches!(refused, Err(PutError::Mismatch { .. })));
    assert!(!staged.is_proven(item));
    assert!(!staged.dir().join("README").exists());
    assert!(!staged.dir().join("copy of README").exists());
    staged.put_item(item, b"read me\n").unwrap();
    assert!(staged.is_proven(item));
    assert!(staged.dir().join("copy of README").exists());
}

#[test]
fn what_is_proven_is_not_written_again() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    let item = tree.item(&staged, b"read me\n");
    staged.put_item(item, b"read me\n").unwrap();
    let before = fs::metadata(staged.dir().join("README")).unwrap();
    staged.put_item(item, b"read me\n").unwrap();
    staged.put_item(item, b"anything").unwrap();
    staged.finish_item(item).unwrap();
    let after = fs::metadata(staged.dir().join("README")).unwrap();
    assert_eq!(
        (before.ino(), before.ctime_nsec()),
        (after.ino(), after.ctime_nsec())
    );
}

#[test]
fn an_item_that_does_not_exist_is_an_error() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    let beyond = tree.item_count(&staged);
    for item in [beyond, u32::MAX] {
        let no_item = |error| matches!(error, Err(PutError::NoSuchItem { .. }));
        assert!(no_item(staged.put_item(item, b"")));
        assert!(no_item(staged.finish_item(item)));
        assert!(no_item(staged.drop_slices(item, 0..1)));
        assert!(no_item(staged.read_slice(item, 0, 0).map(drop)));
        assert!(no_item(staged.adopt(item, staged.dir()).map(drop)));
        assert!(!staged.is_proven(item));
        assert!(!staged.holds_piece(u32::MAX));
    }
}

#[test]
fn an_unfinished_tree_cannot_be_committed() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    let item = tree.item(&staged, b"read me\n");
    staged.put_item(item, b"read me\n").unwrap();
    let missing = usize::try_from(tree.item_count(&staged)).unwrap() - 1;
    let refused = staged.commit(Durability::Durable);
    assert!(matches!(refused, Err(CommitError::Incomplete { missing: m }) if m == missing));
    assert!(!tree.place_in(store.path()).exists());
    assert!(store.begin(&tree).is_proven(item));
}

#[test]
fn lines_know_their_items() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    let lines = (0..).zip(tree.manifest.lines());
    for (number, line) in lines {
        let item = staged.item_of_line(number);
        let blob = item.map(|item| staged.layout().items()[item as usize].blob);
        let expected = match line.entry {
            Entry::Directory | Entry::File { size: 0, .. } => None,
            Entry::File { blob, .. } | Entry::Symlink { blob, .. } => Some(blob),
        };
        assert_eq!(blob, expected);
    }
}

#[test]
fn many_threads_put_one_tree_together() {
    let store = Store::new();
    let mut builder = tree();
    for dir in 0..10 {
        builder = builder.dir(format!("d{dir}"));
        for file in 0..20 {
            let bytes = noise(dir * 7 + file, 1000);
            builder = builder.file(format!("d{dir}/f{file}"), bytes);
        }
        builder = builder.file(format!("d{dir}/large"), noise(dir, LARGE));
    }
    let tree = builder.build();
    let staged = store.begin(&tree);
    let next = AtomicU32::new(0);
    // Every piece comes to two threads, as from two senders.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let piece = next.fetch_add(1, Ordering::Relaxed) / 2;
                    if piece >= staged.layout().piece_count() {
                        break;
                    }
                    tree.put_piece(&staged, piece);
                }
            });
        }
    });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for item in sliced_items(&staged) {
                    staged.finish_item(item).unwrap();
                }
            });
        }
    });
    assert!(staged.is_complete());
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn what_is_discarded_is_gone() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    tree.put_missing(&staged);
    staged.discard().unwrap();
    assert!(store.names().is_empty());
}
