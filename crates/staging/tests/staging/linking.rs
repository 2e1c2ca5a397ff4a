//! Large files of which every grain was judged.

use zeroshare_proof::{GrainHasher, Midstates, check_grain};
use zeroshare_staging::{Durability, PutError, SourceId};

use crate::support::{LARGE, Store, Tree, noise, tree};

const A: SourceId = SourceId(1);
const GRAIN: usize = 128 * 1024;

fn one_large() -> (Tree, Vec<u8>, Midstates) {
    let bytes = noise(1, LARGE);
    let mut hasher = GrainHasher::new();
    hasher.update(&bytes);
    let tree = tree().file("large", bytes.clone()).build();
    (tree, bytes, hasher.finish().1)
}

#[test]
fn a_file_of_linked_grains_is_proven_without_being_hashed_again() {
    let (store, (tree, bytes, list)) = (Store::new(), one_large());
    let digest = list.list_digest();
    let staged = store.begin(&tree);
    staged.judge_by(0, digest).unwrap();
    for (grain, part) in bytes.chunks(GRAIN).enumerate().rev() {
        let offset = (grain * GRAIN) as u64;
        staged.put_linked(0, (offset, part), A, &digest).unwrap();
    }
    staged.prove_item(0, list.clone()).unwrap();
    let committed = staged.commit(Durability::Durable).unwrap();
    assert_eq!(committed.files[0].midstates, Some(list));
    tree.assert_stored(&committed.path);
}

#[test]
fn what_was_written_over_or_judged_by_another_list_proves_nothing() {
    let (store, (tree, bytes, list)) = (Store::new(), one_large());
    let digest = list.list_digest();
    let staged = store.begin(&tree);
    staged.judge_by(0, [7; 32]).unwrap();
    staged
        .put_linked(0, (0, &bytes[..GRAIN]), A, &[7; 32])
        .unwrap();
    staged.judge_by(0, digest).unwrap();
    staged
        .put_linked(0, (GRAIN as u64, &bytes[GRAIN..]), A, &digest)
        .unwrap();
    let missing = |range: std::ops::Range<u64>| {
        let proven = staged.prove_item(0, list.clone());
        assert!(
            matches!(proven, Err(PutError::Incomplete { missing, .. }) if missing == range),
            "{range:?}"
        );
    };
    missing(0..GRAIN as u64);
    staged
        .put_linked(0, (0, &bytes[..GRAIN]), A, &digest)
        .unwrap();
    staged.put_slice(0, 5, b"others", A).unwrap();
    missing(5..11);
    staged.put_slice(0, 5, &bytes[5..11], A).unwrap();
    missing(5..11);

    let judged = staged.judge_part(0, &(0..GRAIN as u64), &digest, |part| {
        let size = bytes.len() as u64;
        let hash = zeroshare_content::Hasher::new(zeroshare_content::HashKind::Sha256);
        let hash = {
            let mut hash = hash;
            hash.update(&bytes);
            hash.finish()
        };
        let zeroshare_content::BlobId::Sha256(hash) = hash else {
            return false;
        };
        check_grain(&list, size, &hash, 0, part) == zeroshare_proof::GrainVerdict::Linked
    });
    assert!(judged.unwrap());
    staged.prove_item(0, list.clone()).unwrap();
    tree.assert_stored(&staged.commit(Durability::Durable).unwrap().path);
}
