//! A node, and what it says of itself.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::home::Home;

#[test]
fn a_node_says_how_it_is() {
    let home = Home::new();
    let node = home.start_node(&[]);
    let status = home.document(&["status"]);
    assert_eq!(status["serving"], true);
    assert_eq!(status["node"]["pid"], node.id());
    assert_eq!(status["node"]["owner"], "user");
    assert_eq!(status["node"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["discovery"]["node_id"].as_str().unwrap().len(), 32);
    let port = status["node"]["ports"][0].as_u64().unwrap();
    let lan = status["store"]["lan_addresses"].as_array().unwrap();
    let suffix = format!(":{port}");
    assert!(
        lan.iter()
            .any(|address| address.as_str().unwrap().ends_with(&suffix)),
        "{status}"
    );
    assert_eq!(status["fetcher"]["running_fetches"], 0);
    let text = home.must(&["status"]);
    assert!(
        text.contains("your node") && text.contains(&node.id().to_string()),
        "{text}"
    );
}

#[test]
fn a_second_node_of_one_user_says_who_runs_and_ends() {
    let home = Home::new();
    let node = home.start_node(&[]);
    let port = home.document(&["status"])["node"]["ports"][0].to_string();
    for words in [&["node"][..], &[]] {
        let second = home.run(words);
        assert_eq!(second.code, Some(1), "{second:?}");
        assert!(second.err.contains("runs"), "{second:?}");
        assert!(
            second.err.contains(&node.id().to_string()) && second.err.contains(&port),
            "{second:?}"
        );
    }
    let second = home.run(&["node", "--json"]);
    assert_eq!(second.error()["reason"], "NODE_RUNS");
    assert_eq!(home.run(&["status"]).code, Some(0), "the first goes on");
}

#[test]
fn nodes_of_two_users_live_side_by_side() {
    let (one, two) = (Home::new(), Home::new());
    let _nodes = (one.start_node(&[]), two.start_node(&[]));
    assert_ne!(one.address(), two.address());
}

#[test]
fn a_node_ends_in_order_when_it_is_asked_to() {
    let home = Home::new();
    let mut node = home.start_node(&["--json"]);
    let started: Value = node
        .err()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|event| event.get("node").cloned())
        .unwrap();
    assert_eq!(started["pid"], node.id());
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0), "{}", node.err());
    assert_eq!(node.out(), "");
    assert!(!node.err().contains("ERROR"), "{}", node.err());
    assert_eq!(home.run(&["status"]).code, Some(1));
    let _again = home.start_node(&[]);
}

#[test]
fn a_node_that_was_killed_does_not_keep_the_next_from_starting() {
    let home = Home::new();
    let mut node = home.start_node(&[]);
    node.signal(Signal::KILL);
    node.wait();
    assert_eq!(home.run(&["status"]).code, Some(1));
    let _again = home.start_node(&[]);
}

#[test]
fn what_strangers_reach_is_restricted_in_a_node_too() {
    let home = Home::new();
    let _node = home.start_node(&[]);
    let status = home.document(&["status"]);
    let restriction = status["store"]["restriction"].as_str().unwrap();
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let expected = if modules.contains("landlock") {
        "landlock"
    } else {
        ""
    };
    assert!(
        restriction.starts_with(expected) && !restriction.is_empty(),
        "{restriction}"
    );
}
