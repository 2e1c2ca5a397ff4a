//! `zeroshare setup` on a machine whose process 1 is systemd: what it writes runs, is confined, is seen by all users, and goes again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use zeroshare_network::{Lan, hello_tree, local_feed, program, wait_until, zero_install_add};
use zeroshare_systemd::Machine;

const GREETING: &str = "hello from the machine beside you";
const LIMIT: Duration = Duration::from_mins(1);
const MOUNT: &str = "/run/zeroshare-lan";
const STORE: &str = "/var/cache/0install.net/implementations";

/// A user who has nothing here.
const NOBODY: u32 = 65534;

/// A user with a home and a systemd.
const SOMEONE: u32 = 4321;

const UNITS: [&str; 5] = [
    "zeroshare.target",
    "zeroshare-discovery.service",
    "zeroshare-store.service",
    "zeroshare-fetcher.service",
    "zeroshare-mount.service",
];

#[test]
fn all_users_run_what_the_machine_beside_has_and_nothing_is_left_after_undo() -> Result<()> {
    let lan = Lan::new(2)?;
    let neighbour = lan.host(1);
    let tree = neighbour.home().join("tree");
    hello_tree(&tree)?;
    let id = zero_install_add(neighbour, &tree)?;
    let _node = neighbour.start_node(&[])?;
    neighbour.wait_until_offered(&id)?;
    let machine = Machine::boot(lan.host(2), &[program("zeroshare")?.as_path()])?;
    let before = files(&machine)?;

    machine.must(&["zeroshare", "setup", "0install"])?;
    for unit in UNITS {
        wait_until(unit, LIMIT, || machine.is_active(unit))?;
    }
    for unit in ["zeroshare.target", "zeroshare-mount.service"] {
        let enabled = machine.must(&["systemctl", "is-enabled", unit])?;
        ensure!(enabled == "enabled", "{unit}: {enabled}");
    }
    println!("{:#?}", verify(&machine)?);
    confined(&machine)?;
    mounted(&machine)?;

    unmodified(&machine, &id)?;
    let run = format!("{MOUNT}/{id}/bin/hello");
    wait_until("a user runs it", LIMIT, || {
        let said = machine.run_as(NOBODY, "/", &[&run])?;
        Ok(said.success && said.out.trim() == GREETING)
    })?;
    // Behind the first bytes comes the rest, into the store of all users.
    let stored = machine.path(&format!("{STORE}/{id}"));
    wait_until("the whole tree is here", LIMIT, || Ok(stored.is_dir()))?;

    let again = machine.must(&["zeroshare", "setup", "0install"])?;
    ensure!(!again.contains("wrote"), "{again}");
    healthy(&machine)?;
    killed(&machine, &run)?;

    machine.must(&["zeroshare", "setup", "0install", "--undo"])?;
    for unit in UNITS {
        ensure!(!machine.is_active(unit)?, "{unit} still runs");
    }
    ensure!(!machine.must(&["cat", "/proc/mounts"])?.contains(MOUNT));
    ensure!(files(&machine)? == before, "{:?}", files(&machine)?);
    Ok(())
}

#[test]
fn what_a_user_downloaded_is_verified_and_then_everybodys() -> Result<()> {
    let lan = Lan::new(1)?;
    let machine = Machine::boot(lan.host(1), &[program("zeroshare")?.as_path()])?;
    machine.must(&["zeroshare", "setup", "0install", "--system"])?;
    wait_until("the node runs", LIMIT, || {
        Ok(machine.run(&["zeroshare", "status"])?.success)
    })?;
    // As 0install leaves it to its helper: unpacked, with a manifest, in a directory of the user's.
    machine.must(&["mkdir", "-p", "/tmp/tree/bin"])?;
    fs::write(
        machine.path("/tmp/tree/bin/hello"),
        "#!/bin/sh\necho hello\n",
    )?;
    machine.must(&["chmod", "-R", "a+rX,a+x", "/tmp/tree"])?;
    let id = machine.must(&[
        "zeroshare",
        "digest",
        "--algorithm",
        "sha256new",
        "/tmp/tree",
    ])?;
    let manifest = machine.must(&["0install", "store", "manifest", "/tmp/tree", "sha256new"])?;
    let lines: Vec<&str> = manifest.lines().filter(|line| *line != id).collect();
    fs::write(machine.path("/tmp/tree/.manifest"), lines.join("\n") + "\n")?;
    machine.must(&["chown", "-R", "65534:65534", "/tmp/tree"])?;
    machine.must(&["chmod", "-R", "go=", "/tmp/tree"])?;

    let helper = "0store-secure-add-helper";
    let said = machine.run_as(NOBODY, "/tmp/tree", &["env", "HOME=Unclean", helper, &id])?;
    ensure!(said.success && said.out.is_empty(), "{said:?}");
    let stored = format!("{STORE}/{id}");
    let owner = machine.must(&["stat", "--format=%U %a", &stored])?;
    ensure!(owner == "zeroinst 555", "{owner}");
    let verified = machine.must(&["0install", "store", "verify", &stored])?;
    ensure!(verified.contains("OK"), "{verified}");
    let ran = machine.run_as(NOBODY, "/", &[&format!("{stored}/bin/hello")])?;
    ensure!(ran.out == "hello\n", "{ran:?}");

    fs::write(
        machine.path("/tmp/tree/bin/hello"),
        "#!/bin/sh\necho evil!\n",
    )?;
    let other = id.replace(&id[20..30], "AAAAAAAAAA");
    for wrong in [other.as_str(), "sha256new_../../../etc"] {
        let said = machine.run_as(NOBODY, "/tmp/tree", &[helper, wrong])?;
        ensure!(!said.success, "{said:?}");
    }
    let ran = machine.run_as(NOBODY, "/", &[&format!("{stored}/bin/hello")])?;
    ensure!(ran.out == "hello\n", "{ran:?}");
    collected(&machine, &stored)
}

