//! The store service over loopback and its socket, with real trees on disk.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bounds;
mod compressing;
mod fixture;
mod group;
mod holding;
mod kin;
mod listing;
mod offering;
mod reading;
mod restricted;
