//! Single files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroshare_content::{BlobId, HashKind};
use zeroshare_staging::{CommitError, Durability, SourceId, StageOptions, Staged, equal_file};

/// Larger than a piece, so that it is staged in slices.
const SIZE: usize = 5 * 128 * 1024 + 3;

#[test]
fn a_file_is_put_together_beside_its_place_and_named_once_it_is_proven() {
    let place = tempfile::tempdir().unwrap();
    let (blob, bytes) = content();
    let target = place.path().join("a file");
    let staged = begin(&target, blob);
    assert_eq!(staged.content(), blob.into());
    put_all(&staged, &bytes);
    assert!(!target.exists());
    let committed = staged.commit(Durability::Durable).unwrap();
    assert_eq!(committed.path, target);
    assert_eq!(fs::read(&target).unwrap(), bytes);
    assert_eq!(names(place.path()), ["a file"], "nothing else stays");
    let found = fs::metadata(&target).unwrap();
    assert!(
        found.modified().unwrap().elapsed().unwrap().as_secs() < 3600,
        "it is new"
    );
    assert_ne!(
        found.permissions().mode() & 0o600,
        0o400,
        "it is its owner's to change"
    );
    let [file] = committed.files.as_slice() else {
        panic!("one file was committed");
    };
    assert_eq!(file.stamp.size, SIZE as u64);
    let change_time = std::os::unix::fs::MetadataExt::ctime(&found);
    assert_eq!(
        file.stamp.change_time.0, change_time,
        "the stamp is that of the named file"
    );
    assert!(file.midstates.is_some());
}

#[test]
fn what_was_written_before_counts_when_a_file_is_begun_again() {
    let place = tempfile::tempdir().unwrap();
    let (blob, bytes) = content();
    let target = place.path().join("file");
    let staged = begin(&target, blob);
    staged
        .put_slice(0, 0, &bytes[..128 * 1024], SourceId(1))
        .unwrap();
    drop(staged);
    let staged = begin(&target, blob);
    assert!(staged.holds_piece(0));
    assert!(!staged.holds_piece(1));
    staged
        .put_slice(0, 128 * 1024, &bytes[128 * 1024..], SourceId(1))
        .unwrap();
    staged.finish_item(0).unwrap();
    staged.commit(Durability::Unsynced).unwrap();
    assert_eq!(fs::read(&target).unwrap(), bytes);
}

#[test]
fn an_equal_file_in_its_place_is_as_good_and_another_one_is_not_touched() {
    let place = tempfile::tempdir().unwrap();
    let (blob, bytes) = content();
    let target = place.path().join("file");
    assert_eq!(equal_file(&target, blob).unwrap(), None);
    let staged = begin(&target, blob);
    put_all(&staged, &bytes);
    fs::write(&target, "mine").unwrap();
    assert_eq!(equal_file(&target, blob).unwrap(), Some(false));
    let error = staged.commit(Durability::Unsynced).unwrap_err();
    assert!(matches!(error, CommitError::TargetExists { .. }), "{error}");
    assert_eq!(fs::read(&target).unwrap(), b"mine");

    fs::write(&target, &bytes).unwrap();
    assert_eq!(equal_file(&target, blob).unwrap(), Some(true));
    let staged = begin(&target, blob);
    assert!(staged.is_complete(), "what was proven before is");
    let committed = staged.commit(Durability::Unsynced).unwrap();
    assert!(committed.existed);
    assert_eq!(names(place.path()), ["file"]);
}

#[test]
fn a_file_of_no_bytes_is_made_of_nothing() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("empty");
    let blob = BlobId::of(HashKind::Sha256, b"");
    let staged = Staged::begin_blob(&target, blob, 0, &StageOptions::default()).unwrap();
    staged.commit(Durability::Unsynced).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"");
    let other = BlobId::of(HashKind::Sha256, b"x");
    assert!(Staged::begin_blob(&target, other, 0, &StageOptions::default()).is_err());
}

fn content() -> (BlobId, Vec<u8>) {
    let bytes: Vec<u8> = (0..=250_u8).cycle().take(SIZE).collect();
    (BlobId::of(HashKind::Sha256, &bytes), bytes)
}

fn begin(target: &Path, blob: BlobId) -> Staged {
    Staged::begin_blob(target, blob, SIZE as u64, &StageOptions::default()).unwrap()
}

fn put_all(staged: &Staged, bytes: &[u8]) {
    staged.put_slice(0, 0, bytes, SourceId(1)).unwrap();
    staged.finish_item(0).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}
