use std::fs;
use std::time::{Duration, SystemTime};

use zeroshare_content::{BlobId, Family, HashKind, TreeId};
use zeroshare_proof::GrainHasher;

use super::*;
use crate::stamp::{Moment, Stamp};

#[test]
fn what_is_put_in_comes_out() {
    let index = Index::open(IndexPlace::Memory).unwrap();
    let (tree, files) = sample("/store");
    let key = index.put_tree(&tree, &files).unwrap();
    assert_eq!(
        index.trees(Path::new("/store")).unwrap(),
        [(key, tree.clone())]
    );
    assert_eq!(index.tree(Path::new("/other"), &tree.name).unwrap(), None);
    let without_lists: Vec<FileRecord> = files
        .iter()
        .map(|file| FileRecord {
            midstates: None,
            ..file.clone()
        })
        .collect();
    assert_eq!(index.files(key, 0..=9).unwrap(), without_lists);
    assert_eq!(index.files(key, 4..=4).unwrap(), without_lists[1..]);
    let list = files[1].midstates.clone().unwrap();
    assert_eq!(index.midstates(key, 4).unwrap().unwrap(), list.as_bytes());
    assert_eq!(index.midstate_count(key).unwrap(), 2);
    assert_eq!(index.list_digest(key, 4).unwrap(), Some(list.list_digest()));
    assert_eq!(index.find_blobs(&[files[1].blob]).unwrap()[0][0].line, 4);

    let state = TreeState::Quarantined {
        faults: vec!["a".into(), "b c".into()],
    };
    index.set_state(key, &state).unwrap();
    assert_eq!(
        index
            .tree(Path::new("/store"), &tree.name)
            .unwrap()
            .unwrap()
            .1
            .state,
        state
    );
    assert_eq!(index.find_blobs(&[files[1].blob]).unwrap(), [[]]);
}

#[test]
fn a_tree_verified_anew_has_another_key_and_nothing_of_the_old_one_stays() {
    let index = Index::open(IndexPlace::Memory).unwrap();
    let (tree, files) = sample("/store");
    let old = index.put_tree(&tree, &files).unwrap();
    let new = index.put_tree(&tree, &files[..1]).unwrap();
    assert_ne!(old, new);
    assert_eq!(index.files(old, 0..=9).unwrap(), []);
    assert_eq!(index.midstates(old, 4).unwrap(), None);
    assert_eq!(index.files(new, 0..=9).unwrap().len(), 1);
}

#[test]
fn what_is_gone_is_not_listed_and_is_forgotten_later() {
    let index = Index::open(IndexPlace::Memory).unwrap();
    let (tree, files) = sample("/store");
    let key = index.put_tree(&tree, &files).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    index.set_gone(key, now).unwrap();
    assert_eq!(index.trees(Path::new("/store")).unwrap(), []);
    index.purge_gone(now - Duration::from_secs(1)).unwrap();
    assert!(index.midstates(key, 4).unwrap().is_some());
    index.purge_gone(now).unwrap();
    assert_eq!(index.midstates(key, 4).unwrap(), None);
    assert_eq!(index.tree(Path::new("/store"), &tree.name).unwrap(), None);
}

#[test]
fn an_older_index_is_upgraded_and_keeps_what_it_knows() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("index.sqlite");
    let (tree, _) = sample("/store");
    let old = Connection::open(&path).unwrap();
    schema::make_version(&old, 1);
    old.execute(
        "INSERT INTO trees (root, name, state, verified_seconds, total_bytes, content_bytes, manifest_bytes, pieces)
         VALUES (?1, ?2, 1, 1000, 7, 6, 5, 4)",
        rusqlite::params![b"/store".as_slice(), tree.name],
    )
    .unwrap();
    drop(old);

    let index = Index::open(IndexPlace::File(path.clone())).unwrap();
    let found = index.trees(Path::new("/store")).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].1.sizes,
        TreeSizes {
            total: 7,
            content: 6,
            manifest: 5,
            pieces: 4
        }
    );
    let (tree, files) = sample("/store");
    let key = index.put_tree(&tree, &files).unwrap();
    assert!(index.midstates(key, 4).unwrap().is_some());
    assert!(!path.with_extension("sqlite.broken").exists());
}

