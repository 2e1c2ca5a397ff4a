//! The `zeroshare` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    zeroshare::main_with(std::env::args_os()).into()
}
