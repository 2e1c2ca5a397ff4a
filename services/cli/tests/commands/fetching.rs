//! Trees on their way from one home to another.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::home::{Home, UNKNOWN, set_mode, wait_until};

#[test]
fn a_tree_comes_from_one_node_to_another() {
    let (one, two) = (Home::new(), Home::new());
    let _nodes = (one.start_node(&[]), two.start_node(&[]));
    let id = add(&one, 1);

    let path = two.must(&["fetch", &id, "--from", &one.address()]);
    assert_eq!(Path::new(&path), two.store().join(&id));
    check_tree(&two, &path, &id);
    assert_eq!(two.held(&id).unwrap()["path"], path);

    // With the first node gone it is there at once.
    drop(one);
    assert_eq!(two.must(&["fetch", &id]), path);
    assert_eq!(
        two.document(&["fetch", &id])["fetches"][0]["state"],
        "succeeded"
    );
}

#[test]
fn a_tree_comes_without_a_node_of_ones_own() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one, 2);

    // 0share's spelling.
    let path = two.must(&["-f", &id, "-H", &one.address()]);
    check_tree(&two, &path, &id);
    assert_eq!(
        fs::read_dir(two.path("tmp")).unwrap().count(),
        0,
        "nothing stays behind"
    );
    assert_eq!(two.run(&["status"]).code, Some(1), "no node stays behind");
}

#[test]
fn two_commands_without_a_node_share_one_tree() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one, 3);
    let address = one.address();
    let mut fetches: Vec<_> = (0..3)
        .map(|_| two.start(&["fetch", &id, "--from", &address]))
        .collect();
    for fetch in &mut fetches {
        let status = fetch.wait();
        assert_eq!(status.code(), Some(0), "{}", fetch.err());
        assert_eq!(
            fetch.out().trim_end(),
            two.store().join(&id).to_str().unwrap()
        );
    }
}

#[test]
fn several_trees_come_at_once_and_are_named_in_order() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let ids: Vec<String> = (4..9).map(|seed| add(&one, seed)).collect();
    let address = one.address();
    let words: Vec<&str> = ids.iter().map(String::as_str).collect();
    let paths = two.must(&[&["fetch", "--from", &address], &words[..]].concat());
    let expected: Vec<String> = ids
        .iter()
        .map(|id| two.store().join(id).to_str().unwrap().to_owned())
        .collect();
    assert_eq!(paths.lines().collect::<Vec<_>>(), expected);

    // One that nobody has does not keep the others back.
    let three = Home::new();
    let said = three.run(&["fetch", "--from", &address, UNKNOWN, &ids[0]]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(
        said.out.trim_end(),
        three.store().join(&ids[0]).to_str().unwrap()
    );
}

#[test]
fn what_nobody_has_has_an_exit_code_of_its_own() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let address = one.address();
    for words in [
        &["fetch", UNKNOWN][..],
        &["fetch", UNKNOWN, "--from", &address],
        &["find", UNKNOWN, "--wait", "100ms"],
        &["find", UNKNOWN, "--from", &address],
    ] {
        let said = two.run(words);
        assert_eq!(said.code, Some(3), "{words:?}: {said:?}");
        assert_eq!(said.out, "");
        let said = two.run(&[words, &["--json"]].concat());
        assert_eq!(
            (&said.error()["exit_code"], &said.error()["reason"]),
            (&3.into(), &"NO_PROVIDERS".into())
        );
        assert_eq!(said.out, "");
    }
    assert_eq!(
        one.run(&["fetch", UNKNOWN]).code,
        Some(3),
        "by a node as well"
    );
}

