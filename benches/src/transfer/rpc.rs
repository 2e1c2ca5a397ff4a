//! The generated service.
#![expect(
    unused_qualifications,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code follows tonic's style, not ours"
)]

include!(concat!(env!("OUT_DIR"), "/zeroshare.bench.v1.rs"));
