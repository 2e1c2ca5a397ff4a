use std::fs;
use std::os::unix::fs::FileExt as _;

use zeroshare_staging::{Durability, PutError, SourceId};

use crate::support::{LARGE, SOURCE, Store, Tree, noise, tree};

const A: SourceId = SourceId(1);
const B: SourceId = SourceId(2);

fn one_large() -> Tree {
    tree().file("large", noise(1, LARGE)).build()
}

#[test]
fn slices_come_in_any_order_and_length() {
    let (store, tree) = (Store::new(), one_large());
    let bytes = noise(1, LARGE);
    let staged = store.begin(&tree);
    for start in [200_000, 0, 100_000, 50_000, 250_000, 150_000] {
        let end = (start + 70_000).min(LARGE);
        staged
            .put_slice(0, start as u64, &bytes[start..end], A)
            .unwrap();
    }
    staged.finish_item(0).unwrap();
    tree.assert_stored(&staged.commit(Durability::Durable).unwrap().path);
}

#[test]
fn a_slice_is_held_when_all_of_it_is_written() {
    let (store, tree) = (Store::new(), one_large());
    let bytes = noise(1, LARGE);
    let staged = store.begin(&tree);
    assert_eq!(staged.layout().piece_count(), 3);
    staged
        .put_slice(0, 131_072, &bytes[131_072..200_000], A)
        .unwrap();
    assert!(staged.held_pieces().is_empty());
    staged
        .put_slice(0, 200_000, &bytes[200_000..262_144], B)
        .unwrap();
    assert_eq!(staged.held_pieces(), [1..2]);
    assert_eq!(staged.missing_bytes(), LARGE as u64 - 131_072);
    let sources = [(131_072..200_000, Some(A)), (200_000..262_144, Some(B))];
    assert_eq!(staged.slices(0), sources);
}

#[test]
fn an_unfinished_file_says_what_it_lacks() {
    let (store, tree) = (Store::new(), one_large());
    let bytes = noise(1, LARGE);
    let staged = store.begin(&tree);
    let whole = 0..LARGE as u64;
    assert!(
        matches!(staged.finish_item(0), Err(PutError::Incomplete { missing, .. }) if missing == whole)
    );
    staged.put_slice(0, 0, &bytes[..1000], A).unwrap();
    staged.put_slice(0, 2000, &bytes[2000..], A).unwrap();
    assert!(
        matches!(staged.finish_item(0), Err(PutError::Incomplete { missing, .. }) if missing == (1000..2000))
    );
    assert!(matches!(
        staged.read_slice(0, 500, 1000),
        Err(PutError::Incomplete { .. })
    ));
    assert_eq!(staged.read_slice(0, 2000, 100).unwrap(), bytes[2000..2100]);
}

