//! What must hold for any bytes that a stranger sends.
//!
//! One plain function for each fuzz target: it panics where something does not hold. The targets in
//! `fuzz_targets` call them with what the fuzzer makes up; ordinary tests of the crates call them
//! with the corpora.

pub mod datagram;
pub mod id;
pub mod manifest;
