//! What neighbours share, listed beside what is here.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::process::Signal;
use zeroshare_content::Algorithm;
use zeroshare_network::{Lan, hello_tree, wait_until, zero_install_add, zero_install_hello};
use zeroshare_testkit::{TestTree, put_in_store};

use crate::{
    GREETING, LIMIT, feed,
    mounted::Mounted,
    text,
    user::User,
    website::{Pages, Website, url},
};

/// Whoever lists is kept waiting for half a second at most; the rest is for a busy machine.
const MOMENT: Duration = Duration::from_secs(2);

#[test]
fn offline_and_the_store_commands_see_what_neighbours_share() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let private = a.home().join("private");
    put_in_store(&TestTree::small(), &private, Algorithm::Sha256New);
    let private = text(&private)?;
    let _node_a = a.start_node(&["--store", private, "--no-share", private])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let website = Website::start(b, Pages::new())?;
    wait_until("the machines know each other", LIMIT, || {
        Ok(b.must_zeroshare(&["peers"])?.contains(&a.address()))
    })?;

    let plain = Mounted::start(b, &[])?;
    let user = User::new(b, &plain.dir())?;
    user.cache_feed(&url("/hello.xml"), &feed(&id, 1000)?)?;
    assert_eq!(names(&plain.dir())?, [""; 0]);
    let offline = user.run("0install", &["run", "--offline", &url("/hello.xml")])?;
    assert!(!offline.status.success(), "{offline:?}");
    drop(plain);

    let mounted = Mounted::start(b, &["--list-neighbours"])?;
    let user = User::new(b, &mounted.dir())?;
    user.cache_feed(&url("/hello.xml"), &feed(&id, 1000)?)?;
    let start = Instant::now();
    assert_eq!(names(&mounted.dir())?, [id.as_str()]);
    println!("listed after {:?}", start.elapsed());
    let stores = user.must("0install", &["store", "list"])?;
    assert!(stores.contains(text(&mounted.dir())?), "{stores}");
    assert!(!b.store().join(&id).exists(), "nothing was fetched yet");
    let said = user.must("0install", &["run", "--offline", &url("/hello.xml")])?;
    assert_eq!(said, GREETING);
    let shown = mounted.dir().join(&id);
    assert_eq!(
        user.must("0install", &["store", "find", &id])?,
        text(&shown)?
    );

    // What an audit reads is fetched.
    let other = a.home().join("other");
    hello_tree(&other)?;
    fs::write(other.join("share/other"), "is another one\n")?;
    let other = zero_install_add(a, &other)?;
    a.wait_until_offered(&other)?;
    wait_until("it is listed", LIMIT, || {
        Ok(names(&mounted.dir())?.contains(&other))
    })?;
    let audit = user.must("0install", &["store", "audit"])?;
    assert!(
        audit.contains("Successfully verified implementations: 2"),
        "{audit}"
    );
    assert!(
        audit.contains("Corrupted or modified implementations: 0"),
        "{audit}"
    );
    wait_until("both are here", LIMIT, || {
        Ok([&id, &other].iter().all(|id| b.store().join(id).is_dir()))
    })?;
    assert_eq!(website.requests(), [""; 0]);
    Ok(())
}

#[test]
fn a_neighbour_that_says_nothing_holds_nobody_up() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    let mounted = Mounted::start(b, &["--list-neighbours"])?;
    wait_until("it is listed", LIMIT, || {
        Ok(names(&mounted.dir())? == [id.as_str()])
    })?;

    node_a.signal(Signal::STOP)?;
    let asked = || {
        mounted
            .running
            .log()
            .matches("neighbours said what they share")
            .count()
    };
    let before = asked();
    let mut slowest = Duration::ZERO;
    wait_until("neighbours are asked again", LIMIT, || {
        let start = Instant::now();
        // What it told lately is listed still: it may only be busy.
        assert_eq!(names(&mounted.dir())?, [id.as_str()]);
        slowest = slowest.max(start.elapsed());
        Ok(asked() > before)
    })?;
    println!("beside a neighbour that is silent the slowest list took {slowest:?}");
    assert!(slowest < MOMENT, "{slowest:?}");
    node_a.signal(Signal::CONT)?;
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
