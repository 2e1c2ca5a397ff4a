//! What comes and goes in stores.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::SystemTime;

use zeroshare_content::Algorithm;

use super::place::*;
use crate::shelf::*;

#[test]
fn trees_come_and_go_and_are_replaced() {
    let place = Place::new();
    let (shelf, events) = place.shelf_with_events();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    assert_eq!(shelf.holding(id, Audience::Local), None);
    shelf.rescan(SystemTime::now()).unwrap();
    assert_eq!(
        drained(&events),
        [ShelfEvent::Changed(id.into()), ShelfEvent::Work]
    );
    shelf.verify_all();
    drained(&events);
    shelf.rescan(SystemTime::now()).unwrap();
    assert_eq!(drained(&events), []);

    let path = shelf.holding(id, Audience::Local).unwrap().path;
    fs::rename(&path, place.path("shared/tmp-away")).unwrap();
    place.put_tree("shared", Algorithm::Sha256New);
    shelf.rescan(SystemTime::now()).unwrap();
    assert_eq!(
        shelf.holding(id, Audience::Local).unwrap().state,
        HoldingState::Unverified
    );

    fs::remove_dir_all(path).unwrap();
    drained(&events);
    shelf.rescan(SystemTime::now()).unwrap();
    assert_eq!(drained(&events), [ShelfEvent::Changed(id.into())]);
    assert_eq!(shelf.holding(id, Audience::Local), None);
}

#[test]
fn a_tree_that_cannot_be_read_is_not_quarantined_but_tried_again_later() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.shelf();
    fs::rename(place.path("shared"), place.path("away")).unwrap();
    let outcome = shelf.verify(id, Copies::Unverified, &mut go_on).unwrap();
    assert_eq!(outcome.faults.len(), 1);
    assert_eq!(
        shelf.holding(id, Audience::Local).unwrap().state,
        HoldingState::Unverified
    );
    assert_eq!(shelf.unverified(), [], "it is left alone for a while");
    assert!(shelf.is_unverified(id));

    fs::rename(place.path("away"), place.path("shared")).unwrap();
    let outcome = shelf.verify(id, Copies::All, &mut go_on).unwrap();
    assert_eq!(outcome, VerifyOutcome::default());
    assert!(shelf.holding(id, Audience::Local).unwrap().offered);
}

#[test]
fn a_store_that_cannot_be_listed_is_not_empty() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    fs::rename(place.path("shared"), place.path("away")).unwrap();
    fs::write(place.path("shared"), "no directory").unwrap();
    shelf.rescan(SystemTime::now()).unwrap();
    assert!(shelf.holding(id, Audience::Local).unwrap().offered);
}

#[test]
fn what_was_gone_for_a_moment_is_believed_again_unless_a_file_was_touched() {
    let place = Place::new();
    let id = place.put_tree("shared", Algorithm::Sha256New);
    let shelf = place.verified_shelf();
    let path = shelf.holding(id, Audience::Local).unwrap().path;
    let away_and_back = |meanwhile: &dyn Fn(&Path)| {
        let away = place.path("away");
        fs::rename(&path, &away).unwrap();
        shelf.rescan(SystemTime::now()).unwrap();
        assert_eq!(shelf.holding(id, Audience::Local), None);
        meanwhile(&away);
        fs::rename(&away, &path).unwrap();
        shelf.rescan(SystemTime::now()).unwrap();
    };
    away_and_back(&|_| ());
    assert!(shelf.holding(id, Audience::Local).unwrap().offered);
    assert!(shelf.open(id, Audience::Peers).is_ok());
    assert_eq!(shelf.unverified(), []);
    away_and_back(&|away| fs::write(away.join("small"), "EIGHT by").unwrap());
    assert_eq!(shelf.unverified(), [ContentId::Tree(id)]);
}

#[test]
fn names_that_are_no_trees_and_links_to_trees_are_left_alone() {
    let place = Place::new();
    let id = place.put_tree("elsewhere", Algorithm::Sha256New);
    let store = place.path("shared");
    symlink(
        place.path("elsewhere").join(id.to_string()),
        store.join(id.to_string()),
    )
    .unwrap();
    for name in [
        "tmp-1",
        "0install-unpack-1",
        "sha256new_short",
        "sha1=..",
        "sha1new=zz",
    ] {
        fs::create_dir(store.join(name)).unwrap();
    }
    let shelf = place.verified_shelf();
    assert_eq!(shelf.holdings(None, 10, Audience::Local), []);
    let root = crate::StoreRoot {
        path: store.clone(),
        kind: crate::RootKind::Named,
    };
    assert_eq!(
        crate::find_tree(&[root], &id),
        Some(store.join(id.to_string()))
    );
}

#[test]
fn a_store_named_twice_is_listed_once() {
    let place = Place::new();
    place.put_tree("shared", Algorithm::Sha256New);
    symlink(place.path("shared"), place.path("alias")).unwrap();
    let mut options = place.options();
    options.roots.push(ShelvedRoot {
        path: place.path("alias"),
        shared: true,
    });
    let shelf = Shelf::open_index(options).unwrap();
    shelf.rescan(SystemTime::now()).unwrap();
    let held: Vec<u32> = shelf
        .counts()
        .iter()
        .map(|count| count.held_trees)
        .collect();
    assert_eq!(held, [1, 0, 0]);
}
