//! The mount as a process of its own.

use std::process::ExitCode;

use clap::Parser as _;
use zeroshare_mount::Arguments;

fn main() -> ExitCode {
    zeroshare_mount::main(Arguments::parse())
}
