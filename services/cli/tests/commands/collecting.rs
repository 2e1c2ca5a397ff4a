//! Making room.

use std::fs::File;
use std::process::Command;

use crate::home::{Home, set_mode};

#[test]
fn what_nobody_uses_goes_after_it_was_asked_for_twice() {
    let home = Home::new();
    // Nobody else can come to this home, so what others run does not matter.
    set_mode(&home.path(""), 0o700);
    home.make_tree("one", 1);
    home.make_tree("two", 2);
    let (one, two) = (home.must(&["add", "one"]), home.must(&["add", "two"]));
    let none = home.run(&["gc"]);
    assert_eq!(none.code, Some(2), "a rule is needed: {none:?}");
    let asks = home.run(&["gc", "--older-than", "0"]);
    assert_eq!(asks.code, Some(2), "nobody is here to answer: {asks:?}");
    let kept = home.document(&["gc", "--older-than", "1d", "--yes"]);
    assert_eq!(kept["trees"].as_array().unwrap().len(), 0, "{kept}");

    let planned = home.document(&["gc", "--keep-size", "0", "--dry-run"]);
    assert_eq!(planned["trees"].as_array().unwrap().len(), 2, "{planned}");
    assert_eq!(planned["trees"][0]["outcome"], "would_remove");
    assert!(home.store().join(&one).is_dir() && home.store().join(&two).is_dir());

    // Whoever has a file open, or stands in a tree, keeps it.
    let open = File::open(home.store().join(&one).join("README")).unwrap();
    let mut stands = Command::new("sleep")
        .arg("60")
        .current_dir(home.store().join(&two).join("bin/empty"))
        .spawn()
        .unwrap();
    let said = home.document(&["gc", "--keep-size", "0", "--yes"]);
    assert_eq!(said["trees"].as_array().unwrap().len(), 0, "{said}");
    drop(open);
    let said = home.must(&["gc", "--keep-size", "0", "--yes"]);
    assert!(said.contains(&one) && said.contains("are gone"), "{said}");
    assert!(!home.store().join(&one).exists() && home.store().join(&two).is_dir());
    stands.kill().unwrap();
    stands.wait().unwrap();

    let _node = home.start_node(&[]);
    home.wait_until_offered(&two);
    home.must(&["gc", "--older-than", "0", "--yes"]);
    assert!(!home.store().join(&two).exists());
    let left = std::fs::read_dir(home.store()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}
