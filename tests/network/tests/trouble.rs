//! Machines that die, disks that fill up, cables that are pulled.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use zeroshare_network::{Host, Lan, noisy_tree, wait_until, zero_install_add};

const MIB: u64 = 1 << 20;

#[test]
fn a_fetch_killed_at_ten_moments_never_shows_a_partial_tree_and_reads_nothing_twice() -> Result<()>
{
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let (id, size) = offer(a, 400, 96 * MIB)?;
    let _node = a.start_node(&[])?;
    a.wait_until_offered(&id)?;
    slow_down(a, "200mbit")?;

    let mut moments = moments(10);
    let mut kills = 0;
    while kills < 10 {
        let mut fetch = b.spawn(&zeroshare()?, &["fetch", &id])?;
        let moment = moments.next().context("endless")?;
        let start = Instant::now();
        while start.elapsed() < moment && fetch.is_alive()? {
            std::thread::yield_now();
        }
        fetch.kill()?;
        kills += 1;
        if let Some(tree) = visible(b, &id) {
            assert!(
                b.must("0install", &["store", "verify", &tree])?
                    .contains("OK")
            );
        }
    }
    speed_up(a)?;
    let path = b.must_zeroshare(&["fetch", &id])?;
    assert!(
        b.must("0install", &["store", "verify", &path])?
            .contains("OK")
    );

    // Pieces in flight when the axe fell are read again; here at most 16 pieces of a sole provider's call, each time.
    let sent = a.sent_bytes()?;
    let again = sent.saturating_sub(size);
    println!("{size} bytes of content, {sent} sent in 11 tries: {again} again");
    assert!(again < 10 * 4 * MIB, "{again} bytes were sent again");
    Ok(())
}

#[test]
fn a_full_disk_is_said_clearly_and_the_fetch_succeeds_once_there_is_room() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let (id, _) = offer(a, 50, 40 * MIB)?;
    let _node = a.start_node(&[])?;
    a.wait_until_offered(&id)?;
    fs::create_dir_all(b.store())?;
    let store = b.store();
    let store = store.to_str().context("a path")?;
    b_mount(&["-t", "tmpfs", "-o", "size=30m,mode=755", "tmpfs", store])?;
    let unmount = Unmount(store.to_owned());

    let output = b.zeroshare(&["fetch", &id])?;
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(
        output.stderr.to_lowercase().contains("space"),
        "{}",
        output.stderr
    );
    assert!(visible(b, &id).is_none());

    b_mount(&["-o", "remount,size=120m", store])?;
    let path = b.must_zeroshare(&["fetch", &id])?;
    assert!(
        b.must("0install", &["store", "verify", &path])?
            .contains("OK")
    );
    drop(unmount);
    Ok(())
}

#[test]
fn a_disk_that_fills_up_during_a_fetch_keeps_what_was_verified() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let (id, size) = offer(a, 50, 40 * MIB)?;
    let _node = a.start_node(&[])?;
    a.wait_until_offered(&id)?;
    fs::create_dir_all(b.store())?;
    let store = b.store();
    let store = store.to_str().context("a path")?;
    b_mount(&["-t", "tmpfs", "-o", "size=60m,mode=755", "tmpfs", store])?;
    let unmount = Unmount(store.to_owned());
    slow_down(a, "100mbit")?;

    // Room enough at the start; then somebody else takes it.
    let mut fetch = b.spawn(&zeroshare()?, &["fetch", &id])?;
    let before = a.sent_bytes()?;
    wait_until("a few pieces arrived", Duration::from_secs(30), || {
        Ok(a.sent_bytes()? > before + 4 * MIB)
    })?;
    b.run(
        "dd",
        &[
            "if=/dev/zero",
            &format!("of={store}/hog"),
            "bs=1M",
            "count=60",
        ],
    )?;
    let status = fetch.wait(Duration::from_mins(1))?;
    assert_eq!(status.code(), Some(1), "{}", fetch.log());
    assert!(
        fetch.log().to_lowercase().contains("space"),
        "{}",
        fetch.log()
    );
    assert!(visible(b, &id).is_none());

    fs::remove_file(format!("{store}/hog"))?;
    speed_up(a)?;
    let path = b.must_zeroshare(&["fetch", &id])?;
    assert!(
        b.must("0install", &["store", "verify", &path])?
            .contains("OK")
    );
    let again = a.sent_bytes()?.saturating_sub(size);
    println!("{again} bytes were sent again");
    assert!(again < 8 * MIB, "{again} bytes were sent again");
    drop(unmount);
    Ok(())
}

