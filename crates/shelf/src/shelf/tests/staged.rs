//! What is on its way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use zeroshare_content::{Algorithm, HashKind, TreeId};
use zeroshare_proof::Midstates;

use super::place::*;
use crate::pieces::{PieceReader, ReadError, Recheck};
use crate::scan::scan_tree;

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
