//! A small program in a large tree: how much of it had come, and how long it took, until the program said something.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use zeroshare_network::Host;

use super::{Reader, with_giver};
use crate::{
    book::Book,
    finding::Finding,
    lab::Place,
    options::Options,
    works::{MIB, Work},
};

const LINE: &str = "started";

const PROGRAM_BYTES: usize = 50 * 1000;

/// What the link gives: an ordinary LAN, and whatever this machine can do.
const LINKS: [Option<u32>; 2] = [Some(1_000), None];

#[derive(Debug, Default)]
struct Starts {
    mebibytes: Vec<f64>,
    seconds: Vec<f64>,
    whole: Vec<f64>,
}

pub(super) fn measure(
    book: &mut Book<'_>,
    options: &Options,
    base: &Path,
    place: &Place,
) -> Result<()> {
    let (files, mib) = options.size((1_000, 500), (100, 20));
    for link in LINKS {
        let rate = link.map_or("no limit".to_owned(), |mbit| format!("{mbit} Mbit/s"));
        let name = format!("a program of 50 kB in a tree of {mib} MiB, {rate}");
        if !options.wants(&name) {
            continue;
        }
        let tree = base.join(format!("program-{mib}"));
        let work = with_program(&tree, files, mib)?;
        let mut starts = Starts::default();
        with_giver(place, &work, link, |lan, giver| {
            for round in 0..=options.rounds(5) {
                let reader = Reader::start(lan.host(2), "starter", place)?;
                start(&reader, &giver.id, &mut starts)?;
                if round == 0 {
                    starts = Starts::default();
                }
            }
            Ok(())
        })?;
        let finding = |what: &str, values: &[f64], unit: &str| {
            Finding::compared(None, &format!("{name}: {what}"), values).unit(unit)
        };
        book.add([
            finding("until it prints its first line", &starts.seconds, "s"),
            finding("what had come by then", &starts.mebibytes, "MiB"),
            finding("until the tree is here in full", &starts.whole, "s"),
        ]);
    }
    Ok(())
}

fn start(reader: &Reader<'_>, id: &str, starts: &mut Starts) -> Result<()> {
    let program = reader.find(id)?.join("bin/program");
    let before = received_bytes(reader.seat.host)?;
    let clock = Instant::now();
    let mut running = Command::new(program).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(running.stdout.take().context("a pipe")?).read_line(&mut line)?;
    let took = clock.elapsed().as_secs_f64();
    let came = received_bytes(reader.seat.host)? - before;
    ensure!(running.wait()?.success() && line.trim() == LINE, "{line}");
    reader.mounted.wait_until_here(id)?;
    starts.whole.push(clock.elapsed().as_secs_f64());
    starts.seconds.push(took);
    starts.mebibytes.push(came as f64 / MIB as f64);
    Ok(())
}

/// What came in at the host's interface so far; read without starting anything, since more comes every moment.
fn received_bytes(host: &Host) -> Result<u64> {
    host.within(|| {
        let table = fs::read_to_string("/proc/thread-self/net/dev")?;
        let mut lines = table.lines();
        let counters = lines.find_map(|line| line.trim_start().strip_prefix("eth0:"));
        let received = counters.and_then(|line| line.split_whitespace().next());
        Ok(received.context("no eth0")?.parse()?)
    })
}

/// Half of it many files and half of it one, and a program.
fn with_program(tree: &Path, count: usize, mib: usize) -> Result<Work> {
    if !tree.exists() {
        zeroshare_network::noisy_tree(tree, count as u64, (mib * MIB) as u64)?;
        let program = tree.join("bin/program");
        let mut text = format!("#!/bin/sh\necho {LINE}\nexit\n").into_bytes();
        text.resize(PROGRAM_BYTES, b'#');
        fs::write(&program, text)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Work::of(
        format!("a program in {mib} MiB"),
        crate::works::Kind::Mixed,
        tree,
    )
}
