use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use zeroshare_staging::{CommitError, Durability, StageError, StageOptions, Staged, free_bytes};

use crate::support::{Store, Tree, is_program, sample, walk};

fn begin_copy(target: &Path, tree: &Tree) -> Result<Staged, StageError> {
    Staged::begin_copy(target, &tree.manifest, &StageOptions::default())
}

#[test]
fn an_ordinary_copy_can_be_changed_and_has_no_manifest() {
    let (room, tree) = (Store::new(), sample());
    let target = room.path().join("my copy");
    let staged = begin_copy(&target, &tree).unwrap();
    assert_eq!(staged.target(), target);
    assert!(!target.exists());
    tree.put_missing(&staged);
    let committed = staged.commit(Durability::Durable).unwrap();
    assert_eq!(committed.path, target);
    assert_eq!(room.names(), ["my copy"]);
    tree.assert_same(&target);
    assert!(!target.join(".manifest").exists());
    for (path, metadata) in walk(&target) {
        if metadata.is_symlink() {
            continue;
        }
        let runs = metadata.is_dir() || is_program(&metadata);
        let wanted = if runs { 0o700 } else { 0o600 };
        assert_eq!(metadata.mode() & 0o7700, wanted, "{}", path.display());
        if metadata.is_file() {
            assert_eq!(metadata.nlink(), 1, "{}", path.display());
        }
    }
}

