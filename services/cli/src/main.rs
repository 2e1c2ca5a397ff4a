//! The `zeroshare` command.

use std::process::ExitCode;

/// Buffers of received pieces are large and short-lived: returned to the kernel each time, they are cleared anew each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    zeroshare::main_with(std::env::args_os()).into()
}
