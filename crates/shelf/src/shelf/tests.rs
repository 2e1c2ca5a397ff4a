use std::fs;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use zeroshare_content::{Algorithm, BlobId, HashKind, ItemKind, Manifest, Piece, TreeId};
use zeroshare_proof::Midstates;

use super::*;
use crate::index::{FileRecord, TreeState};
use crate::pieces::{PieceReader, ReadError, Recheck};
use crate::scan::{MANIFEST_FILE, scan_tree};

const BOOT: &str = "this boot";

/// Larger than the piece size of a small tree, so that it travels in slices.
const LARGE: usize = 5 * GRAIN_BYTES + 77;

const GRAIN_BYTES: usize = 128 * 1024;

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
fn trees_come_and_go_and_are_replaced() {
    let place = Place::new();
    let (shelf, events) = place.shelf_with_events();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    assert_eq!(shelf.holding(id, Audience::Local), None);
    shelf.rescan(SystemTime::now()).unwrap();
    assert_eq!(
        drained(&events),
        [ShelfEvent::Changed(id.into()), ShelfEvent::Work]
    );
    shelf.verify_all();
    drained(&events);
    shelf.rescan(SystemTime::now()).unwrap();
    assert_eq!(drained(&events), []);

    let path = shelf.holding(id, Audience::Local).unwrap().path;
    fs::rename(&path, place.path("shared/tmp-away")).unwrap();
    place.put_tree("shared", Algorithm::Sha256New);
    shelf.rescan(SystemTime::now()).unwrap();
    assert_eq!(
        shelf.holding(id, Audience::Local).unwrap().state,
        HoldingState::Unverified
    );

    fs::remove_dir_all(path).unwrap();
    drained(&events);
    shelf.rescan(SystemTime::now()).unwrap();
    assert_eq!(drained(&events), [ShelfEvent::Changed(id.into())]);
    assert_eq!(shelf.holding(id, Audience::Local), None);
}

#[test]
fn a_tree_that_cannot_be_read_is_not_quarantined_but_tried_again_later() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.shelf();
    fs::rename(place.path("shared"), place.path("away")).unwrap();
    let outcome = shelf.verify(id, Copies::Unverified, &mut go_on).unwrap();
    assert_eq!(outcome.faults.len(), 1);
    assert_eq!(
        shelf.holding(id, Audience::Local).unwrap().state,
        HoldingState::Unverified
    );
    assert_eq!(shelf.unverified(), [], "it is left alone for a while");
    assert!(shelf.is_unverified(id));

    fs::rename(place.path("away"), place.path("shared")).unwrap();
    let outcome = shelf.verify(id, Copies::All, &mut go_on).unwrap();
    assert_eq!(outcome, VerifyOutcome::default());
    assert!(shelf.holding(id, Audience::Local).unwrap().offered);
}

#[test]
fn a_store_that_cannot_be_listed_is_not_empty() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    fs::rename(place.path("shared"), place.path("away")).unwrap();
    fs::write(place.path("shared"), "no directory").unwrap();
    shelf.rescan(SystemTime::now()).unwrap();
    assert!(shelf.holding(id, Audience::Local).unwrap().offered);
}

#[test]
fn what_was_gone_for_a_moment_is_believed_again_unless_a_file_was_touched() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    let path = shelf.holding(id, Audience::Local).unwrap().path;
    let away_and_back = |meanwhile: &dyn Fn(&Path)| {
        let away = place.path("away");
        fs::rename(&path, &away).unwrap();
        shelf.rescan(SystemTime::now()).unwrap();
        assert_eq!(shelf.holding(id, Audience::Local), None);
        meanwhile(&away);
        fs::rename(&away, &path).unwrap();
        shelf.rescan(SystemTime::now()).unwrap();
    };
    away_and_back(&|_| ());
    assert!(shelf.holding(id, Audience::Local).unwrap().offered);
    assert!(shelf.open(id, Audience::Peers).is_ok());
    assert_eq!(shelf.unverified(), []);
    away_and_back(&|away| fs::write(away.join("small"), "EIGHT by").unwrap());
    assert_eq!(shelf.unverified(), [ContentId::Tree(id)]);
}

#[test]
fn names_that_are_no_trees_and_links_to_trees_are_left_alone() {
    let place = Place::new();
    let id = place.put_tree("elsewhere", Algorithm::Sha256New);
    let store = place.path("shared");
    symlink(
        place.path("elsewhere").join(id.to_string()),
        store.join(id.to_string()),
    )
    .unwrap();
    for name in [
        "tmp-1",
        "0install-unpack-1",
        "sha256new_short",
        "sha1=..",
        "sha1new=zz",
    ] {
        fs::create_dir(store.join(name)).unwrap();
    }
    let shelf = place.verified_shelf();
    assert_eq!(shelf.holdings(None, 10, Audience::Local), []);
    let root = crate::StoreRoot {
        path: store.clone(),
        kind: crate::RootKind::Named,
    };
    assert_eq!(
        crate::find_tree(&[root], &id),
        Some(store.join(id.to_string()))
    );
}

