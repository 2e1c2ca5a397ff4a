//! Benchmarks with whole programs, side by side with the tools that people would use by hand.
//!
//! Needs root and, of Debian's packages, what it names when it is missing. Hosts are network namespaces of this machine, so both ends share
//! its processors: what is compared is work for each byte. Each run prints its table and keeps it as JSON; `report` makes
//! the tables and plots of `BENCHMARKS.md` from that. It knows no service of ours but as a program, and the wire only where a
//! transfer alone is measured. Start reading at [`supervise`] for how it cleans up, at `measure` for how it compares, then at a benchmark.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is what a benchmark is for"
)]
#![expect(
    clippy::cast_precision_loss,
    reason = "figures for people, far below the 52 bits of a mantissa"
)]

mod book;
mod cold;
mod crowd;
mod finding;
mod hash;
mod idle;
mod index;
mod lab;
mod latency;
mod liar;
mod measure;
mod memory;
mod mount;
mod options;
mod pair;
mod plot;
mod report;
mod reuse;
mod slow;
mod supervise;
mod swarm;
mod table;
mod transfer;
mod works;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::options::Options;

/// Measures zeroshare beside its peers.
#[derive(Debug, Parser)]
#[command(version)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Bench {
    /// One machine fetches from another: rsync, curl, tar and our own `add` beside it, alternating (about 15 minutes).
    Pair(pair::Pair),
    /// One has it, and many want it at once, on limited links (about 9 minutes).
    Swarm(swarm::Swarm),
    /// Nobody has it, and many want it at once, with one slow upstream (about 8 minutes).
    Cold(cold::Cold),
    /// Bytes to memory alone: nginx, iperf3 and plain tonic beside it, on links of several rates (about 4 minutes).
    Transfer(transfer::Transfer),
    /// A tree of one byte, from the command to the commit (about 2 minutes).
    Latency(latency::Latency),
    /// One liar among eight, of each kind (about 8 minutes).
    Liar(liar::Liar),
    /// A new version of what is here already (about 1 minute).
    Reuse(reuse::Reuse),
    /// Resident memory while much moves (about 3 minutes).
    Memory(memory::Memory),
    /// A source tree over 50 Mbit/s, beside its `.tar.xz` (about 3 minutes).
    Slow(slow::Slow),
    /// First indexing, and a start with many trees (about 3 minutes).
    Index(index::Index),
    /// SHA-256 on one core (a few seconds).
    Hash(hash::Hash),
    /// A tree seen through a mount: reading and walking beside the same tree on the disk, a program's start, a digest nobody has (about 6 minutes).
    Mount(mount::Mount),
    /// All of them, one after the other (about an hour).
    All,
    /// Prints the tables of what was kept, and draws the plots.
    Report(report::Report),
    /// Serves a file by plain tonic.
    #[command(hide = true)]
    ServeBulk(transfer::ServeBulk),
    /// Reads a file from plain tonic, to nowhere.
    #[command(hide = true)]
    ReadBulk(transfer::ReadBulk),
    /// Reads pieces from a store, to nowhere.
    #[command(hide = true)]
    ReadPieces(transfer::ReadPieces),
    /// What a node costs that does nothing: memory, processor, packets, with 0, 2 and 30 neighbours (about 5 minutes).
    Idle(idle::Idle),
}

fn main() -> Result<ExitCode> {
    let line = CommandLine::parse();
    if line.bench.makes_hosts() && supervise::is_supervisor() {
        return supervise::run(&line.options);
    }
    line.bench.run(&line.options)?;
    Ok(ExitCode::SUCCESS)
}

impl Bench {
    /// Whether there is something to clean up afterwards.
    fn makes_hosts(&self) -> bool {
        !matches!(
            self,
            Self::Report(_) | Self::ServeBulk(_) | Self::ReadBulk(_) | Self::ReadPieces(_)
        )
    }

    fn run(&self, options: &Options) -> Result<()> {
        match self {
            Self::Pair(pair) => pair.run(options),
            Self::Swarm(swarm) => swarm.run(options),
            Self::Cold(cold) => cold.run(options),
            Self::Transfer(transfer) => transfer.run(options),
            Self::Latency(latency) => latency.run(options),
            Self::Liar(liar) => liar.run(options),
            Self::Reuse(reuse) => reuse.run(options),
            Self::Memory(memory) => memory.run(options),
            Self::Slow(slow) => slow.run(options),
            Self::Index(index) => index.run(options),
            Self::Hash(hash) => hash.run(options),
            Self::Mount(mount) => mount.run(options),
            Self::All => all(options),
            Self::Report(report) => report.run(options),
            Self::ServeBulk(serve) => serve.run(),
            Self::ReadBulk(read) => read.run(),
            Self::ReadPieces(read) => read.run(),
            Self::Idle(idle) => idle.run(options),
        }
    }
}

/// Each benchmark with its own settings as they come.
const ALL: [&str; 13] = [
    "pair", "transfer", "latency", "swarm", "cold", "liar", "reuse", "memory", "slow", "index",
    "idle", "hash", "mount",
];

/// Runs all; one that fails does not keep the others from running.
fn all(options: &Options) -> Result<()> {
    let mut failed = Vec::new();
    for name in ALL {
        let bench = CommandLine::try_parse_from(["zeroshare-bench", name])?.bench;
        println!();
        if let Err(error) = bench.run(options) {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}
