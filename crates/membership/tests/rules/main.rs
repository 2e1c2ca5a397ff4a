//! The rules of speech, one machine at a time.

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, wherever its words stand"
)]

mod absences;
mod alone;
mod answers;
mod askers;
mod bench;
mod checking;
mod disbelief;
mod explaining;
mod forgery;
mod groups;
mod lookups;
mod random;
mod ranks;
mod reach;
mod speech;
mod spread;
mod standing;
