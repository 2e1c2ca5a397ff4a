//! What a writer tells of.

use std::fs;
use std::time::{Duration, SystemTime};

use zeroshare_content::Algorithm;

use super::place::*;
use crate::pieces::Recheck;
use crate::shelf::*;

#[test]
fn what_was_not_synced_under_another_boot_is_hashed_first() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let committed = |boot: Option<&str>| {
        let mut committed = place.describe("shared", &id);
        committed.undurable_boot = boot.map(str::to_owned);
        place.shelf().commit(committed).unwrap();
        place.shelf().holding(id, Audience::Local).unwrap().offered
    };
    assert!(committed(None));
    assert!(committed(Some(BOOT)));
    assert!(!committed(Some("another boot")));
    place.shelf().verify_all();
    assert!(place.shelf().holding(id, Audience::Local).unwrap().offered);
}

#[test]
fn a_committed_tree_is_served_without_being_hashed_and_its_midstates_are_given() {
    let place = Place::new();
    let shelf = place.shelf();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    shelf.commit(place.describe("shared", &id)).unwrap();
    assert!(shelf.holding(id, Audience::Local).unwrap().offered);
    let source = shelf.open(id, Audience::Peers).unwrap();
    assert_eq!(
        read_all(&source, Recheck::Yes),
        slow_pieces(&shelf.holding(id, Audience::Local).unwrap().path, &id)
    );

    let line = line_of(source.manifest(), "large");
    let list = shelf.midstates(id, line, Audience::Peers).unwrap().unwrap();
    assert_eq!(list.grains, 6);
    assert_eq!(list.midstates.grains(), 6);
    let slice = (0..source.layout().piece_count()).find_map(|piece| source.slice_line(piece));
    assert_eq!(
        source.list_digest(slice.unwrap()).unwrap(),
        Some(list.list_digest)
    );
    assert_eq!(shelf.midstates(id, 999, Audience::Peers).unwrap(), None);
}

#[test]
fn a_tree_that_is_not_as_described_is_not_taken_over() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let check = |change: &dyn Fn(&mut Committed)| {
        let mut committed = place.describe("shared", &id);
        change(&mut committed);
        let result = place.shelf().commit(committed);
        assert_eq!(
            place.shelf().holding(id, Audience::Local).unwrap().state,
            HoldingState::Unverified
        );
        result.unwrap_err()
    };
    let mismatch = |change: &dyn Fn(&mut Committed)| {
        let error = check(change);
        assert!(matches!(error, CommitError::Mismatch { .. }), "{error}");
    };
    mismatch(&|committed| committed.files[0].stamp.inode += 1);
    mismatch(&|committed| committed.files[0].stamp.ctime.nanoseconds ^= 1);
    mismatch(&|committed| committed.files[0].midstates = vec![1]);
    mismatch(&|committed| committed.files.truncate(1));
    mismatch(&|committed| committed.files[0].line = 999);
    for path in ["elsewhere/x", "shared/../shared/x", "shared", "/"] {
        let error = check(&|committed| committed.path = place.path(path));
        assert!(matches!(error, CommitError::NotThere { .. }), "{error}");
    }
}

#[test]
fn midstates_are_kept_for_a_while_after_a_tree_is_gone() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    let path = shelf.holding(id, Audience::Local).unwrap().path;
    let line = line_of(shelf.open(id, Audience::Peers).unwrap().manifest(), "large");
    fs::remove_dir_all(path).unwrap();
    let now = SystemTime::now();
    shelf.rescan(now).unwrap();
    assert!(
        shelf
            .midstates(id, line, Audience::Peers)
            .unwrap()
            .is_some()
    );
    shelf.rescan(now + Duration::from_mins(1)).unwrap();
    assert!(
        shelf
            .midstates(id, line, Audience::Peers)
            .unwrap()
            .is_some()
    );
    shelf.rescan(now + Duration::from_mins(10)).unwrap();
    assert!(
        shelf
            .midstates(id, line, Audience::Peers)
            .unwrap()
            .is_none()
    );
}