#[test]
fn another_machine_takes_over_when_one_dies_in_the_middle() -> Result<()> {
    let lan = Lan::new(3)?;
    let (a, b, c) = (lan.host(1), lan.host(2), lan.host(3));
    let (id, size) = offer(a, 200, 64 * MIB)?;
    let tree = a.home().join("tree");
    zero_install_add(c, &tree)?;
    let mut node_a = a.start_node(&[])?;
    let _node_c = c.start_node(&[])?;
    a.wait_until_offered(&id)?;
    c.wait_until_offered(&id)?;
    slow_down(a, "100mbit")?;
    slow_down(c, "100mbit")?;

    let mut fetch = b.spawn(&zeroshare()?, &["fetch", &id])?;
    let before = b.received_bytes()?;
    wait_until("a third arrived", Duration::from_mins(1), || {
        Ok(b.received_bytes()? > before + size / 3)
    })?;
    node_a.kill()?;
    let status = fetch.wait(Duration::from_mins(2))?;

    assert!(status.success(), "{}", fetch.log());
    let path = visible(b, &id).context("not in the store")?;
    assert!(
        b.must("0install", &["store", "verify", &path])?
            .contains("OK")
    );
    // A frame's headers cost about 5 %; what the dead one had under way is read again.
    let received = b.received_bytes()? - before;
    println!("{size} bytes of content, {received} received");
    assert!(received < size + size / 8 + 8 * MIB, "{received}");
    Ok(())
}

#[test]
fn a_machine_whose_card_was_pulled_is_found_again() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let (id, _) = offer(a, 5, MIB)?;
    let _node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    assert!(gets(b, &id)?);

    lan.remove_interface(1)?;
    assert!(!gets(b, &id)?);
    lan.add_interface(1)?;

    let took = wait_until("B gets it again", Duration::from_secs(20), || gets(b, &id))?;
    println!("found again after {took:?}");
    lan.unplug(1)?;
    lan.plug(1)?;
    wait_until(
        "B gets it after an unplugged cable",
        Duration::from_secs(20),
        || gets(b, &id),
    )?;
    Ok(())
}

#[test]
fn two_nodes_of_one_machine_live_side_by_side_and_are_both_found() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let (first, _) = offer(a, 3, MIB)?;
    let _node = a.start_node(&[])?;
    a.wait_until_offered(&first)?;

    // A second node of the same user says so and ends.
    let second = a.zeroshare(&["node"])?;
    assert!(!second.status.success());
    assert!(second.stderr.contains("run"), "{}", second.stderr);

    // Another user's node has directories of its own, and takes another port.
    let other = a.home().join("other");
    for part in ["run", "cache", "config", "state"] {
        fs::create_dir_all(other.join(part))?;
    }
    let tree = other.join("tree");
    noisy_tree(&tree, 4, MIB)?;
    let as_other = |words: &[&str]| {
        let mut command = a.command(zeroshare().unwrap_or_default());
        for (variable, part) in [
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
        ] {
            command.env(variable, other.join(part));
        }
        command.env("HOME", &other).args(words);
        command
    };
    let node = a.spawn_command(as_other(&["node"]))?;
    wait_until("the other node answers", Duration::from_secs(20), || {
        Ok(as_other(&["status"]).output()?.status.success())
    })
    .with_context(|| node.log())?;
    let added = as_other(&["add", tree.to_str().context("a path")?]).output()?;
    assert!(
        added.status.success(),
        "{}",
        String::from_utf8_lossy(&added.stderr)
    );
    let id = String::from_utf8(added.stdout)?.trim().to_owned();

    for id in [&first, &id] {
        let path = b.must_zeroshare(&["fetch", id, "--timeout", "5s"])?;
        assert!(
            b.must("0install", &["store", "verify", &path])?
                .contains("OK")
        );
    }
    Ok(())
}

