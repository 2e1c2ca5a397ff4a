//! The `zeroshare` command as people use it: the real binary, with homes of its own, speaking over loopback only.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod adding;
mod collecting;
mod config;
mod fetching;
mod home;
mod interrupting;
mod node;
mod setting_up;
mod tracing;
mod usage;
mod watching;
mod zero_install;