#[test]
fn a_copy_is_an_ordinary_directory() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one, 10);
    let address = one.address();
    let path = two.must(&["fetch", &id, "--from", &address, "--into", "copy"]);
    assert_eq!(Path::new(&path), two.path("copy"));
    assert_eq!(
        fs::read_to_string(two.path("copy/README")).unwrap(),
        "tree 10\n"
    );
    fs::write(two.path("copy/README"), "mine").unwrap();
    let again = two.run(&["fetch", &id, "--from", &address, "--into", "copy"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(fs::read_to_string(two.path("copy/README")).unwrap(), "mine");
}

#[test]
fn a_tree_goes_into_the_store_that_is_named() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one, 14);
    let address = one.address();
    let store = two.path("data/store");
    fs::create_dir(&store).unwrap();
    let path = two.must(&["fetch", &id, "--from", &address, "--store", "data/store"]);
    assert_eq!(Path::new(&path), store.join(&id));
    let here = two.must(&["add", &path, "--store", "data/store"]);
    assert_eq!(here, id);
    assert!(!two.store().join(&id).exists());
}

#[test]
fn a_tree_larger_than_allowed_is_refused_before_it_comes() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one, 11);
    let said = two.run(&[
        "fetch",
        &id,
        "--from",
        &one.address(),
        "--max-size",
        "1KiB",
        "--json",
    ]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.error()["reason"], "TOO_LARGE");
    assert!(!two.store().join(&id).exists());
}

#[test]
fn who_has_a_tree_is_said_with_its_size_up_front() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one, 12);
    let address = one.address();
    let found = two.document(&["find", &id, "--from", &address]);
    assert_eq!(found["content_id"], id.as_str());
    assert_eq!(found["files"], 4);
    assert_eq!(found["size_bytes"], 300_000 + 8 + 21);
    assert_eq!(found["path"], Value::Null);
    assert_eq!(found["providers"][0]["address"], address.as_str());
    assert_eq!(found["providers"][0]["claim"], "confirmed");
    assert!(
        two.must(&["find", &id, "--from", &address])
            .contains("4 files")
    );
    let here = one.document(&["find", &id]);
    assert_eq!(here["path"], one.store().join(&id).to_str().unwrap());
}

#[test]
fn a_corrupt_tree_is_named_and_repaired() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one, 13);
    let address = one.address();
    let path = two.must(&["fetch", &id, "--from", &address]);
    assert_eq!(
        two.document(&["verify", &id])["contents"][0]["verifies"],
        true
    );

    let file = Path::new(&path).join("bin/data");
    set_mode(&file, 0o644);
    fs::write(&file, "wrong").unwrap();
    let said = two.run(&["verify", &id, "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.error()["reason"], "STORE_CORRUPT");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["contents"][0]["verifies"], false);
    let named = report["contents"][0]["corrupt_files"].to_string();
    assert!(named.contains("bin/data"), "{named}");
    assert!(two.run(&["verify"]).err.contains("zeroshare repair"));

    assert_eq!(two.must(&["repair", &id, "--from", &address]), path);
    assert_eq!(two.must(&["verify", &id]), format!("ok       {id}"));
}

#[test]
fn peers_are_listed_even_if_there_are_none() {
    let home = Home::new();
    let _node = home.start_node(&[]);
    assert_eq!(home.document(&["peers"])["peers"], Value::Array(Vec::new()));
    assert!(home.must(&["peers"]).starts_with("PEER"));
    wait_until("no fetch is known", || {
        home.document(&["fetches"])["fetches"] == Value::Array(Vec::new())
    });
}

fn add(home: &Home, seed: u8) -> String {
    let name = format!("tree-{seed}");
    home.make_tree(&name, seed);
    let id = home.must(&["add", &name]);
    home.wait_until_offered(&id);
    id
}

fn check_tree(home: &Home, path: &str, id: &str) {
    assert_eq!(home.must(&["digest", path, "--algorithm", "sha256new"]), id);
    assert_eq!(
        fs::read_link(Path::new(path).join("run")).unwrap(),
        Path::new("bin/run")
    );
    assert_eq!(home.must(&["verify", id]), format!("ok       {id}"));
    let leftovers = fs::read_dir(home.store())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let leftovers: Vec<_> = leftovers
        .filter(|name| name.to_string_lossy().starts_with("tmp-"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}
