//! What the fuzzer found or was given stays harmless.
#![expect(clippy::disallowed_methods, reason = "a corpus is files")]

use std::fs;

use zeroshare_wire::datagram::{GroupKey, NodeId, decode, encode, verify_origin};

const CORPUS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fuzz/corpus/datagram"
);

#[test]
fn the_corpus_is_read_or_refused() {
    let mut read = 0;
    for found in fs::read_dir(CORPUS).unwrap() {
        let bytes = fs::read(found.unwrap().path()).unwrap();
        let _refused = verify_origin(&bytes, NodeId::from_bytes([0; 16]));
        let _refused = decode(&bytes, &GroupKey::from_keys([7; 32], [7; 32]));
        let group = GroupKey::none();
        if let Ok(datagram) = decode(&bytes, &group) {
            let again = encode(&datagram, &group, None);
            assert_eq!(decode(&again, &group), Ok(datagram));
            read += 1;
        }
    }
    assert!(read >= 8, "the corpus has a right datagram of each kind");
}