#[test]
fn a_copy_is_never_put_over_something() {
    let (room, tree) = (Store::new(), sample());
    let target = room.path().join("taken");
    fs::create_dir(&target).unwrap();
    assert!(matches!(
        begin_copy(&target, &tree),
        Err(StageError::TargetExists { .. })
    ));
    assert_eq!(room.names(), ["taken"]);
    fs::remove_dir(&target).unwrap();
    let staged = begin_copy(&target, &tree).unwrap();
    tree.put_missing(&staged);
    // An empty directory is what a plain rename would replace.
    fs::create_dir(&target).unwrap();
    let refused = staged.commit(Durability::Unsynced);
    assert!(matches!(refused, Err(CommitError::TargetExists { .. })));
    assert!(fs::read_dir(&target).unwrap().next().is_none());
    fs::remove_dir(&target).unwrap();
    let staged = begin_copy(&target, &tree).unwrap();
    assert!(staged.is_complete());
    tree.assert_same(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn copies_of_one_tree_to_two_places_do_not_meet() {
    let (room, tree) = (Store::new(), sample());
    let first = begin_copy(&room.path().join("a"), &tree).unwrap();
    let second = begin_copy(&room.path().join("b"), &tree).unwrap();
    assert!(matches!(
        begin_copy(&room.path().join("a"), &tree),
        Err(StageError::AlreadyLocked { .. })
    ));
    for staged in [first, second] {
        tree.put_missing(&staged);
        tree.assert_same(&staged.commit(Durability::Unsynced).unwrap().path);
    }
}

#[test]
fn a_copy_needs_a_name_and_a_directory_to_lie_in() {
    let (room, tree) = (Store::new(), sample());
    assert!(matches!(
        begin_copy(Path::new("/"), &tree),
        Err(StageError::BadTarget { .. })
    ));
    assert!(matches!(
        begin_copy(Path::new(".."), &tree),
        Err(StageError::BadTarget { .. })
    ));
    let missing = room.path().join("missing/copy");
    assert!(matches!(
        begin_copy(&missing, &tree),
        Err(StageError::Io { .. })
    ));
    assert!(room.names().is_empty());
}

#[test]
fn a_store_that_is_not_there_is_made() {
    let (room, tree) = (Store::new(), sample());
    let store = room.path().join("0install.net/implementations");
    tree.assert_stored(&tree.slow_commit(&store).path);
}

#[test]
fn a_store_may_be_a_symlink() {
    let (room, tree) = (Store::new(), sample());
    fs::create_dir(room.path().join("real")).unwrap();
    let store = room.path().join("link");
    std::os::unix::fs::symlink("real", &store).unwrap();
    tree.assert_stored(&tree.slow_commit(&store).path);
}

#[test]
fn a_store_whose_set_group_id_bit_is_inherited_leaves_no_trace_in_trees() {
    let (store, tree) = (Store::new(), sample());
    fs::set_permissions(store.path(), fs::Permissions::from_mode(0o2775)).unwrap();
    tree.assert_stored(&tree.slow_commit(store.path()).path);
}

#[test]
fn a_tree_beyond_its_quota_leaves_nothing() {
    let (store, tree) = (Store::new(), sample());
    let options = StageOptions {
        quota: Some(1_000_000),
        ..StageOptions::default()
    };
    let refused = Staged::begin(store.path(), &tree.manifest, &options);
    let Err(StageError::OverQuota { needed, quota }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(quota, 1_000_000);
    assert!(needed > tree.manifest.total_size() - 310_000, "{needed}");
    assert!(store.names().is_empty());
    let options = StageOptions {
        quota: Some(needed),
        ..StageOptions::default()
    };
    Staged::begin(store.path(), &tree.manifest, &options).unwrap();
}

#[test]
fn a_tree_that_can_never_fit_is_refused_before_the_first_byte() {
    let store = Store::new();
    let hash = "0".repeat(63);
    let text = format!("F {hash}1 0 16000000000000 vast\n");
    let manifest =
        zeroshare_content::Manifest::parse(zeroshare_content::Family::Sha256, text).unwrap();
    let refused = Staged::begin(store.path(), &manifest, &StageOptions::default());
    let Err(StageError::NoSpace { needed, free }) = refused else {
        panic!("{refused:?}");
    };
    assert!(needed >= 16_000_000_000_000 && free < needed);
    assert!(store.names().is_empty());
}

#[test]
fn free_space_is_that_of_the_file_system() {
    let store = Store::new();
    assert!(free_bytes(store.path()).unwrap() > 0);
    assert!(free_bytes(&store.path().join("missing")).is_err());
}

#[test]
fn a_time_that_the_file_system_does_not_keep_is_refused_before_the_first_byte() {
    let store = Store::new();
    let tree = crate::support::tree()
        .entry("before all times", "x", false, i64::MIN)
        .build();
    let refused = Staged::begin(store.path(), &tree.manifest, &StageOptions::default());
    assert!(matches!(
        refused,
        Err(StageError::TimeNotKept {
            seconds: i64::MIN,
            ..
        })
    ));
    assert!(store.names().is_empty());
}

#[test]
fn times_back_to_1901_and_after_2038_are_kept_where_they_can_be() {
    let store = Store::new();
    let tree = crate::support::tree()
        .entry("early", "x", false, -2_147_483_648)
        .entry("late", "x", false, 4_294_967_296)
        .build();
    tree.assert_stored(&tree.slow_commit(store.path()).path);
}

/// Only root can make a directory that is another user's.
fn give_to_another_user(path: &Path) -> bool {
    let us = fs::metadata(path).unwrap().uid();
    us == 0 && chown(path, Some(us + 1), None).is_ok()
}

#[test]
fn two_users_of_one_store_stage_the_same_tree_side_by_side() {
    let (store, tree) = (Store::new(), sample());
    let theirs = store.begin(&tree).dir().to_owned();
    if !give_to_another_user(&theirs) {
        return;
    }
    let ours = store.begin(&tree);
    let name = format!("{}-u0", theirs.file_name().unwrap().display());
    assert_eq!(ours.name(), name.as_str());
    tree.put_missing(&ours);
    drop(ours);
    let ours = store.begin(&tree);
    assert!(ours.is_complete(), "it is found again");
    tree.assert_stored(&ours.commit(Durability::Unsynced).unwrap().path);
    assert!(theirs.exists());
}