#[test]
fn two_fetches_without_a_node_do_not_disturb_each_other() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let (one, _) = offer(a, 20, 8 * MIB)?;
    let other_tree = a.home().join("other-tree");
    noisy_tree(&other_tree, 30, 9 * MIB)?;
    let two = zero_install_add(a, &other_tree)?;
    let _node = a.start_node(&[])?;
    a.wait_until_offered(&one)?;
    a.wait_until_offered(&two)?;

    let mut fetches = Vec::new();
    for id in [&one, &two, &one] {
        fetches.push(b.spawn(&zeroshare()?, &["fetch", id])?);
    }
    for fetch in &mut fetches {
        let status = fetch.wait(Duration::from_mins(1))?;
        assert!(status.success(), "{}", fetch.log());
    }
    for id in [&one, &two] {
        let path = visible(b, id).context("not in the store")?;
        assert!(
            b.must("0install", &["store", "verify", &path])?
                .contains("OK")
        );
    }
    Ok(())
}

#[test]
fn a_fetch_that_was_interrupted_goes_on_where_it_was() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let (id, size) = offer(a, 100, 48 * MIB)?;
    let _node = a.start_node(&[])?;
    a.wait_until_offered(&id)?;
    slow_down(a, "100mbit")?;

    let mut fetch = b.spawn(&zeroshare()?, &["fetch", &id])?;
    wait_until("a third was sent", Duration::from_mins(1), || {
        Ok(a.sent_bytes()? > size / 3)
    })?;
    fetch.signal(Signal::INT)?;
    let status = fetch.wait(Duration::from_secs(10))?;
    assert!(!status.success());
    assert!(fetch.log().contains("fetch"), "{}", fetch.log());
    assert!(visible(b, &id).is_none());

    speed_up(a)?;
    b.must_zeroshare(&["fetch", &id])?;
    let again = a.sent_bytes()?.saturating_sub(size);
    println!("{again} bytes were sent again");
    // What counts as sent and never left: two calls with a page and a send buffer of 1 MiB each, and the pieces that were not whole.
    assert!(again < 5 * MIB, "{again} bytes were sent again");
    Ok(())
}

/// Puts a tree into a host's store; gives its id and the bytes of its content.
fn offer(host: &Host, files: u64, bytes: u64) -> Result<(String, u64)> {
    let tree = host.home().join("tree");
    noisy_tree(&tree, files, bytes)?;
    let id = zero_install_add(host, &tree)?;
    let output = Command::new("find")
        .arg(&tree)
        .args(["-type", "f", "-printf", "%s\n"])
        .output()?;
    let sizes = String::from_utf8(output.stdout)?;
    Ok((
        id,
        sizes
            .lines()
            .filter_map(|line| line.parse::<u64>().ok())
            .sum(),
    ))
}

/// Where a tree is visible in a host's store.
fn visible(host: &Host, id: &str) -> Option<String> {
    let path = host.store().join(id);
    path.exists().then(|| path.to_string_lossy().into_owned())
}

/// Whether a fetch of a copy succeeds.
fn gets(host: &Host, id: &str) -> Result<bool> {
    let copy = host.home().join("copy");
    let words = ["fetch", id, "--into", copy.to_str().context("a path")?];
    let output = host.zeroshare(&words)?;
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    Ok(output.status.success())
}

fn slow_down(host: &Host, rate: &str) -> Result<()> {
    let words = [
        "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "64kb", "latency",
        "50ms",
    ];
    host.must("tc", &words)?;
    Ok(())
}

fn speed_up(host: &Host) -> Result<()> {
    host.must("tc", &["qdisc", "del", "dev", "eth0", "root"])?;
    Ok(())
}

/// Mounts for the whole machine: `ip netns exec` would do it in a mount namespace that ends with the command.
fn b_mount(words: &[&str]) -> Result<()> {
    let status = Command::new("mount").args(words).status()?;
    anyhow::ensure!(status.success(), "cannot mount: {words:?}");
    Ok(())
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        Command::new("umount").args(["-l", &self.0]).status().ok();
    }
}

/// Moments from 30 ms to 1.2 s, in an order that looks random and is the same each time.
fn moments(count: u64) -> impl Iterator<Item = Duration> {
    (0..).map(move |n: u64| Duration::from_millis(30 + (n * 7919 + 131) % 1170 / (1 + n / count)))
}

fn zeroshare() -> Result<String> {
    let path = zeroshare_network::program("zeroshare")?;
    Ok(Path::new(&path).to_string_lossy().into_owned())
}
