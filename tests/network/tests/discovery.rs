//! Finding with real sockets: many hosts, two LANs, and machines that move, sleep and come back.
#![expect(clippy::print_stdout, reason = "a story tells what it measured")]

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use zeroshare_network::{Host, Lan, Running, hello_tree, wait_until, zero_install_add};

/// Hosts of the large LAN.
const HOSTS: u8 = 50;

/// The processors' idleness is judged over so many of their ticks, a hundredth of a second each.
const TICKS: u64 = 100;

/// A machine that changed is found again within this.
const FOUND_AGAIN: Duration = Duration::from_secs(5);

/// A neighbour sleeps for so long: more than enough to be noticed by itself.
const NAP: Duration = Duration::from_secs(20);

#[test]
fn among_fifty_hosts_a_newcomer_finds_a_tree_at_once() -> Result<()> {
    let lan = Lan::new(HOSTS)?;
    let holder = lan.host(HOSTS);
    let id = hold(holder)?;
    let mut nodes = Vec::new();
    for host in &lan.hosts()[1..] {
        nodes.push(host.spawn(&zeroshare()?, &["node"])?);
    }
    holder.wait_until_offered(&id)?;
    wait_until("they know each other", Duration::from_mins(2), || {
        Ok(peers(holder)?.len() >= usize::from(HOSTS) - 2)
    })?;
    let mut before = processor()?;
    wait_until("they all have started", Duration::from_mins(2), || {
        let now = processor()?;
        let (idle, all) = (now.0 - before.0, now.1 - before.1);
        if all < TICKS {
            return Ok(false);
        }
        before = now;
        Ok(idle * 4 > all * 3)
    })?;

    // Without a node: its own discovery starts, asks and is told, before anything is connected to.
    let took: Result<_> = (0..10).map(|_| finds(lan.host(1), &id)).collect();
    check("among fifty hosts", took?)
}

#[test]
fn one_host_joins_two_lans_of_which_one_has_no_multicast() -> Result<()> {
    let lan = Lan::new(4)?;
    let (first, joint, other) = (lan.host(1), lan.host(2), lan.host(3));
    // Host 2 has a cable to host 3, which hears no multicast and nobody else.
    lan.unplug(3)?;
    lan.join(2, 3)?;
    for host in [joint, other] {
        let rules = "add table inet t; \
            add chain inet t c { type filter hook input priority 0; }; \
            add rule inet t c iifname eth1 ip daddr 224.0.0.0/4 drop; \
            add rule inet t c iifname eth1 ip6 daddr ff12::/16 drop";
        host.must("nft", &[rules])?;
    }
    let id = hold(joint)?;
    let _node = joint.start_node(&[])?;
    joint.wait_until_offered(&id)?;
    for (name, host) in [("with multicast", first), ("without", other)] {
        let took: Result<_> = (0..5).map(|_| finds(host, &id)).collect();
        check(&format!("on the LAN {name}"), took?)?;
    }
    Ok(())
}

#[test]
fn who_moves_restarts_or_sleeps_is_found_again_in_seconds() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let id = hold(a)?;
    let mut node_a = a.start_node(&[])?;
    let _node_b = b.start_node(&[])?;
    a.wait_until_offered(&id)?;
    found_again(b, &id, "at first", |_| true)?;

    lan.remove_interface(1)?;
    lan.add_interface(1)?;
    found_again(b, &id, "after its card was pulled", |_| true)?;

    a.must("ip", &["addr", "flush", "dev", "eth0"])?;
    let moved = [
        "addr",
        "add",
        "10.77.0.101/24",
        "broadcast",
        "10.77.0.255",
        "dev",
        "eth0",
    ];
    a.must("ip", &moved)?;
    found_again(b, &id, "at its new address", |address| {
        address.starts_with("10.77.0.101:")
    })?;

    node_a.kill()?;
    node_a = a.start_node(&[])?;
    a.wait_until_offered(&id)?;
    found_again(b, &id, "after a restart", |_| true)?;

    stop_for(&node_a, NAP)?;
    found_again(b, &id, "after a nap", |_| true)?;
    wait_until("it hears its peer after the nap", FOUND_AGAIN, || {
        Ok(!peers(a)?.is_empty())
    })?;
    Ok(())
}

/// Puts a tree into a host's store, and gives its id.
fn hold(host: &Host) -> Result<String> {
    let tree = host.home().join("tree");
    hello_tree(&tree)?;
    zero_install_add(host, &tree)
}

/// How long finding took: from the start of discovery, and from the start of its process.
type Took = (Duration, Duration);

/// Finds it without a node that would know already, as its log tells.
fn finds(host: &Host, id: &str) -> Result<Took> {
    let before = jiff::Timestamp::now();
    let words = ["find", id, "--wait", "300ms", "-vv", "--log-json"];
    let output = host.zeroshare(&words)?;
    let log = output.stderr;
    ensure!(output.status.success(), "{log}");
    let at = |message: &str| {
        let line = log.lines().find(|line| line.contains(message));
        let line = line.with_context(|| format!("no {message:?} in {log}"))?;
        let event: Value = serde_json::from_str(line)?;
        let time = event["timestamp"].as_str().context("no time")?.to_owned();
        Ok::<_, anyhow::Error>(time.parse::<jiff::Timestamp>()?)
    };
    let found = at("provider found")?;
    let since = |start| Ok::<_, anyhow::Error>(found.duration_since(start).try_into()?);
    Ok((since(at("discovery starts")?)?, since(before)?))
}

/// Gives the processors' idle ticks and all of their ticks (proc(5), `/proc/stat`).
fn processor() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Result<Vec<u64>, _> = line.split_whitespace().skip(1).map(str::parse).collect();
    let ticks = ticks?;
    Ok((ticks.get(3).copied().unwrap_or(0), ticks.iter().sum()))
}

/// Says what was measured, and whether the median since the start of discovery is less than promised.
fn check(place: &str, mut took: Vec<Took>) -> Result<()> {
    took.sort_unstable();
    println!("{place}: found after {took:?} (since the start of discovery, of the process)");
    let (median, _) = took[took.len() / 2];
    ensure!(median < Duration::from_millis(100), "{place}: {took:?}");
    Ok(())
}

/// Waits until a provider is found at an address that will do.
fn found_again(host: &Host, id: &str, when: &str, will_do: impl Fn(&str) -> bool) -> Result<()> {
    let start = Instant::now();
    wait_until(when, FOUND_AGAIN, || {
        let found = host.zeroshare(&["find", id, "--wait", "200ms", "--json"])?;
        if !found.status.success() {
            return Ok(false);
        }
        let found: Value = serde_json::from_str(&found.stdout)?;
        let providers = found["providers"].as_array().cloned().unwrap_or_default();
        Ok(providers.iter().any(|one| {
            one["claim"] == "confirmed" && one["address"].as_str().is_some_and(&will_do)
        }))
    })?;
    println!("{when}: found after {:?}", start.elapsed());
    Ok(())
}

fn peers(host: &Host) -> Result<Vec<Value>> {
    let text = host.must_zeroshare(&["peers", "--json"])?;
    let peers: Value = serde_json::from_str(&text)?;
    Ok(peers["peers"].as_array().cloned().unwrap_or_default())
}

/// Stops a process for a while, as when a machine sleeps.
fn stop_for(node: &Running, time: Duration) -> Result<()> {
    node.signal(Signal::STOP)?;
    std::thread::sleep(time);
    node.signal(Signal::CONT)
}

fn zeroshare() -> Result<String> {
    let path = zeroshare_network::program("zeroshare")?;
    Ok(path.to_string_lossy().into_owned())
}
