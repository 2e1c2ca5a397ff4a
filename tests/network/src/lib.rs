//! A LAN of network namespaces, for stories and benchmarks with real sockets and real programs.
//!
//! Needs root and `ip` (Debian: iproute2). Every host has a namespace, one interface `eth0` on a common switch, no default route, and private
//! directories, so that nothing of a story leaves this machine or touches its stores. It knows no crate of zeroshare: what it runs are
//! programs. Start reading at [`Lan`].

mod host;
mod lan;
mod names;
mod neighbours;
mod programs;
mod trees;

pub use host::{Host, Output, Running};
pub use lan::Lan;
pub use names::NameServer;
pub use programs::{PROGRAM, program, wait_until};
pub use trees::{
    hello_tree, local_feed, noisy_tree, real_tree, zero_install_add, zero_install_hello,
};
