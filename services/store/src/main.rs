//! The store as a process of its own.

use std::process::ExitCode;

use clap::Parser as _;
use zeroshare_store::Arguments;

fn main() -> ExitCode {
    zeroshare_store::main(Arguments::parse())
}
