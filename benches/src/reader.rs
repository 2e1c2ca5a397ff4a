//! The same with the allocator of the product: what reads pieces here shares it with what reads them there, and plain tonic has the
//! system's.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    zeroshare_benches::run()
}
