//! The corpus of the fuzz target that reads datagrams, replayed.

#[path = "../../../tests/fuzz/src/datagram.rs"]
pub mod datagram;

use std::path::Path;

#[test]
fn datagrams_of_the_corpus_hold() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/datagram");
    let mut inputs = 0;
    for entry in corpus.read_dir().expect("the corpus is there") {
        let path = entry.expect("it can be listed").path();
        #[expect(clippy::disallowed_methods, reason = "the corpus lies on disk")]
        let bytes = std::fs::read(&path).expect("it can be read");
        datagram::check(&bytes);
        inputs += 1;
    }
    assert!(inputs > 10, "only {inputs} inputs in {}", corpus.display());
}
