mod committed;
mod listed;
mod place;
mod staged;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use zeroshare_content::{Algorithm, BlobId, HashKind};

use self::place::*;
use super::*;
use crate::pieces::{ReadError, Recheck};
use crate::scan::MANIFEST_FILE;

#[test]
fn a_tree_is_offered_once_it_was_hashed() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.shelf();
    let found = shelf.holding(id, Audience::Local).unwrap();
    assert_eq!(
        (found.state, found.offered),
        (HoldingState::Unverified, false)
    );
    assert!(matches!(
        shelf.open(id, Audience::Local),
        Err(OpenError::NotHeld { .. })
    ));

    assert_eq!(shelf.unverified(), [ContentId::Tree(id)]);
    shelf.verify_all();
    assert_eq!(shelf.unverified(), []);
    let found = shelf.holding(id, Audience::Local).unwrap();
    assert!(found.offered);
    assert_eq!(found.total_bytes, 2 * LARGE as u64 + 8);
    assert_eq!(found.content_bytes, LARGE as u64 + 8 + 4);
    assert_eq!(
        read_all(&shelf.open(id, Audience::Peers).unwrap(), Recheck::No),
        slow_pieces(&found.path, &id)
    );
}

#[test]
fn what_was_found_out_outlives_the_process() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha1New);
    place.shelf().verify_all();
    let shelf = place.shelf();
    assert!(shelf.holding(id, Audience::Local).unwrap().offered);
    assert_eq!(shelf.unverified(), []);
}

#[test]
fn a_store_that_is_not_shared_is_read_by_this_machine_only() {
    let place = Place::new();
    let id = place.put_tree("own", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    assert!(!shelf.holding(id, Audience::Local).unwrap().offered);
    assert!(matches!(
        shelf.open(id, Audience::Peers),
        Err(OpenError::NotHeld { .. })
    ));
    assert!(shelf.open(id, Audience::Local).is_ok());
}

#[test]
fn every_format_is_verified_and_the_oldest_never_travels() {
    let place = Place::new();
    for algorithm in Algorithm::ALL {
        let id = place.put_tree("shared", algorithm);
        let shelf = place.verified_shelf();
        let found = shelf.holding(id, Audience::Local).unwrap();
        assert!(
            matches!(found.state, HoldingState::Verified { .. }),
            "{algorithm}"
        );
        assert_eq!(found.offered, algorithm != Algorithm::Sha1);
        assert_eq!(
            shelf.open(id, Audience::Local).is_ok(),
            algorithm != Algorithm::Sha1
        );
    }
}

#[test]
fn a_changed_file_is_not_served_until_the_tree_was_hashed_again() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    let source = shelf.open(id, Audience::Peers).unwrap();
    let path = shelf.holding(id, Audience::Local).unwrap().path;
    let before = slow_pieces(&path, &id);
    fs::write(path.join("small"), "EIGHT by").unwrap();

    let error = try_read_all(&source, Recheck::No).unwrap_err();
    assert!(matches!(error, ReadError::Changed { .. }), "{error}");
    shelf.distrust(&source).unwrap();
    assert!(!shelf.holding(id, Audience::Local).unwrap().offered);
    shelf.verify_all();
    let state = shelf.holding(id, Audience::Local).unwrap().state;
    assert_eq!(
        state,
        HoldingState::Quarantined {
            faults: vec!["small".into()]
        }
    );

    fs::write(path.join("small"), "8 bytes!").unwrap();
    restore_time(&path.join("small"));
    assert_eq!(
        shelf.verify(id, Copies::All, &mut go_on).unwrap(),
        VerifyOutcome::default()
    );
    assert_eq!(
        read_all(&shelf.open(id, Audience::Peers).unwrap(), Recheck::No),
        before
    );
}

#[test]
fn a_replaced_symlink_is_not_served() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    let link = shelf
        .holding(id, Audience::Local)
        .unwrap()
        .path
        .join("dir/link");
    fs::remove_file(&link).unwrap();
    symlink("evil", link).unwrap();
    let error = try_read_all(&shelf.open(id, Audience::Peers).unwrap(), Recheck::No).unwrap_err();
    assert!(matches!(error, ReadError::Changed { .. }), "{error}");
}

#[test]
fn recheck_finds_decay_that_no_stamp_shows_in_runs_and_slices() {
    for (algorithm, file, at) in [
        (Algorithm::Sha256New, "small", 3),
        (Algorithm::Sha256New, "copy", GRAIN_BYTES + 1),
        (Algorithm::Sha256New, "copy", LARGE - 1),
        (Algorithm::Sha1New, "small", 0),
        (Algorithm::Sha1New, "copy", LARGE - 1),
    ] {
        let place = Place::new();
        let id = place.put_tree("shared", algorithm);
        let shelf = place.verified_shelf();
        let good = read_all(&shelf.open(id, Audience::Peers).unwrap(), Recheck::Yes);
        let path = shelf.holding(id, Audience::Local).unwrap().path;
        assert_eq!(good, slow_pieces(&path, &id));

        let mut bytes = fs::read(path.join(file)).unwrap();
        bytes[at] ^= 1;
        fs::write(path.join(file), bytes).unwrap();
        shelf.believe_stamps(&id);
        let source = shelf.open(id, Audience::Peers).unwrap();
        assert!(
            try_read_all(&source, Recheck::No).is_ok(),
            "{algorithm} {file}"
        );
        match try_read_all(&source, Recheck::Yes) {
            Err(ReadError::Corrupt { path }) => {
                assert_eq!(path.as_bytes(), file.as_bytes());
                shelf.quarantine(&source, &path).unwrap();
            }
            other => panic!("{algorithm} {file}: {:?}", other.map(|_| "served")),
        }
        assert!(matches!(
            shelf.holding(id, Audience::Local).unwrap().state,
            HoldingState::Quarantined { .. }
        ));
        assert!(shelf.open(id, Audience::Local).is_err());
    }
}

