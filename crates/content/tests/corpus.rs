//! The corpora of the fuzz targets that this crate is the subject of, replayed.

#[path = "../../../tests/fuzz/src/id.rs"]
pub mod id;
#[path = "../../../tests/fuzz/src/manifest.rs"]
pub mod manifest;

use std::path::Path;

#[test]
fn manifests_of_the_corpus_hold() -> anyhow::Result<()> {
    replay("manifest", manifest::check)
}

#[test]
fn ids_of_the_corpus_hold() -> anyhow::Result<()> {
    replay("id", id::check)
}

fn replay(target: &str, check: fn(&[u8])) -> anyhow::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    for entry in corpus.read_dir()? {
        check(&read(&entry?.path())?);
        inputs += 1;
    }
    anyhow::ensure!(inputs > 10, "only {inputs} inputs in {}", corpus.display());
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the corpus lies on disk; the crate itself reads none"
)]
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}
