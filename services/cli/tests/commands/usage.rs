//! What needs no node and no network.

use std::fs;

use crate::home::{Home, UNKNOWN};

#[test]
fn a_malformed_id_is_refused_with_the_right_form() {
    let home = Home::new();
    for words in [
        &["fetch", "sha256new_nonsense"][..],
        &["-f", "sha256new_nonsense"],
        &["find", "sha256new_nonsense"],
    ] {
        let said = home.run(words);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.err.contains("sha256new_") && said.err.contains("52"),
            "{said:?}"
        );
        assert_eq!(said.out, "");
    }
}

#[test]
fn wrong_words_are_usage_errors_for_programs_too() {
    let home = Home::new();
    for words in [
        &["fetch"][..],
        &["nonsense"],
        &["fetch", UNKNOWN, "--max-size", "much"],
        &["--nonsense"],
    ] {
        let said = home.run(words);
        assert_eq!(said.code, Some(2), "{said:?}");
        let said = home.run(&[words, &["--json"]].concat());
        assert_eq!(said.code, Some(2), "{said:?}");
        assert_eq!(said.error()["exit_code"], 2);
        assert_eq!(said.error()["reason"], "USAGE");
        assert_eq!(said.out, "");
    }
}

#[test]
fn the_oldest_format_is_refused_with_the_reason() {
    let home = Home::new();
    let said = home.run(&["fetch", &format!("sha1={}", "a".repeat(40))]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("oldest format"), "{said:?}");
}

#[test]
fn several_trees_cannot_be_one_copy() {
    let home = Home::new();
    let said = home.run(&["fetch", UNKNOWN, UNKNOWN, "--into", "copy"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let home = Home::new();
    for words in [
        &["--help"][..],
        &["help", "fetch"],
        &["fetch", "--help"],
        &["node", "--help"],
    ] {
        let help = home.must(words);
        assert!(
            help.contains("Usage:") && help.contains("Examples:"),
            "{help}"
        );
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(home.must(&["version"]), format!("zeroshare {version}"));
    assert_eq!(home.must(&["--version"]), format!("zeroshare {version}"));
    assert_eq!(home.document(&["version"])["version"], version);
}

#[test]
fn shells_and_manual_readers_get_what_they_need() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            home.must(&["completions", shell]).contains("repair"),
            "{shell}"
        );
    }
    assert!(home.must(&["man"]).contains(".TH"));
    home.must(&["man", "data"]);
    for page in ["zeroshare.1", "zeroshare-fetch.1", "zeroshare-node.1"] {
        assert!(
            fs::read_to_string(home.path("data").join(page))
                .unwrap()
                .contains(".TH"),
            "{page}"
        );
    }
}

#[test]
fn a_tree_has_a_line_for_each_algorithm() {
    let home = Home::new();
    let tree = home.path("tree");
    fs::create_dir(&tree).unwrap();
    let empty = [
        "sha1=da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "sha1new=da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256new_4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKQ",
    ];
    assert_eq!(home.must(&["digest", "tree"]), empty.join("\n"));
    assert_eq!(
        home.must(&["digest", "tree", "--algorithm", "sha256new"]),
        empty[3]
    );
    let document = home.document(&["digest", "tree"]);
    assert_eq!(document["digests"][3]["algorithm"], "sha256new");
    assert_eq!(document["digests"][3]["id"], empty[3]);
}

#[test]
fn a_name_with_a_line_break_has_no_digest() {
    let home = Home::new();
    let tree = home.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a\nF 00 0 0 b"), "").unwrap();
    let said = home.run(&["digest", "tree"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.out, "");
}

#[test]
fn without_a_node_its_state_is_not_asked_in_vain() {
    let home = Home::new();
    for words in [&["status"][..], &["fetches"], &["cancel", UNKNOWN]] {
        let said = home.run(words);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("zeroshare node"), "{said:?}");
        let said = home.run(&[words, &["--json"]].concat());
        assert_eq!(said.error()["reason"], "NO_NODE");
    }
}