#[test]
fn a_tree_without_a_manifest_file_is_served_with_the_one_it_must_have() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    fs::remove_file(
        place
            .path("shared")
            .join(id.to_string())
            .join(MANIFEST_FILE),
    )
    .unwrap();
    let shelf = place.verified_shelf();
    assert_eq!(shelf.open(id, Audience::Peers).unwrap().manifest().id(), id);
}

#[test]
fn files_are_found_by_their_contents_once_in_each_store() {
    let place = Place::new();
    place.put_tree("shared", Algorithm::Sha256New);
    let id = place.put_tree("own", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    let wanted = BlobId::of(HashKind::Sha256, b"8 bytes!");
    let other = BlobId::of(HashKind::Sha256, b"nowhere");
    let found = shelf.find_files(&[wanted, other], Audience::Local).unwrap();
    let paths: Vec<PathBuf> = found.iter().map(|file| file.path.clone()).collect();
    let path = |store: &str| place.path(store).join(id.to_string()).join("small");
    assert_eq!(paths, [path("shared"), path("own")]);
    assert!(
        found
            .iter()
            .all(|file| file.blob == wanted && !file.executable)
    );

    fs::write(path("shared"), "8 bytes?").unwrap();
    assert_eq!(
        shelf.find_files(&[wanted], Audience::Local).unwrap().len(),
        1
    );
}

#[test]
fn the_tree_verified_longest_ago_is_due_first() {
    let place = Place::new();
    let shelf = place.verified_shelf();
    let age = Duration::from_secs(1000);
    assert_eq!(shelf.due(SystemTime::now(), age), Due::Never);
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    let HoldingState::Verified { at } = shelf.holding(id, Audience::Local).unwrap().state else {
        panic!()
    };
    assert_eq!(shelf.due(at, age), Due::At(at + age));
    assert_eq!(shelf.due(at + age, age), Due::Now(id.into()));
}

#[test]
fn hashing_stops_when_it_is_not_wanted_any_more() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.shelf();
    let stopped = shelf.verify(id, Copies::All, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(ShelfError::Stopped)));
    assert_eq!(
        shelf.holding(id, Audience::Local).unwrap().state,
        HoldingState::Unverified
    );
}

#[test]
fn a_tree_that_changes_while_it_is_hashed_is_hashed_anew_a_few_times() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.shelf();
    let file = shelf
        .holding(id, Audience::Local)
        .unwrap()
        .path
        .join("copy");
    let mut touched = 0;
    let mut touch = |_| {
        touched += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(touched);
        fs::File::open(&file).unwrap().set_modified(time).unwrap();
        ControlFlow::Continue(())
    };
    for _ in 0..3 {
        shelf.verify(id, Copies::All, &mut touch).unwrap();
        assert_eq!(shelf.unverified(), [ContentId::Tree(id)]);
    }
    restore_time(
        &shelf
            .holding(id, Audience::Local)
            .unwrap()
            .path
            .join("copy"),
    );
    assert_eq!(
        shelf.verify(id, Copies::All, &mut go_on).unwrap(),
        VerifyOutcome::default()
    );
    for _ in 0..4 {
        shelf.verify(id, Copies::All, &mut touch).unwrap();
    }
    let state = shelf.holding(id, Audience::Local).unwrap().state;
    assert_eq!(state, HoldingState::Unverified);
    assert_eq!(shelf.unverified(), [], "it is left alone for a while");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_range_of_a_piece_is_that_range(piece in 0..8_u32, start in 0..300_000_u64, length in 1..300_000_u64, recheck: bool) {
        let place = Place::new();
        let id = place.put_tree("shared", Algorithm::Sha256New);
        let shelf = place.verified_shelf();
        let source = shelf.open(id, Audience::Peers).unwrap();
        let Some(size) = source.layout().piece_len(piece) else { return Ok(()) };
        let range = start.min(size)..(start + length).min(size);
        let expected = slow_pieces(&shelf.holding(id, Audience::Local).unwrap().path, &id)[piece as usize]
            [at(range.start)..at(range.end)]
            .to_vec();
        let recheck = if recheck { Recheck::Yes } else { Recheck::No };
        prop_assert_eq!(read_range(&source, piece, range, recheck).unwrap(), expected);
    }
}
