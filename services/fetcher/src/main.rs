//! The fetcher as a process of its own.

use std::process::ExitCode;

use clap::Parser as _;
use zeroshare_fetcher::Arguments;

fn main() -> ExitCode {
    zeroshare_fetcher::main(Arguments::parse())
}
