use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;

use super::*;
use crate::index::IndexPlace;
use crate::pieces::{PieceReader, ReadError, Recheck};
use crate::shelf::{Audience, Copies, HoldingState, ShelfOptions};

/// More than a grain, so that it has midstates, and more than a piece.
const SIZE: usize = 3 * 128 * 1024 + 7;

#[test]
fn a_file_is_offered_once_it_was_hashed_and_over_restarts() {
    let place = Place::new();
    let (path, blob) = place.file("a file");
    let shelf = place.shelf();
    assert_eq!(shelf.share(&path, &mut go_on).unwrap(), blob);
    for shelf in [shelf, place.shelf()] {
        let held = shelf.holding(blob, Audience::Peers).unwrap();
        assert!(held.offered);
        assert_eq!(
            (held.path.as_path(), held.content_bytes),
            (path.as_path(), SIZE as u64)
        );
        let source = shelf.open(blob, Audience::Peers).unwrap();
        assert_eq!(source.manifest_text(), b"");
        assert_eq!(source.file_name(), Some(&b"a file"[..]));
        assert_eq!(read(&source, Recheck::No).unwrap(), bytes());
        assert_eq!(read(&source, Recheck::Yes).unwrap(), bytes());
        let list = shelf.midstates(blob, 0, Audience::Peers).unwrap().unwrap();
        assert_eq!(list.grains, 4);
        let found = shelf.find_files(&[blob], Audience::Local).unwrap();
        assert_eq!(
            found.iter().map(|file| &file.path).collect::<Vec<_>>(),
            [&path]
        );
        assert_eq!(shelf.holdings(None, 10, Audience::Local).len(), 1);
        // Known and untouched: nothing is read.
        let mut refuse = |_| ControlFlow::Break(());
        assert_eq!(shelf.share(&path, &mut refuse).unwrap(), blob);
    }
}

#[test]
fn changed_bytes_are_never_served_and_the_file_is_forgotten() {
    let place = Place::new();
    let (path, blob) = place.file("file");
    let shelf = place.shelf();
    shelf.share(&path, &mut go_on).unwrap();
    let source = shelf.open(blob, Audience::Peers).unwrap();
    let mut changed = bytes();
    changed[5] ^= 1;
    fs::write(&path, &changed).unwrap();
    let error = read(&source, Recheck::No).unwrap_err();
    assert!(matches!(error, ReadError::Changed { .. }), "{error}");
    shelf.distrust(&source).unwrap();
    assert!(!shelf.holding(blob, Audience::Peers).unwrap().offered);
    assert_eq!(shelf.unverified(), [ContentId::Blob(blob)]);
    let outcome = shelf.verify(blob, Copies::Unverified, &mut go_on).unwrap();
    assert_eq!(outcome.faults.len(), 1);
    assert_eq!(shelf.holding(blob, Audience::Local), None);
    assert_eq!(
        place.shelf().holding(blob, Audience::Local),
        None,
        "nor by a later run"
    );
}

#[test]
fn a_rescan_notices_what_moved_vanished_or_became_something_else() {
    let place = Place::new();
    let shelf = place.shelf();
    for change in [
        (|path: &Path| fs::remove_file(path).unwrap()) as fn(&Path),
        |path| fs::rename(path, path.with_extension("moved")).unwrap(),
        |path| fs::write(path, "short").unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        |path| {
            let moved = path.with_extension("moved");
            fs::rename(path, &moved).unwrap();
            symlink(moved, path).unwrap();
        },
    ] {
        let inner = tempfile::tempdir_in(place.dir.path()).unwrap();
        let path = inner.path().join("file");
        fs::write(&path, bytes()).unwrap();
        let blob = shelf.share(&path, &mut go_on).unwrap();
        assert!(shelf.holding(blob, Audience::Peers).is_some());
        change(&path);
        shelf.rescan(SystemTime::now()).unwrap();
        assert_eq!(shelf.holding(blob, Audience::Local), None);
        assert_eq!(shelf.shared_files(), 0);
    }
}

#[test]
fn a_file_that_was_only_touched_is_hashed_and_offered_again() {
    let place = Place::new();
    let (path, blob) = place.file("file");
    let shelf = place.shelf();
    shelf.share(&path, &mut go_on).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    shelf.rescan(SystemTime::now()).unwrap();
    assert!(!shelf.holding(blob, Audience::Peers).unwrap().offered);
    shelf.verify(blob, Copies::Unverified, &mut go_on).unwrap();
    assert!(shelf.holding(blob, Audience::Peers).unwrap().offered);
    let source = shelf.open(blob, Audience::Peers).unwrap();
    assert_eq!(read(&source, Recheck::No).unwrap(), bytes());
}

#[test]
fn a_path_is_shared_as_what_lies_there_now_and_taken_back_by_it() {
    let place = Place::new();
    let (path, old) = place.file("file");
    let shelf = place.shelf();
    shelf.share(&path, &mut go_on).unwrap();
    fs::write(&path, "new").unwrap();
    let new = shelf.share(&path, &mut go_on).unwrap();
    assert_eq!(new, BlobId::of(HashKind::Sha256, b"new"));
    assert_eq!(shelf.holding(old, Audience::Local), None);
    assert_eq!(shelf.shared_paths(&new), std::slice::from_ref(&path));
    assert_eq!(shelf.unshare(&path).unwrap(), Some(new));
    assert_eq!(shelf.unshare(&path).unwrap(), None);
    assert_eq!(shelf.holding(new, Audience::Local), None);
    assert_eq!(place.shelf().shared_files(), 0);
}

