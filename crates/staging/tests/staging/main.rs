//! Staging trees as its users do: whole, in parts, in threads, with crashes, and beside things that should not be there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail as tests do"
)]
#![expect(
    clippy::single_range_in_vec_init,
    reason = "held pieces are lists of ranges, often of one"
)]

mod adopting;
mod blobs;
mod crashes;
mod hostile;
mod laws;
mod linking;
mod places;
mod resuming;
mod slicing;
mod support;
mod sweeping;
mod whole;
