use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use zeroshare_staging::{Durability, StageOptions, Staged, quarantine, sweep};

use crate::support::{SOURCE, Store, noise, sample, tree};

const DAY: Duration = Duration::from_hours(24);

/// So much later everything is old.
fn next_week() -> SystemTime {
    SystemTime::now() + 7 * DAY
}

#[test]
fn what_nobody_went_on_with_is_swept() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    tree.put_missing(&staged);
    drop(staged);
    let kept = sweep(store.path(), SystemTime::now(), DAY).unwrap();
    assert!(kept.removed.is_empty());
    assert!(store.begin(&tree).is_complete());
    let swept = sweep(store.path(), next_week(), DAY).unwrap();
    assert_eq!(swept.removed.len(), 1);
    assert!(store.names().is_empty());
}

#[test]
fn what_somebody_is_writing_is_never_swept() {
    let (store, tree) = (Store::new(), sample());
    let staged = store.begin(&tree);
    tree.put_missing(&staged);
    let swept = sweep(store.path(), next_week(), DAY).unwrap();
    assert_eq!((swept.removed.len(), swept.locked), (0, 1));
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn only_what_is_ours_is_swept() {
    let (store, tree) = (Store::new(), sample());
    let whole = tree.slow_commit(store.path()).path;
    for name in ["tmp-1a2b3c", "0install-unpack-77", "optimise-5", "tmp-zero"] {
        fs::create_dir(store.path().join(name)).unwrap();
    }
    symlink(&whole, store.path().join("tmp-zeroshare-link")).unwrap();
    let before = store.names();
    let swept = sweep(store.path(), next_week(), DAY).unwrap();
    assert!(swept.removed.is_empty() && swept.failed.is_empty());
    assert_eq!(store.names(), before);
    tree.assert_stored(&whole);
}

#[test]
fn orphans_are_swept_when_they_are_old() {
    let store = Store::new();
    let orphan = store.path().join("tmp-zeroshare-sha256new_X.state");
    let draft = store.path().join("tmp-zeroshare-sha256new_X.state.new");
    for path in [&orphan, &draft] {
        fs::write(path, "left by a crash").unwrap();
    }
    assert!(
        sweep(store.path(), SystemTime::now(), DAY)
            .unwrap()
            .removed
            .is_empty()
    );
    let swept = sweep(store.path(), next_week(), DAY).unwrap();
    assert_eq!(swept.removed, [orphan, draft]);
}

#[test]
fn trees_in_quarantine_are_kept_for_a_while() {
    let (store, tree) = (Store::new(), sample());
    tree.slow_commit(store.path());
    let name = tree.manifest.id().to_string();
    let aside = quarantine(store.path(), name.as_ref()).unwrap();
    assert!(!tree.place_in(store.path()).exists());
    assert!(aside.join("README").exists());
    assert!(quarantine(store.path(), name.as_ref()).is_err());
    assert!(
        sweep(store.path(), SystemTime::now(), DAY)
            .unwrap()
            .removed
            .is_empty()
    );
    assert_eq!(
        sweep(store.path(), next_week(), DAY).unwrap().removed,
        [aside]
    );
    assert!(store.names().is_empty());
}

#[test]
fn a_fetch_whose_journal_is_fresh_is_not_old() {
    let store = Store::new();
    let tree = tree().dir("d").file("d/large", noise(1, 300_000)).build();
    let staged = store.begin(&tree);
    let dir = staged.dir().to_owned();
    staged.put_slice(0, 0, b"some", SOURCE).unwrap();
    drop(staged);
    fs::File::open(&dir)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(
        sweep(store.path(), SystemTime::now(), DAY)
            .unwrap()
            .removed
            .is_empty()
    );
}

#[test]
fn leftovers_of_copies_are_swept_where_they_lie() {
    let (room, tree) = (Store::new(), sample());
    let target = room.path().join("copy");
    let staged = Staged::begin_copy(&target, &tree.manifest, &StageOptions::default()).unwrap();
    tree.put_missing(&staged);
    drop(staged);
    assert_eq!(
        sweep(room.path(), next_week(), DAY).unwrap().removed.len(),
        1
    );
    assert!(room.names().is_empty());
}

#[test]
fn a_copy_sweeps_what_other_copies_into_the_same_directory_left_long_ago() {
    let (room, tree) = (Store::new(), sample());
    let begin = |name: &str| {
        let target = room.path().join(name);
        Staged::begin_copy(&target, &tree.manifest, &StageOptions::default()).unwrap()
    };
    let leave = |name: &str, modified: SystemTime| {
        let dir = begin(name).dir().to_owned();
        let journal = dir.with_added_extension("state");
        for path in [&dir, &journal].into_iter().filter(|path| path.exists()) {
            let file = fs::File::open(path).unwrap();
            file.set_modified(modified).unwrap();
        }
        dir
    };
    let fresh = leave("fresh", SystemTime::now());
    let old = leave("old", SystemTime::UNIX_EPOCH);
    let store_like = room.path().join("tmp-zeroshare-sha256new_X");
    fs::create_dir(&store_like).unwrap();
    fs::File::open(&store_like)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    let staged = begin("next");
    assert!(!old.exists());
    assert!(fresh.exists() && store_like.exists() && staged.dir().exists());
}