#[test]
fn a_broken_or_newer_index_is_moved_aside() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("deep/below/index.sqlite");
    let moved = place.path().join("deep/below/index.sqlite.broken");
    let open = || Index::open(IndexPlace::File(path.clone())).unwrap();
    let (tree, files) = sample("/store");
    open().put_tree(&tree, &files).unwrap();
    assert_eq!(open().trees(Path::new("/store")).unwrap().len(), 1);

    let garbage = vec![0x55; 100_000];
    fs::write(&path, &garbage).unwrap();
    assert_eq!(open().trees(Path::new("/store")).unwrap().len(), 0);
    assert_eq!(fs::read(&moved).unwrap(), garbage);

    open().put_tree(&tree, &files).unwrap();
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 999)
        .unwrap();
    assert_eq!(open().trees(Path::new("/store")).unwrap().len(), 0);
}

#[test]
fn an_index_that_breaks_while_it_is_used_is_started_anew() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("index.sqlite");
    let (tree, files) = sample("/store");
    let index = Index::open(IndexPlace::File(path.clone())).unwrap();
    index.put_tree(&tree, &files).unwrap();
    // Everything is in the file itself, and nothing in the page cache of this connection.
    index
        .lock()
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = delete;")
        .unwrap();
    let size = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![0x55; usize::try_from(size).unwrap()]).unwrap();
    index.put_tree(&tree, &files).unwrap();
    assert_eq!(index.trees(Path::new("/store")).unwrap().len(), 1);
    assert!(place.path().join("index.sqlite.broken").exists());
}

#[test]
fn two_may_share_one_index() {
    let place = tempfile::tempdir().unwrap();
    let open = || Index::open(IndexPlace::File(place.path().join("index.sqlite"))).unwrap();
    let indexes = [open(), open()];
    std::thread::scope(|scope| {
        for (index, root) in indexes.iter().zip(["/one", "/two"]) {
            scope.spawn(move || {
                for _ in 0..20 {
                    let (tree, files) = sample(root);
                    index.put_tree(&tree, &files).unwrap();
                }
            });
        }
    });
    for root in ["/one", "/two"] {
        assert_eq!(indexes[0].trees(Path::new(root)).unwrap().len(), 1);
        assert_eq!(indexes[1].trees(Path::new(root)).unwrap().len(), 1);
    }
}

fn sample(root: &str) -> (TreeRecord, Vec<FileRecord>) {
    let id = TreeId::of_manifest(Family::Sha256, b"sample");
    let tree = TreeRecord {
        root: PathBuf::from(root),
        name: id.to_string(),
        id: id.into(),
        state: TreeState::Verified {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1234),
        },
        sizes: TreeSizes {
            total: u64::MAX,
            content: 2,
            manifest: 3,
            pieces: 4,
        },
        boot: Some("boot".into()),
        manifest: Some(b"sample".to_vec()),
    };
    let stamp = Stamp {
        device: u64::MAX,
        inode: 2,
        size: 300_000,
        mtime: Moment {
            seconds: -5,
            nanoseconds: 999_999_999,
        },
        ctime: Moment {
            seconds: i64::MAX,
            nanoseconds: 0,
        },
    };
    let mut hasher = GrainHasher::new();
    hasher.update(&vec![1; 300_000]);
    let (blob, list) = hasher.finish();
    let small = BlobId::of(HashKind::Sha1, b"small");
    let files = vec![
        FileRecord {
            line: 2,
            blob: small,
            stamp,
            midstates: None,
        },
        FileRecord {
            line: 4,
            blob,
            stamp,
            midstates: Some(list),
        },
    ];
    (tree, files)
}
