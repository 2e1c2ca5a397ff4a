//! Discovery as a process of its own.

use std::process::ExitCode;

use clap::Parser as _;
use zeroshare_discovery::Arguments;

fn main() -> ExitCode {
    zeroshare_discovery::main(Arguments::parse())
}
