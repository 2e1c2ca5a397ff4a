//! Benchmarks with whole programs, side by side with the tools that people would use by hand.
//!
//! Needs root, iproute2 and rsync (Debian's packages). Hosts are network namespaces of this machine, so both ends share its processors:
//! what is compared is work for each byte. Each run prints its table; `BENCHMARKS.md` keeps those that count.
#![expect(clippy::print_stdout, reason = "the table is what a benchmark is for")]

mod idle;
mod pair;
mod table;

use anyhow::Result;
use clap::Parser;

/// Measures zeroshare beside its peers.
#[derive(Debug, Parser)]
#[command(version)]
enum Bench {
    /// One machine fetches from another: zeroshare beside rsync from a daemon, alternating.
    Pair(pair::Pair),
    /// What a node costs that does nothing: memory, processor, packets, with 0, 2 and 30 neighbours.
    Idle(idle::Idle),
}

fn main() -> Result<()> {
    match Bench::parse() {
        Bench::Pair(pair) => pair.run(),
        Bench::Idle(idle) => idle.run(),
    }
}
