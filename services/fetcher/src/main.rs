//! The binary of one service.

fn main() {}
