//! Trees of one's own, from directories and archives.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;

use crate::home::{Home, set_mode};

#[test]
fn an_archive_and_its_directory_are_one_tree() {
    let home = Home::new();
    let tree = home.make_tree("hello-1.0", 1);
    let expected = home.must(&["digest", "hello-1.0", "--algorithm", "sha256new"]);
    let archive = home.path("hello.tar.zst");
    pack(&tree, &archive);
    let words = ["hello.tar.zst", "--extract", "hello-1.0"];
    assert_eq!(
        home.must(&[&["digest", "--algorithm", "sha256new"], &words[..]].concat()),
        expected
    );
    assert_eq!(home.must(&[&["add"], &words[..]].concat()), expected);
    assert_eq!(
        home.must(&["add", "hello-1.0"]),
        expected,
        "what is there already is no error"
    );
    assert!(home.store().join(&expected).join(".manifest").is_file());
    assert_eq!(
        fs::read_dir(home.path("tmp")).unwrap().count(),
        0,
        "nothing stays behind"
    );
}

#[test]
fn a_tree_is_added_by_the_running_node_or_without_one() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    for home in [&one, &two] {
        home.make_tree("tree", 2);
        let report = home.document(&["add", "tree", "--algorithm", "sha1new"]);
        let id = report["content_id"].as_str().unwrap();
        assert!(id.starts_with("sha1new="), "{report}");
        assert_eq!(report["path"], home.store().join(id).to_str().unwrap());
        assert_eq!(home.must(&["verify", id]), format!("ok       {id}"));
    }
}

#[test]
fn what_cannot_be_a_tree_is_refused() {
    let home = Home::new();
    home.make_tree("tree", 3);
    fs::write(home.path("text"), "no archive").unwrap();
    for (words, code) in [
        (&["add", "missing"][..], 1),
        (&["add", "text"], 1),
        (&["add", "tree", "--algorithm", "sha1"], 2),
        (&["add", "tree", "--algorithm", "md5"], 2),
        (&["add", "tree", "--extract", "../tree"], 2),
        (&["add", "tree", "--extract", "run"], 2),
    ] {
        let said = home.run(words);
        assert_eq!(said.code, Some(code), "{words:?}: {said:?}");
        assert_eq!(said.out, "");
    }
}

#[test]
fn an_archive_that_climbs_leaves_nothing_behind() {
    let home = Home::new();
    let mut builder = tar::Builder::new(File::create(home.path("evil.tar")).unwrap());
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..7].copy_from_slice(b"../evil");
    header.set_size(1);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    builder.finish().unwrap();
    let said = home.run(&["add", "evil.tar"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("../evil"), "{said:?}");
    assert!(!home.path("tmp/evil").exists() && !home.path("evil").exists());
    assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0);
}

#[test]
fn an_unreadable_file_is_named() {
    let home = Home::new();
    let tree = home.make_tree("tree", 4);
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let said = home.run(&["add", "tree", "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let message: Value = said.error()["message"].clone();
    assert!(message.as_str().unwrap().contains("pipe"), "{message}");
}

/// Packs a directory with its name, without any other program.
fn pack(tree: &Path, archive: &Path) {
    let file = zstd::Encoder::new(File::create(archive).unwrap(), 1).unwrap();
    let mut builder = tar::Builder::new(file);
    builder.follow_symlinks(false);
    set_mode(&tree.join("README"), 0o600);
    builder
        .append_dir_all(tree.file_name().unwrap(), tree)
        .unwrap();
    builder.into_inner().unwrap().finish().unwrap();
}