#[test]
fn a_committed_file_is_taken_over_unread_and_hashed_where_its_midstates_are_missing() {
    let place = Place::new();
    let (path, blob) = place.file("file");
    let shelf = place.shelf();
    shelf.share(&path, &mut go_on).unwrap();
    let list = shelf.midstates(blob, 0, Audience::Local).unwrap().unwrap();
    shelf.unshare(&path).unwrap();
    let stamp = Stamp::of(&path.metadata().unwrap());
    let commit = |stamp, midstates| {
        shelf.commit(Committed {
            id: blob.into(),
            path: path.clone(),
            undurable_boot: None,
            files: vec![crate::shelf::CommittedFile {
                line: 0,
                stamp,
                midstates,
            }],
        })
    };
    let other = Stamp { inode: 1, ..stamp };
    assert!(commit(other, Vec::new()).is_err());
    assert_eq!(shelf.holding(blob, Audience::Local), None);
    commit(stamp, list.midstates.as_bytes().to_vec()).unwrap();
    assert!(shelf.holding(blob, Audience::Peers).unwrap().offered);
    commit(stamp, Vec::new()).unwrap();
    assert_eq!(shelf.unverified(), [ContentId::Blob(blob)]);
    shelf.verify(blob, Copies::Unverified, &mut go_on).unwrap();
    assert!(shelf.holding(blob, Audience::Peers).unwrap().offered);
    assert!(shelf.midstates(blob, 0, Audience::Peers).unwrap().is_some());
}

#[test]
fn two_equal_files_are_one_blob_until_both_are_gone() {
    let place = Place::new();
    let (first, blob) = place.file("first");
    let (second, _) = place.file("second");
    let shelf = place.shelf();
    shelf.share(&first, &mut go_on).unwrap();
    shelf.share(&second, &mut go_on).unwrap();
    fs::remove_file(&first).unwrap();
    shelf.rescan(SystemTime::now()).unwrap();
    assert_eq!(shelf.holding(blob, Audience::Peers).unwrap().path, second);
    assert!(shelf.open(blob, Audience::Peers).is_ok());
}

#[test]
fn what_is_no_regular_file_of_a_plain_path_is_refused_and_nobody_waits() {
    let place = Place::new();
    let (path, _) = place.file("file");
    let shelf = place.shelf();
    let dir = place.dir.path();
    symlink(&path, dir.join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let refused = |path: &Path| shelf.share(path, &mut go_on).unwrap_err().to_string();
    for (name, word) in [
        ("link", "symbolic link"),
        (".", "absolute"),
        ("pipe", "pipe"),
        ("nothing", "no file"),
        ("new\nline", "newline"),
        ("../x", "absolute"),
    ] {
        let error = refused(&dir.join(name));
        assert!(error.contains(word) || name == ".", "{name:?}: {error}");
    }
    assert!(refused(dir).contains("a directory"));
    assert!(refused(Path::new("relative")).contains("absolute"));
    assert_eq!(shelf.shared_files(), 0);
}

#[test]
fn a_file_of_no_bytes_is_a_blob_too() {
    let place = Place::new();
    let path = place.dir.path().join("empty");
    fs::write(&path, "").unwrap();
    let shelf = place.shelf();
    let blob = shelf.share(&path, &mut go_on).unwrap();
    assert!(shelf.holding(blob, Audience::Peers).unwrap().offered);
    assert_eq!(
        shelf
            .open(blob, Audience::Peers)
            .unwrap()
            .layout()
            .piece_count(),
        0
    );
}

#[test]
fn rotten_bytes_behind_an_untouched_stamp_are_quarantined() {
    let place = Place::new();
    let (path, blob) = place.file("file");
    let shelf = place.shelf();
    let stamp = Stamp::of(&path.metadata().unwrap());
    let other = BlobId::of(HashKind::Sha256, b"what it once was");
    shelf.offer_file(other, &path, (stamp, None), None).unwrap();
    let outcome = shelf.verify(other, Copies::All, &mut go_on).unwrap();
    assert_eq!(outcome.faults, [path.display().to_string()]);
    let state = shelf.holding(other, Audience::Local).unwrap().state;
    assert!(matches!(state, HoldingState::Quarantined { .. }));
    assert!(shelf.open(other, Audience::Local).is_err());
    assert_ne!(blob, other);
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn shelf(&self) -> Shelf {
        let shelf = Shelf::open_index(ShelfOptions {
            roots: Vec::new(),
            index: IndexPlace::File(self.dir.path().join("index")),
            boot: "this boot".to_owned(),
            observer: Box::new(|_| ()),
        });
        let shelf = shelf.unwrap();
        shelf.rescan(SystemTime::now()).unwrap();
        shelf
    }

    fn file(&self, name: &str) -> (PathBuf, BlobId) {
        let path = self.dir.path().canonicalize().unwrap().join(name);
        fs::write(&path, bytes()).unwrap();
        (path, BlobId::of(HashKind::Sha256, &bytes()))
    }
}

fn bytes() -> Vec<u8> {
    (0_u8..=250).cycle().take(SIZE).collect()
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn read(source: &crate::pieces::PieceSource, recheck: Recheck) -> Result<Vec<u8>, ReadError> {
    let mut all = Vec::new();
    let mut reader = PieceReader::new(source, recheck, &|| true);
    for piece in 0..source.layout().piece_count() {
        let size = source.layout().piece_len(piece).unwrap();
        reader.read(piece, 0..size, None, &mut all)?;
    }
    Ok(all)
}
