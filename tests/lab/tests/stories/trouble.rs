//! What may happen to machines that share.

use std::{
    cell::Cell,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::compose::{Lab, docker, wait_until};

const ZEROSHARE: &str = "/zeroshare";
const STORE: &str = "/var/cache/0install.net/implementations";

#[test]
fn a_tree_goes_from_one_host_to_another() -> Result<()> {
    let lab = Lab::up("across")?;
    let id = lab.offer("a", 20_000_000)?;

    let path = lab.exec("fetcher-b", &[ZEROSHARE, "fetch", &id, "--timeout", "10s"])?;

    assert_eq!(path, format!("{STORE}/{id}"));
    lab.exec("fetcher-b", &[ZEROSHARE, "verify", &id])?;
    assert_eq!(
        lab.exec("fetcher-b", &["/lab-host", "list", &path])?,
        ".manifest\nbin\nshare"
    );
    // 0share's own way to name the peer, by the address that the LAN knows.
    lab.exec("fetcher-c", &[ZEROSHARE, "-f", &id, "-H", "172.28.1.11"])?;
    println!("{}", lab.logs("store-a"));
    Ok(())
}

#[test]
fn another_provider_takes_over_and_nothing_is_fetched_twice() -> Result<()> {
    let lab = Lab::up("takeover")?;
    let id = lab.offer("a", 60_000_000)?;
    lab.exec("fetcher-b", &[ZEROSHARE, "fetch", &id, "--timeout", "10s"])?;
    lab.slow_down("a", "100mbit")?;
    lab.slow_down("b", "100mbit")?;

    let fetch = start_fetch(&lab, "c", &id)?;
    wait_until("a fifth arrived", || {
        Ok(progress(&lab, "c", &id)?.0 > 12_000_000)
    })?;
    docker(&["kill", &lab.container("store-a")?])?;
    let output = fetch.wait_with_output()?;

    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    lab.exec("fetcher-c", &[ZEROSHARE, "verify", &id])?;
    let (done, received) = progress(&lab, "c", &id)?;
    println!("{done} bytes in all, {received} received from peers");
    // What the killed one had under way is read again, and nothing else.
    assert!(
        received < done + 3_000_000,
        "{received} bytes received for {done}"
    );
    Ok(())
}

#[test]
fn a_provider_that_was_cut_off_is_found_again() -> Result<()> {
    let lab = Lab::up("cutoff")?;
    let id = lab.offer("a", 2_000_000)?;
    let copies = Cell::new(0);
    let gets = || {
        copies.set(copies.get() + 1);
        let into = format!("/tmp/copy-{}", copies.get());
        lab.succeeds("fetcher-b", &[ZEROSHARE, "fetch", &id, "--into", &into])
    };
    wait_until("b gets it", gets)?;
    let (network, host) = (lab.network("lan"), lab.container("host-a")?);

    docker(&["network", "disconnect", &network, &host])?;
    wait_until("b gets it no longer", || Ok(!gets()?))?;
    docker(&["network", "connect", "--ip", "172.28.1.11", &network, &host])?;

    let took = wait_until("b gets it again", gets)?;
    println!("found again after {took:?}");
    lab.exec("fetcher-b", &[ZEROSHARE, "fetch", &id, "--timeout", "10s"])?;
    Ok(())
}

#[test]
fn each_service_can_be_restarted_by_itself() -> Result<()> {
    let lab = Lab::up("restart")?;
    let id = lab.offer("a", 2_000_000)?;
    for (number, service) in [
        "discovery-a",
        "store-a",
        "fetcher-a",
        "discovery-b",
        "store-b",
        "fetcher-b",
    ]
    .iter()
    .enumerate()
    {
        lab.compose(&["restart", "--timeout", "5", service])?;
        lab.wait_healthy(service)?;
        let into = format!("/tmp/copy-{number}");
        let took = wait_until(&format!("a fetch works after {service} restarted"), || {
            lab.succeeds(
                "fetcher-b",
                &[ZEROSHARE, "fetch", &id, "--into", &into, "--timeout", "5s"],
            )
        })?;
        println!("{service}: a fetch worked {took:?} after it was healthy");
    }
    Ok(())
}

#[test]
fn a_provider_whose_disk_went_bad_says_so_and_another_one_gives() -> Result<()> {
    let lab = Lab::up("baddisk")?;
    let id = lab.offer("a", 10_000_000)?;
    lab.exec("fetcher-b", &[ZEROSHARE, "fetch", &id, "--timeout", "10s"])?;
    lab.exec(
        "fetcher-a",
        &["/lab-host", "flip", &format!("{STORE}/{id}/share/large")],
    )?;

    lab.exec("fetcher-c", &[ZEROSHARE, "fetch", &id, "--timeout", "10s"])?;

    lab.exec("fetcher-c", &[ZEROSHARE, "verify", &id])?;
    assert!(
        !lab.succeeds("fetcher-a", &[ZEROSHARE, "verify", &id])?,
        "a must see its bad disk"
    );
    // It can be mended from the others.
    lab.exec("fetcher-a", &[ZEROSHARE, "repair", &id])?;
    lab.exec("fetcher-a", &[ZEROSHARE, "verify", &id])?;
    Ok(())
}

#[test]
fn a_provider_that_hangs_is_left_for_another() -> Result<()> {
    let lab = Lab::up("paused")?;
    let id = lab.offer("a", 30_000_000)?;
    lab.exec("fetcher-b", &[ZEROSHARE, "fetch", &id, "--timeout", "10s"])?;
    lab.slow_down("a", "50mbit")?;
    lab.slow_down("b", "50mbit")?;

    let fetch = start_fetch(&lab, "c", &id)?;
    wait_until("a few bytes arrived", || {
        Ok(progress(&lab, "c", &id)?.0 > 3_000_000)
    })?;
    docker(&["pause", &lab.container("store-a")?])?;
    let output = fetch.wait_with_output()?;
    docker(&["unpause", &lab.container("store-a")?])?;

    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    lab.exec("fetcher-c", &[ZEROSHARE, "verify", &id])?;
    Ok(())
}

fn start_fetch(lab: &Lab, host: &str, id: &str) -> Result<Child> {
    let container = lab.container(&format!("fetcher-{host}"))?;
    let child = Command::new("docker")
        .args([
            "exec",
            &container,
            ZEROSHARE,
            "fetch",
            id,
            "--timeout",
            "10s",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    wait_until("the fetch is known", || {
        Ok(fetch_state(lab, host, id)?.is_some())
    })?;
    Ok(child)
}

fn fetch_state(lab: &Lab, host: &str, id: &str) -> Result<Option<Value>> {
    let text = lab.exec(
        &format!("fetcher-{host}"),
        &[ZEROSHARE, "fetches", "--json"],
    )?;
    let mut listed: Value = serde_json::from_str(&text)?;
    let fetches = listed["fetches"].as_array_mut().context("no fetches")?;
    Ok(fetches
        .iter_mut()
        .find(|fetch| fetch["content_id"] == *id)
        .map(Value::take))
}

/// Proven bytes so far, and bytes received from peers so far.
fn progress(lab: &Lab, host: &str, id: &str) -> Result<(u64, u64)> {
    let fetch = fetch_state(lab, host, id)?.context("no such fetch")?;
    let peers = fetch["peers"].as_array().cloned().unwrap_or_default();
    let received = peers
        .iter()
        .filter_map(|peer| peer["received_bytes"].as_u64())
        .sum();
    Ok((fetch["done_bytes"].as_u64().unwrap_or(0), received))
}
