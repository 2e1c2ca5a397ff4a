//! Machines with a real systemd as process 1, for stories.
//!
//! A machine is a set of namespaces on a copy of this machine's files, in the network of a host of [`zeroshare_network::Lan`]. It knows
//! nothing of what is tested. Needs root, and systemd and fuse3 on this machine.

mod machine;

pub use machine::{Machine, Said};
