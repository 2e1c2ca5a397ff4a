//! The zeroshare command.

fn main() {}
