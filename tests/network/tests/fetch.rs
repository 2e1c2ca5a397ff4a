//! A program goes from one machine to another, and the real 0install accepts it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use zeroshare_network::{
    Lan, local_feed, noisy_tree, real_tree, zero_install_add, zero_install_hello,
};

#[test]
fn a_real_tree_goes_from_one_machine_to_another_and_the_real_0install_runs_it() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let tree = a.home().join("tree");
    real_tree(&tree)?;
    let id = zero_install_add(a, &tree)?;
    let mut node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;

    let start = Instant::now();
    let path = b.must_zeroshare(&["fetch", &id])?;
    println!("fetched {} in {:?}", size(&tree)?, start.elapsed());

    assert_eq!(Path::new(&path), b.store().join(&id));
    assert!(
        b.must("0install", &["store", "verify", &path])?
            .contains("OK")
    );
    let feed = local_feed(b.home(), &id)?;
    let said = b.must("0install", &["run", feed.to_str().unwrap_or_default()])?;
    assert_eq!(said, "hello from the machine beside you");

    node_a.kill()?;
    let start = Instant::now();
    assert_eq!(b.must_zeroshare(&["fetch", &id])?, path);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}

#[test]
fn a_fetch_needs_no_node_on_the_machine_that_asks() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let _node = a.start_node(&[])?;
    a.wait_until_offered(&id)?;

    let path = b.must_zeroshare(&["fetch", &id])?;

    assert!(
        b.must("0install", &["store", "verify", &path])?
            .contains("OK")
    );
    let left = b.home().join("run");
    let left: Vec<_> = fs::read_dir(left)?
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    assert!(
        left.iter().all(|name| name == "zeroshare"),
        "left behind: {left:?}"
    );
    Ok(())
}

#[test]
fn what_nobody_has_is_said_within_a_second_or_so() -> Result<()> {
    let lan = Lan::new(2)?;
    let _node_a = lan.host(1).start_node(&[])?;
    let _node_b = lan.host(2).start_node(&[])?;
    let id = "sha256new_4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKA";

    let start = Instant::now();
    let output = lan.host(2).zeroshare(&["fetch", id])?;

    assert_eq!(output.status.code(), Some(3), "{}", output.stderr);
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert!(output.stdout.is_empty());
    Ok(())
}

#[test]
fn a_malformed_id_is_refused_with_the_right_form() -> Result<()> {
    let lan = Lan::new(1)?;

    let output = lan.host(1).zeroshare(&["fetch", "sha256new_nonsense"])?;

    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    assert!(output.stderr.contains("sha256new_"), "{}", output.stderr);
    assert!(output.stderr.contains("52"), "{}", output.stderr);
    Ok(())
}

#[test]
fn a_tight_umask_changes_nothing_in_the_store() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let tree = a.home().join("tree");
    noisy_tree(&tree, 20, 1_000_000)?;
    let id = zero_install_add(a, &tree)?;
    let _node = a.start_node(&[])?;
    a.wait_until_offered(&id)?;

    let zeroshare = zeroshare_network::program("zeroshare")?;
    let script = format!("umask 077; exec {} fetch {id}", zeroshare.display());
    let path = b.must("sh", &["-c", &script])?;

    assert!(
        b.must("0install", &["store", "verify", &path])?
            .contains("OK")
    );
    let mode = |name: &str| -> Result<u32> {
        Ok(fs::metadata(Path::new(&path).join(name))?
            .permissions()
            .mode()
            & 0o7777)
    };
    assert_eq!(mode("")?, 0o555);
    assert_eq!(mode("share")?, 0o555);
    assert_eq!(mode("share/greeting")?, 0o444);
    assert_eq!(mode("bin/hello")?, 0o555);
    assert_eq!(mode(".manifest")?, 0o444);
    Ok(())
}

#[test]
fn named_hosts_are_asked_without_any_datagram() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(a)?;
    let _node = a.start_node(&["--no-multicast4", "--no-multicast6", "--no-broadcast"])?;
    a.wait_until_offered(&id)?;

    let path = b.must_zeroshare(&["fetch", &id, "--from", &a.address()])?;
    assert!(
        b.must("0install", &["store", "verify", &path])?
            .contains("OK")
    );

    let into = b.home().join("copy");
    let printed = b.must_zeroshare(&[
        "fetch",
        &id,
        "--from",
        &a.address(),
        "--into",
        into.to_str().unwrap_or_default(),
    ])?;
    assert_eq!(Path::new(&printed), into);
    assert_eq!(
        b.must("0install", &["digest", "--algorithm=sha256new", &printed])?,
        id
    );
    Ok(())
}

fn size(directory: &Path) -> Result<String> {
    let output = std::process::Command::new("du")
        .args(["-sh", "--inodes"])
        .arg(directory)
        .output()?;
    let inodes = String::from_utf8_lossy(&output.stdout).into_owned();
    let output = std::process::Command::new("du")
        .arg("-sh")
        .arg(directory)
        .output()?;
    let bytes = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = |text: &str| text.split_whitespace().next().unwrap_or("?").to_owned();
    Ok(format!("{} inodes, {}", first(&inodes), first(&bytes)))
}
