use std::path::Path;

use anyhow::ensure;
use zeroshare_content::{Algorithm, HashKind, NameError};
use zeroshare_shelf::{ScanError, ScannedTree, scan_tree};

use super::zero_install::Said;

/// What our scan makes of a directory.
#[derive(Debug)]
pub(crate) enum Scanned {
    Tree(ScannedTree),
    Newline,
    Special,
}

pub(crate) fn scan(dir: &Path) -> Result<Scanned, ScanError> {
    match scan_tree(dir, &HashKind::ALL, &mut |_| {}) {
        Ok(tree) => Ok(Scanned::Tree(tree)),
        Err(ScanError::Name {
            source: NameError::Newline,
            ..
        }) => Ok(Scanned::Newline),
        Err(ScanError::Special { .. }) => Ok(Scanned::Special),
        Err(error) => Err(error),
    }
}

pub(crate) fn compare_digests(
    ours: &ScannedTree,
    algorithm: Algorithm,
    real: &Said,
) -> anyhow::Result<()> {
    let text = ours.manifest_text(algorithm)?;
    ensure!(
        text == real.manifest,
        "ours: {}\nreal: {}",
        text.escape_ascii(),
        real.manifest.escape_ascii()
    );
    let name = ours.tree_id(algorithm)?.directory_name(algorithm);
    ensure!(
        name.as_ref() == Some(&real.id),
        "ours: {name:?}, real: {}",
        real.id
    );
    Ok(())
}