#[test]
fn a_user_sets_it_up_alone_and_is_the_only_one_who_sees_it() -> Result<()> {
    let lan = Lan::new(2)?;
    let neighbour = lan.host(1);
    let tree = neighbour.home().join("tree");
    hello_tree(&tree)?;
    let id = zero_install_add(neighbour, &tree)?;
    let _node = neighbour.start_node(&[])?;
    neighbour.wait_until_offered(&id)?;
    let machine = Machine::boot(lan.host(2), &[program("zeroshare")?.as_path()])?;
    let uid = SOMEONE.to_string();
    machine.must(&["useradd", "--create-home", "--uid", &uid, "someone"])?;
    machine.must(&["loginctl", "enable-linger", "someone"])?;
    let (home, runtime) = ("/home/someone", format!("/run/user/{uid}"));
    let manager = machine.path(&format!("{runtime}/systemd/private"));
    wait_until("the user's systemd runs", LIMIT, || Ok(manager.exists()))?;
    let variables = [format!("HOME={home}"), format!("XDG_RUNTIME_DIR={runtime}")];
    let someone = |words: &[&str]| {
        let start = ["env", &variables[0], &variables[1]];
        machine.run_as(SOMEONE, home, &[&start[..], words].concat())
    };
    let must = |words: &[&str]| {
        let said = someone(words)?;
        ensure!(said.success, "{words:?}: {said:?}");
        Ok::<_, anyhow::Error>(said.out)
    };
    let refused = someone(&["zeroshare", "setup", "0install", "--system"])?;
    ensure!(
        !refused.success && refused.err.contains("only root"),
        "{refused:?}"
    );

    must(&["zeroshare", "setup", "0install"])?;
    let mount = format!("{runtime}/zeroshare-lan");
    let run = format!("{mount}/{id}/bin/hello");
    wait_until("the user runs it", LIMIT, || {
        let said = someone(&[&run])?;
        Ok(said.success && said.out.trim() == GREETING)
    })?;
    let stored = format!("{home}/.cache/0install.net/implementations/{id}");
    let stored = machine.path(&stored);
    wait_until(
        "the whole tree is the user's",
        LIMIT,
        || Ok(stored.is_dir()),
    )?;
    for unit in ["zeroshare.service", "zeroshare-mount.service"] {
        let state = must(&["systemctl", "--user", "is-active", unit])?;
        ensure!(state.trim() == "active", "{unit}: {state}");
    }
    must(&[
        "systemctl",
        "--user",
        "kill",
        "--signal=KILL",
        "zeroshare-mount.service",
    ])?;
    wait_until("the mount is back", LIMIT, || Ok(someone(&[&run])?.success))?;

    must(&["zeroshare", "setup", "0install", "--undo"])?;
    ensure!(!machine.must(&["cat", "/proc/mounts"])?.contains(&mount));
    let left = must(&["find", ".config", "!", "-type", "d"])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

/// What a program of any user uses stays, and only root can tell what that is.
fn collected(machine: &Machine, stored: &str) -> Result<()> {
    let all = ["zeroshare", "gc", "--older-than", "0", "--yes"];
    let inside = format!("--working-directory={stored}/bin");
    let user = format!("--uid={NOBODY}");
    machine.must(&["systemd-run", "--unit=uses", &user, &inside, "sleep", "600"])?;
    let there = machine.path(stored);
    let kept = machine.must(&all)?;
    ensure!(there.is_dir() && kept.contains("0 B"), "{kept}");
    machine.must(&["systemctl", "stop", "uses"])?;
    let blind = machine.run_as(NOBODY, "/", &[&all[..], &["--store", STORE]].concat())?;
    ensure!(!blind.success && there.is_dir(), "{blind:?}");
    let gone = machine.must(&all)?;
    ensure!(!there.exists() && gone.contains("are gone"), "{gone}");
    Ok(())
}

/// What systemd itself thinks of the files: no complaint, and how exposed each service is.
fn verify(machine: &Machine) -> Result<Vec<String>> {
    let paths = UNITS.map(|unit| format!("/etc/systemd/system/{unit}"));
    let mut words = vec!["systemd-analyze", "verify"];
    words.extend(paths.iter().map(String::as_str));
    let said = machine.run(&words)?;
    let complaints = said.err.lines().filter(|line| line.contains("zeroshare"));
    let complaints: Vec<&str> = complaints.collect();
    ensure!(complaints.is_empty(), "{complaints:?}");
    let services = UNITS.iter().filter(|unit| unit.ends_with(".service"));
    let exposure = services.map(|unit| {
        let report = machine.must(&["systemd-analyze", "security", "--no-pager", unit])?;
        Ok(report.lines().last().unwrap_or_default().to_owned())
    });
    exposure.collect()
}

/// What strangers reach cannot write, and the store's owner alone runs all of it.
fn confined(machine: &Machine) -> Result<()> {
    for (service, may_write) in [("discovery", false), ("store", false), ("fetcher", true)] {
        let unit = format!("zeroshare-{service}.service");
        let id = machine.must(&["systemctl", "show", "--property=MainPID", "--value", &unit])?;
        let owner = machine.must(&["stat", "--format=%U", &format!("/proc/{id}")])?;
        ensure!(owner == "zeroinst", "{unit} runs as {owner}");
        let probe = format!("{STORE}/probe-{service}");
        let inside = ["nsenter", "--target", &id, "--mount", "touch", &probe];
        let said = machine.run(&inside)?;
        ensure!(said.success == may_write, "{unit}: {said:?}");
    }
    machine.must(&["rm", &format!("{STORE}/probe-fetcher")])?;
    let status: Value = serde_json::from_str(&machine.must(&["zeroshare", "status", "--json"])?)?;
    let restriction = status["store"]["restriction"].as_str().unwrap_or_default();
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    ensure!(
        restriction.starts_with("landlock") || !modules.contains("landlock"),
        "{status}"
    );
    Ok(())
}

/// Other logins see the mount.
fn mounted(machine: &Machine) -> Result<()> {
    wait_until("the mount is seen", LIMIT, || {
        let mounts = machine.must(&["cat", "/proc/1/mounts"])?;
        Ok(mounts
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(MOUNT)))
    })?;
    let listed = machine.run_as(NOBODY, "/", &["ls", MOUNT])?;
    ensure!(listed.success, "{listed:?}");
    let list = "/etc/xdg/0install.net/injector/implementation-dirs";
    let list = fs::read_to_string(machine.path(list))?;
    ensure!(list.lines().any(|line| line == MOUNT), "{list}");
    Ok(())
}

