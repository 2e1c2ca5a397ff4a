//! Ctrl-C and cancelled fetches.

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, UNKNOWN, wait_until};

#[test]
fn an_interrupted_fetch_of_ones_own_says_how_to_go_on() {
    let home = Home::new();
    let mut fetch = home.start(&["fetch", UNKNOWN, "--timeout", "5m"]);
    wait_until("it looks for peers", || {
        fetch.err().contains("looking for peers")
    });
    fetch.signal(Signal::INT);
    assert_eq!(fetch.wait().code(), Some(1), "{}", fetch.err());
    assert!(
        fetch.err().contains(&format!("zeroshare fetch {UNKNOWN}")),
        "{}",
        fetch.err()
    );
    assert_eq!(fetch.out(), "");
    assert_eq!(
        std::fs::read_dir(home.path("tmp")).unwrap().count(),
        0,
        "nothing stays behind"
    );
}

#[test]
fn a_fetch_of_the_node_goes_on_without_its_caller_and_can_be_cancelled() {
    let home = Home::new();
    let _node = home.start_node(&[]);
    let words = ["fetch", UNKNOWN, "--timeout", "5m"];
    let mut first = home.start(&words);
    wait_until("it looks for peers", || {
        first.err().contains("looking for peers")
    });
    first.signal(Signal::INT);
    assert_eq!(first.wait().code(), Some(1), "{}", first.err());
    assert!(first.err().contains("zeroshare fetches"), "{}", first.err());
    assert_eq!(state(&home), "locating", "it goes on");

    let mut second = home.start(&words);
    wait_until("it is watched again", || {
        second.err().contains("looking for peers")
    });
    home.must(&["cancel", UNKNOWN]);
    assert_eq!(second.wait().code(), Some(1), "{}", second.err());
    assert!(second.err().contains("cancelled"), "{}", second.err());
    assert_eq!(state(&home), "cancelled");
    let unknown = home.run(&[
        "cancel",
        "sha1new=da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "--json",
    ]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert_eq!(unknown.error()["reason"], "FETCH_NOT_FOUND");
}

fn state(home: &Home) -> String {
    let listed: Value = home.document(&["fetches"]);
    let fetches = listed["fetches"].as_array().unwrap();
    let fetch = fetches
        .iter()
        .find(|fetch| fetch["content_id"] == UNKNOWN)
        .unwrap();
    fetch["state"].as_str().unwrap().to_owned()
}
