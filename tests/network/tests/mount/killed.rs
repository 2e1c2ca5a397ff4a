//! Services that are killed, one after the other, while a program runs from a mount.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use zeroshare_network::{Host, Lan, Running, noisy_tree, program, wait_until, zero_install_add};

use crate::{LIMIT, mounted::Mounted};

/// Files that the program reads, and how large each is.
const FILES: usize = 40;
const FILE_BYTES: u64 = 1024 * 1024;
const DATA: &str = "share/part-000";

/// How long a program may wait for a service that comes back, or for the end of a mount that does not.
const DEADLINE: Duration = Duration::from_secs(45);

#[test]
fn a_program_outlives_fetcher_and_store_and_ends_with_the_mount() -> Result<()> {
    let lan = Lan::new(2)?;
    let (a, b) = (lan.host(1), lan.host(2));
    let tree = a.home().join("tree");
    reading_program(&tree)?;
    let id = zero_install_add(a, &tree)?;
    let _node_a = a.start_node(&["--upload-limit", "2MiB"])?;
    a.wait_until_offered(&id)?;
    let _discovery = start(b, "discovery")?;
    let mut store = start(b, "store")?;
    let mut fetcher = start(b, "fetcher")?;
    answers(b)?;
    let mut mounted = Mounted::start(b, &["--with-node"])?;
    let shown = mounted.dir().join(&id).join("bin/read");
    wait_until("it is found", LIMIT, || Ok(shown.exists()))?;
    let runs = b.within(|| b.spawn_command(b.bare_command(&shown)))?;
    let mut runs = runs;

    said(&runs, 3)?;
    fetcher.kill()?;
    fetcher = start(b, "fetcher")?;
    said(&runs, 8)?;
    store.kill()?;
    store = start(b, "store")?;
    said(&runs, 13)?;
    ensure!(!b.store().join(&id).exists(), "it came too soon to tell");
    // What was read so far is right, whoever was killed meanwhile.
    for (number, line) in runs.log().lines().take(13).enumerate() {
        ensure!(line == sum(&tree, number)?, "file {number}: {line}");
    }

    mounted.running.kill()?;
    let status = runs.wait(DEADLINE)?;
    ensure!(!status.success(), "it read what nobody showed");
    mounted.restart_with(b, &["--with-node"])?;
    wait_until("it is found again", LIMIT, || Ok(shown.exists()))?;
    let again = b.within(|| {
        let mut command = b.bare_command(&shown);
        Ok(command.output()?)
    })?;
    ensure!(again.status.success(), "{again:?}");
    ensure!(
        String::from_utf8(again.stdout)?.lines().count() == FILES,
        "not all were read"
    );
    wait_until("the tree is here", LIMIT, || {
        Ok(b.store().join(&id).is_dir())
    })?;
    let verified = b.must(
        "0install",
        &["store", "verify", &b.store().join(&id).to_string_lossy()],
    )?;
    ensure!(verified.contains("OK"), "{verified}");
    drop((store, fetcher));
    Ok(())
}

/// A program that reads one file after the other, prints the sum of each, and fails where one cannot be read.
fn reading_program(tree: &Path) -> Result<()> {
    // Half of it are the files. They are noise, so that nothing can be compressed.
    noisy_tree(tree, FILES as u64, FILES as u64 * 2 * FILE_BYTES)?;
    let text = format!(
        "#!/bin/sh\ncd \"$(dirname \"$0\")/../{DATA}\" || exit 1\n\
         for number in $(seq 0 {}); do sum=$(sha256sum < file-$number) || exit 1; echo \"$sum\"; done\n",
        FILES - 1
    );
    let program = tree.join("bin/read");
    fs::copy(tree.join("bin/hello"), &program)?;
    Ok(fs::write(&program, text)?)
}

/// What the program prints of a file.
fn sum(tree: &Path, number: usize) -> Result<String> {
    let path = tree.join(DATA).join(format!("file-{number}"));
    let output = std::process::Command::new("sha256sum")
        .stdin(fs::File::open(path)?)
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn said(runs: &Running, lines: usize) -> Result<()> {
    wait_until("it says more", DEADLINE, || {
        Ok(runs.log().lines().count() >= lines)
    })
    .with_context(|| runs.log())?;
    Ok(())
}

/// One service in a process of its own, as the machine's units start it.
fn start(host: &Host, service: &str) -> Result<Running> {
    let path = program("zeroshare")?;
    host.spawn(
        path.to_str().context("an odd path")?,
        &["node", "--only", service],
    )
}

fn answers(host: &Host) -> Result<()> {
    wait_until("the node answers", LIMIT, || {
        Ok(host.zeroshare(&["status", "--json"])?.status.success())
    })?;
    Ok(())
}
