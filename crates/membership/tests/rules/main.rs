//! The rules of speech, one machine at a time.

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, wherever its words stand"
)]

mod answers;
mod bench;
mod disbelief;
mod forgery;
mod lookups;
mod random;
mod speech;