#[test]
fn a_wrong_slice_is_found_out_and_can_be_replaced() {
    let (store, tree) = (Store::new(), one_large());
    let bytes = noise(1, LARGE);
    let mut wrong = bytes[131_072..262_144].to_vec();
    wrong[77] ^= 1;
    let staged = store.begin(&tree);
    staged.put_slice(0, 0, &bytes[..131_072], A).unwrap();
    staged.put_slice(0, 131_072, &wrong, B).unwrap();
    staged.put_slice(0, 262_144, &bytes[262_144..], A).unwrap();
    for _ in 0..2 {
        let refused = staged.finish_item(0);
        assert!(matches!(refused, Err(PutError::Mismatch { .. })));
    }
    assert_eq!(staged.slices(0)[1], (131_072..262_144, Some(B)));
    assert_eq!(staged.read_slice(0, 131_072, 131_072).unwrap(), wrong);
    // Reading it all again from one sender changes only what differs.
    for start in (0..LARGE).step_by(50_000) {
        let end = (start + 50_000).min(LARGE);
        staged
            .put_slice(0, start as u64, &bytes[start..end], SOURCE)
            .unwrap();
    }
    staged.finish_item(0).unwrap();
    assert_eq!(
        staged.read_slice(0, 131_072, 131_072).unwrap(),
        bytes[131_072..262_144]
    );
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn the_same_bytes_from_somebody_else_stay_with_who_sent_them_first() {
    let (store, tree) = (Store::new(), one_large());
    let bytes = noise(1, LARGE);
    let staged = store.begin(&tree);
    staged.put_slice(0, 0, &bytes[..100_000], A).unwrap();
    staged
        .put_slice(0, 10_000, &bytes[10_000..20_000], B)
        .unwrap();
    assert_eq!(staged.slices(0), [(0..100_000, Some(A))]);
}

#[test]
fn dropped_slices_are_missing_again() {
    let (store, tree) = (Store::new(), one_large());
    let bytes = noise(1, LARGE);
    let staged = store.begin(&tree);
    staged.put_slice(0, 0, &bytes, A).unwrap();
    staged.drop_slices(0, 131_072..262_144).unwrap();
    assert_eq!(staged.held_pieces(), [0..1, 2..3]);
    assert!(matches!(
        staged.finish_item(0),
        Err(PutError::Incomplete { .. })
    ));
    staged
        .put_slice(0, 131_072, &bytes[131_072..262_144], B)
        .unwrap();
    staged.finish_item(0).unwrap();
    assert!(staged.is_proven(0));
}

#[test]
fn bytes_changed_behind_our_back_are_found_out_unless_they_were_hashed_in_memory() {
    let (store, tree) = (Store::new(), one_large());
    let bytes = noise(1, LARGE);
    let staged = store.begin(&tree);
    // Nothing is hashed before the start is there.
    staged.put_slice(0, 131_072, &bytes[131_072..], A).unwrap();
    let file = fs::File::options()
        .write(true)
        .open(staged.dir().join("large"))
        .unwrap();
    file.write_all_at(b"!", 200_000).unwrap();
    staged.put_slice(0, 0, &bytes[..131_072], A).unwrap();
    assert!(matches!(
        staged.finish_item(0),
        Err(PutError::Mismatch { .. })
    ));
    file.write_all_at(&bytes[200_000..=200_000], 200_000)
        .unwrap();
    staged.finish_item(0).unwrap();
}

#[test]
fn what_lies_outside_of_a_file_is_refused() {
    let store = Store::new();
    let tree = tree().file("f", noise(1, 1000)).link("l", "f").build();
    let staged = store.begin(&tree);
    let file = tree.item(&staged, &noise(1, 1000));
    let link = tree.item(&staged, b"f");
    let outside = |result| matches!(result, Err(PutError::OutOfRange { .. }));
    assert!(outside(staged.put_slice(file, 1, &noise(1, 1000), A)));
    assert!(outside(staged.put_slice(file, u64::MAX, b"x", A)));
    assert!(outside(staged.put_slice(link, 0, b"f", A)));
    assert!(outside(staged.read_slice(file, 999, 2).map(drop)));
    assert!(outside(staged.read_slice(file, 1, u64::MAX).map(drop)));
    staged.put_slice(file, 1000, b"", A).unwrap();
}

#[test]
fn a_small_file_may_come_in_slices_and_then_whole() {
    let store = Store::new();
    let tree = tree()
        .file("f", noise(1, 1000))
        .entry("g", noise(1, 1000), true, 5)
        .build();
    let staged = store.begin(&tree);
    staged
        .put_slice(0, 100, &noise(1, 1000)[100..300], A)
        .unwrap();
    staged.put_item(0, &noise(1, 1000)).unwrap();
    assert!(staged.is_proven(0));
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn proven_bytes_can_be_read_back() {
    let (store, tree) = (Store::new(), one_large());
    let staged = store.begin(&tree);
    tree.put_missing(&staged);
    assert_eq!(
        staged.read_slice(0, 150_000, 10).unwrap(),
        noise(1, LARGE)[150_000..150_010]
    );
    assert!(staged.slices(0).is_empty());
    staged.put_slice(0, 0, b"late and wrong", B).unwrap();
    staged.drop_slices(0, 0..1000).unwrap();
    tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
}

#[test]
fn a_journal_that_grew_is_written_anew() {
    let (store, tree) = (Store::new(), one_large());
    let bytes = noise(1, LARGE);
    let staged = store.begin(&tree);
    let journal = store
        .path()
        .join(format!("{}.state", staged.name().display()));
    for round in 0..10_000_u64 {
        staged
            .put_slice(0, 0, &[u8::try_from(round % 2).unwrap()], A)
            .unwrap();
    }
    assert!(fs::metadata(&journal).unwrap().len() < 400_000);
    staged.put_slice(0, 0, &bytes, A).unwrap();
    staged.checkpoint().unwrap();
    assert!(fs::metadata(&journal).unwrap().len() < 1000);
    drop(staged);
    let staged = store.begin(&tree);
    assert!(staged.is_complete());
}
