//! Finding with real sockets: many hosts, two LANs, and machines that move, sleep and come back.
#![expect(clippy::print_stdout, reason = "a story tells what it measured")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use zeroshare_network::{Host, Lan, NameServer, Running, wait_until, zero_install_hello};

/// Hosts of the large LAN.
const HOSTS: u8 = 50;

/// Whether the nodes still work is judged over this long.
const SETTLING: Duration = Duration::from_secs(1);

/// A machine that changed is found again within this.
const FOUND_AGAIN: Duration = Duration::from_secs(5);

/// A name is looked up again within this: every minute.
const RESOLVED_AGAIN: Duration = Duration::from_secs(80);

/// A neighbour sleeps for so long.
const NAP: Duration = Duration::from_mins(1);

#[test]
fn among_fifty_hosts_a_newcomer_finds_a_tree_at_once() -> Result<()> {
    let lan = Lan::new(HOSTS)?;
    let holder = lan.host(HOSTS);
    let id = zero_install_hello(holder)?;
    let mut nodes = Vec::new();
    for host in &lan.hosts()[1..] {
        nodes.push(host.spawn(&zeroshare()?, &["node"])?);
    }
    holder.wait_until_offered(&id)?;
    wait_until("they know each other", Duration::from_mins(2), || {
        Ok(peers(holder)?.len() >= usize::from(HOSTS) - 2)
    })?;
    // What else the machine does is not theirs, and does not count.
    let mut before = (Instant::now(), worked(&nodes)?);
    wait_until("they all have started", Duration::from_mins(2), || {
        if before.0.elapsed() < SETTLING {
            return Ok(false);
        }
        let now = (Instant::now(), worked(&nodes)?);
        let (time, work) = (now.0 - before.0, now.1.saturating_sub(before.1));
        before = now;
        Ok(work * 4 < time)
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
    let id = zero_install_hello(joint)?;
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
    let id = zero_install_hello(a)?;
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

#[test]
fn a_name_with_dead_addresses_and_one_neighbour_leads_to_a_whole_site_behind_a_router() -> Result<()>
{
    let lan = Lan::new(4)?;
    let (neighbour, router, far, holder) = (lan.host(1), lan.host(2), lan.host(3), lan.host(4));
    // Host 3 is alone on a network behind host 2, which runs no node.
    lan.unplug(3)?;
    lan.join(2, 3)?;
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    router.must("sh", &["-c", forward])?;
    for host in [neighbour, holder] {
        host.must("ip", &["route", "add", "10.78.0.0/24", "via", "10.77.0.2"])?;
    }
    far.must("ip", &["addr", "flush", "dev", "eth0"])?;
    far.must("ip", &["route", "add", "10.77.0.0/24", "via", "10.78.0.2"])?;
    let id = zero_install_hello(holder)?;
    let names = NameServer::start(far, "site.test", &["10.77.0.98", "10.77.0.1", "10.77.0.99"])?;

    let allow_far = ["--allow", "10.78.0.0/24"];
    let _site = [
        neighbour.start_node(&allow_far)?,
        holder.start_node(&allow_far)?,
    ];
    holder.wait_until_offered(&id)?;
    let words = ["--static-peer", "site.test", "--allow", "10.77.0.0/24"];
    let _node = far.start_node(&words)?;
    let start = Instant::now();
    wait_until(
        "the holder is learnt from the neighbour",
        Duration::from_secs(20),
        || {
            let known = peers(far)?;
            Ok(known
                .iter()
                .any(|peer| peer.to_string().contains("10.77.0.4:")))
        },
    )?;
    println!("the whole site is known after {:?}", start.elapsed());
    let path = far.must_zeroshare(&["fetch", &id])?;
    ensure!(path.contains(&id), "{path}");
    ensure!(names.asked() > 0, "the name was not looked up");
    Ok(())
}

#[test]
fn a_static_peer_whose_name_gets_other_addresses_is_found_there_without_a_restart() -> Result<()> {
    let lan = Lan::new(3)?;
    let (first, second, asker) = (lan.host(1), lan.host(2), lan.host(3));
    let id = zero_install_hello(first)?;
    zero_install_hello(second)?;
    let names = NameServer::start(asker, "site.test", &[])?;
    // Without a road to everybody it knows by the name alone who is there.
    let words = [
        "--static-peer",
        "site.test",
        "--no-multicast4",
        "--no-multicast6",
        "--no-broadcast",
    ];
    let mut node = asker.start_node(&words)?;
    let mut first_node = first.start_node(&[])?;
    first.wait_until_offered(&id)?;
    ensure!(peers(asker)?.is_empty(), "known without its name");

    names.set_addresses(&["10.77.0.1"])?;
    known_at(asker, "10.77.0.1:", "the name got an address")?;
    first_node.kill()?;
    let _second_node = second.start_node(&[])?;
    second.wait_until_offered(&id)?;
    names.set_addresses(&["10.77.0.2"])?;
    known_at(asker, "10.77.0.2:", "the name moved")?;
    asker.must_zeroshare(&["fetch", &id])?;
    ensure!(node.is_alive()?, "{}", node.log());
    Ok(())
}

/// Waits until a peer is known at an address that its name was given.
fn known_at(host: &Host, address: &str, when: &str) -> Result<()> {
    let took = wait_until(when, RESOLVED_AGAIN, || {
        let known = peers(host)?;
        Ok(known.iter().any(|peer| peer.to_string().contains(address)))
    })?;
    println!("{when}: known after {took:?}");
    Ok(())
}

#[test]
fn a_vpn_that_claims_a_neighbours_address_gets_nothing_that_is_meant_for_it() -> Result<()> {
    let lan = Lan::new(3)?;
    let (asker, holder, vpn) = (lan.host(1), lan.host(2), lan.host(3));
    let id = zero_install_hello(holder)?;
    lan.unplug(3)?;
    lan.join(1, 3)?;
    let count = "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
         add rule inet t c ip daddr 10.77.0.2 counter";
    vpn.must("nft", &[count])?;
    // As the far end of a tunnel it takes what is sent to the neighbour.
    vpn.must("ip", &["addr", "add", "10.77.0.2/32", "dev", "lo"])?;
    let _nodes = [
        asker.start_node(&["--no-interface", "eth1", "--no-multicast6"])?,
        holder.start_node(&["--no-multicast6"])?,
    ];
    holder.wait_until_offered(&id)?;
    found_again(asker, &id, "before the VPN", |_| true)?;

    let way = ["10.77.0.2/32", "via", "10.78.0.3", "dev", "eth1"];
    asker.must("ip", &[&["route", "add"], &way[..]].concat())?;
    wait_until("it is out of sight", FOUND_AGAIN, || {
        Ok(peers(asker)?.is_empty())
    })?;
    let told = asker.zeroshare(&["find", &id, "--explain", "--wait", "1s"])?;
    ensure!(told.status.code() == Some(3), "{}", told.stdout);
    let refused = "refused to send to 10.77.0.2:38339: it is a neighbour";
    ensure!(told.stdout.contains(refused), "{}", told.stdout);
    let fetched = asker.zeroshare(&["fetch", &id, "--timeout", "2s"])?;
    ensure!(fetched.status.code() == Some(3), "{}", fetched.stderr);
    let checked = asker.zeroshare(&["doctor"])?;
    ensure!(
        checked.stdout.contains("A VPN may claim"),
        "{}",
        checked.stdout
    );
    let counted = vpn.must("nft", &["list", "table", "inet", "t"])?;
    ensure!(counted.contains("counter packets 0 "), "{counted}");

    asker.must("ip", &[&["route", "del"], &way[..]].concat())?;
    found_again(asker, &id, "when the VPN is gone", |address| {
        address.starts_with("10.77.0.2:")
    })
}

#[test]
fn on_a_network_that_keeps_machines_apart_nothing_hangs() -> Result<()> {
    let lan = Lan::new(3)?;
    let (a, b, c) = (lan.host(1), lan.host(2), lan.host(3));
    let id = zero_install_hello(a)?;
    lan.isolate(1)?;
    lan.isolate(2)?;
    let _nodes = [a.start_node(&[])?, b.start_node(&[])?, c.start_node(&[])?];
    a.wait_until_offered(&id)?;
    let start = Instant::now();
    let output = b.zeroshare(&["fetch", &id, "--timeout", "2s"])?;
    ensure!(output.status.code() == Some(3), "{}", output.stderr);
    ensure!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    // Whoever is not kept apart finds it.
    c.must_zeroshare(&["fetch", &id])?;
    Ok(())
}

#[test]
fn a_network_that_comes_up_and_is_excluded_hears_and_reads_nothing() -> Result<()> {
    let lan = Lan::new(3)?;
    let (node_host, neighbour, outsider) = (lan.host(1), lan.host(2), lan.host(3));
    let id = zero_install_hello(node_host)?;
    let _node = node_host.start_node(&["--no-interface", "eth1*"])?;
    let _neighbour = neighbour.start_node(&[])?;
    node_host.wait_until_offered(&id)?;
    lan.unplug(3)?;
    lan.join(1, 3)?;
    // Its own multicasts come back to it, and do not count.
    let link = node_host.must("ip", &["-br", "link", "show", "eth1"])?;
    let card = link.split_whitespace().nth(2).context("no such card")?;
    let counter = format!(
        "add table inet t; add chain inet t c {{ type filter hook input priority 0; }}; \
         add rule inet t c iifname eth1 ether saddr {card} udp dport 38339 counter"
    );
    outsider.must("nft", &[&counter])?;
    let _outsider = outsider.start_node(&[])?;
    // Questions of both sides, and the time in which news is spoken of.
    node_host.zeroshare(&[
        "find",
        &format!("sha256new_{}", "A".repeat(52)),
        "--wait",
        "2s",
    ])?;
    let output = outsider.zeroshare(&["fetch", &id, "--timeout", "2s"])?;
    ensure!(output.status.code() == Some(3), "{}", output.stderr);
    let named = outsider.zeroshare(&["fetch", &id, "--from", "10.78.0.1", "--timeout", "2s"])?;
    ensure!(
        !named.status.success(),
        "read by a network that is excluded"
    );
    let counted = outsider.must("nft", &["list", "table", "inet", "t"])?;
    ensure!(counted.contains("counter packets 0 "), "{counted}");
    neighbour.must_zeroshare(&["fetch", &id])?;
    Ok(())
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

/// The processor time that nodes took since they were started.
fn worked(nodes: &[Running]) -> Result<Duration> {
    nodes.iter().map(Running::cpu).sum()
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
