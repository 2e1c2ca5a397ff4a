//! A LAN of membership machines in one process: virtual time, loss, delay, duplication, partition, one seed.
//!
//! It is for tests that need many nodes, or hours. Real sockets, the disk and the clock are tested where they are used.
//! Start reading at [`Lan`].

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, wherever its words stand"
)]

mod lan;
pub mod measure;
pub mod naive;
mod quantiles;
mod weather;

pub use lan::{DAY, Found, GROUP_PORT, Lan, NodeOptions, Traffic};
pub use quantiles::Quantiles;
pub use weather::Weather;
