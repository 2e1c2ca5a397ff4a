//! Discovery services on the loopback interface, with real sockets, clock and disk.

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, wherever its words stand"
)]

mod finding;
mod hostile;
mod node;
mod store;
