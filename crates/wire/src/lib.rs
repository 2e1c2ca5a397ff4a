//! Messages between machines and services (prost only), and their checked conversions to types of
//! `content`.
//!
//! What arrives is parsed here once, bounded, and turned into types that cannot be wrong; what
//! cannot be parsed is an error that names the field. The crate knows no socket, no clock and no
//! chance: bytes in, values out. Start reading at [`datagram`] for what nodes say to each other over
//! UDP, at [`convert`] for what travels in gRPC.

mod bounded;
pub mod convert;
pub mod datagram;
mod field;
pub mod pb;

pub use bounded::{AtMost, TooMany};
pub use field::{FieldError, FieldFault};
