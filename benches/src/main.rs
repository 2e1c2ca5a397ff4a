//! The benchmarks; see the library.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    zeroshare_benches::run()
}