/// The unmodified 0install of a user who never heard of us runs it, with upstream out of reach.
fn unmodified(machine: &Machine, id: &str) -> Result<()> {
    let outside = tempfile::tempdir()?;
    let feed = local_feed(outside.path(), id)?;
    fs::copy(feed, machine.path("/tmp/hello.xml"))?;
    machine.must(&["install", "-d", "-o", "65534", "/tmp/home"])?;
    let run = ["env", "HOME=/tmp/home", "0install", "run", "/tmp/hello.xml"];
    wait_until("0install runs it", LIMIT, || {
        let said = machine.run_as(NOBODY, "/tmp/home", &run)?;
        Ok(said.success && said.out.trim() == GREETING)
    })?;
    Ok(())
}

/// Nothing that was set up is wrong by the doctor's own word.
fn healthy(machine: &Machine) -> Result<()> {
    let said = machine.run(&["zeroshare", "doctor", "--json"])?;
    let report: Value = serde_json::from_str(&said.out)?;
    let findings = report["findings"].as_array().context("findings")?;
    let setup: Vec<_> = findings
        .iter()
        .filter(|found| found["check"] == "setup")
        .collect();
    ensure!(setup.len() >= 8, "{setup:?}");
    ensure!(
        setup.iter().all(|found| found["level"] == "ok"),
        "{setup:?}"
    );
    Ok(())
}

/// Whatever is killed is back, and what runs from the mount goes on.
fn killed(machine: &Machine, run: &str) -> Result<()> {
    for unit in UNITS.iter().filter(|unit| unit.ends_with(".service")) {
        machine.must(&["systemctl", "kill", "--signal=KILL", unit])?;
        let back = format!("{unit} is back, and the program runs");
        wait_until(&back, LIMIT, || {
            let said = machine.run_as(NOBODY, "/", &[run])?;
            Ok(machine.is_active(unit)? && said.success)
        })?;
    }
    Ok(())
}

/// What a setup may write.
fn files(machine: &Machine) -> Result<String> {
    let places = [
        "/etc/systemd/system",
        "/etc/sysusers.d",
        "/etc/tmpfiles.d",
        "/etc/xdg",
        "/usr/local/bin",
    ];
    let there: Vec<&str> = places
        .into_iter()
        .filter(|place| Path::new(&machine.path(place)).is_dir())
        .collect();
    let all = [&["find"][..], &there, &["!", "-type", "d"]].concat();
    machine.must(&all)
}
