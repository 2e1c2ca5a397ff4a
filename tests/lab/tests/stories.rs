//! The stories of compose.yaml: three hosts on a LAN, each with a container for each service.
//!
//! Needs a container engine, docker-compose (or the plugin), and the image `zeroshare:lab`, which
//! `docker/build-offline` makes. Run with one thread: the lab's addresses are fixed.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a story tells what it saw, and logs what led to a failure"
)]

#[path = "stories/accepted.rs"]
mod accepted;
#[path = "stories/compose.rs"]
mod compose;
#[path = "stories/reach.rs"]
mod reach;
#[path = "stories/reflection.rs"]
mod reflection;
#[path = "stories/traces.rs"]
mod traces;
#[path = "stories/trouble.rs"]
mod trouble;