#[test]
fn a_store_named_twice_is_listed_once() {
    let place = Place::new();
    place.put_tree("shared", Algorithm::Sha256New);
    symlink(place.path("shared"), place.path("alias")).unwrap();
    let mut options = place.options();
    options.roots.push(ShelvedRoot {
        path: place.path("alias"),
        shared: true,
    });
    let shelf = Shelf::open_index(options).unwrap();
    shelf.rescan(SystemTime::now()).unwrap();
    let held: Vec<u32> = shelf
        .counts()
        .iter()
        .map(|count| count.held_trees)
        .collect();
    assert_eq!(held, [1, 0, 0]);
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
fn staged_trees_are_read_from_staging_directories_of_known_stores_only() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let store = place.path("shared");
    fs::rename(store.join(id.to_string()), store.join("tmp-1")).unwrap();
    symlink("tmp-1", store.join("tmp-link")).unwrap();
    fs::create_dir(store.join("tmp-empty")).unwrap();
    let shelf = place.shelf();
    let open = |store: &Path, name: &str| shelf.open_staged(store, name.as_ref(), &id);

    let source = open(&store, "tmp-1").unwrap();
    assert_eq!(
        read_all(&source, Recheck::No),
        slow_pieces(&store.join("tmp-1"), &id)
    );
    for name in [
        "",
        "tmp-",
        "tmp-none",
        "tmp-empty",
        "tmp-link",
        "tmp-1/dir",
        "tmp-1/",
        "../shared/tmp-1",
        "tmp-/../tmp-1",
        ".",
    ] {
        assert!(open(&store, name).is_err(), "{name}");
    }
    assert!(open(&place.path(""), "tmp-1").is_err());
    assert!(open(&place.path("elsewhere"), "tmp-1").is_err());
    let other = TreeId::of_manifest(zeroshare_content::Family::Sha256, b"other");
    assert!(shelf.open_staged(&store, "tmp-1".as_ref(), &other).is_err());
}

#[test]
fn what_is_staged_is_rechecked_by_the_manifest_and_by_the_list_that_is_handed_in() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let store = place.path("shared");
    let staged = store.join("tmp-1");
    fs::rename(store.join(id.to_string()), &staged).unwrap();
    let shelf = place.shelf();
    let source = shelf.open_staged(&store, "tmp-1".as_ref(), &id).unwrap();
    let scanned = scan_tree(&staged, &[HashKind::Sha256], &mut |_| ()).unwrap();
    let large = scanned
        .files()
        .iter()
        .find_map(|file| file.midstates.clone());
    let read = |list: Option<&Midstates>| -> Result<Vec<Vec<u8>>, ReadError> {
        let mut reader = PieceReader::new(&source, Recheck::Yes, &|| true);
        let mut read = |piece: u32| {
            let mut bytes = Vec::new();
            let all = 0..source.layout().piece_len(piece).unwrap();
            reader.read(piece, all, list, &mut bytes).map(|()| bytes)
        };
        (0..source.layout().piece_count()).map(&mut read).collect()
    };
    assert_eq!(read(large.as_ref()).unwrap(), slow_pieces(&staged, &id));
    assert!(matches!(read(None), Err(ReadError::Changed { .. })));

    let slice = (0..source.layout().piece_count()).find_map(|piece| source.slice_line(piece));
    let sliced = &source.manifest().lines()[slice.unwrap() as usize].path;
    for file in [Path::new("small"), sliced.as_path()] {
        let path = staged.join(file);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(
            matches!(read(large.as_ref()), Err(ReadError::Corrupt { .. })),
            "{}",
            file.display()
        );
        fs::write(&path, good).unwrap();
    }
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

/// Two stores, one of them shared, and an index.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for name in ["shared", "own", "elsewhere"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self) -> ShelfOptions {
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

    fn shelf(&self) -> Shelf {
        self.shelf_with_events().0
    }

    fn verified_shelf(&self) -> Shelf {
        let shelf = self.shelf();
        shelf.verify_all();
        shelf
    }

    fn shelf_with_events(&self) -> (Shelf, Receiver<ShelfEvent>) {
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
    fn put_tree(&self, store: &str, algorithm: Algorithm) -> TreeId {
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
    fn describe(&self, store: &str, id: &TreeId) -> Committed {
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
    fn verify_all(&self) {
        for id in self.unverified() {
            self.verify(id, Copies::Unverified, &mut go_on).unwrap();
        }
        assert_eq!(self.unverified(), []);
    }

    /// Makes the index take the files as they are for those that were hashed, as a disk that decays does.
    fn believe_stamps(&self, id: &TreeId) {
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

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn drained(events: &Receiver<ShelfEvent>) -> Vec<ShelfEvent> {
    events.try_iter().collect()
}

fn restore_time(path: &Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn line_of(manifest: &Manifest, path: &str) -> u32 {
    let line = manifest
        .lines()
        .iter()
        .position(|line| line.path.as_bytes() == path.as_bytes());
    u32::try_from(line.unwrap()).unwrap()
}

fn read_range(
    source: &PieceSource,
    piece: u32,
    range: Range<u64>,
    recheck: Recheck,
) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    PieceReader::new(source, recheck, &|| true).read(piece, range, None, &mut bytes)?;
    Ok(bytes)
}

fn try_read_all(source: &PieceSource, recheck: Recheck) -> Result<Vec<Vec<u8>>, ReadError> {
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

fn read_all(source: &PieceSource, recheck: Recheck) -> Vec<Vec<u8>> {
    try_read_all(source, recheck).unwrap()
}

/// What each piece must be, by reading whole files.
fn slow_pieces(tree: &Path, id: &TreeId) -> Vec<Vec<u8>> {
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

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
