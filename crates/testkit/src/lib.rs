//! Small trees, faulty peers and machines in process, for tests only.
//!
//! It knows the messages and the layout of content, and no service of ours: what it serves and what
//! it writes to disk is made independently, so that a service is tested against something else than
//! itself. Everything is deterministic by seed, listens on loopback or in a [`Scratch`] directory,
//! and ends when it is dropped. What goes wrong here is a failed test, so it panics. Start reading at
//! [`TestTree`] for content, at [`Peer`] for who serves it well or badly, at [`attack`] for callers
//! that misbehave.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, wherever its words stand"
)]

pub mod attack;
mod discovery;
mod evil;
mod memory;
mod offered;
mod peer;
mod python;
mod scratch;
mod store;
mod tree;
mod wait;

pub use discovery::{FakeDiscovery, announced};
pub use evil::{EvilManifest, evil_manifests};
pub use memory::{resident_bytes, resident_bytes_of};
pub use offered::Offered;
pub use peer::{Call, Fault, HeaderLie, Method, Peer, Record, Sent, Which};
pub use python::python;
pub use scratch::{Scratch, loopback_listener};
pub use store::{flip_byte, put_in_store};
pub use tree::{TestEntry, TestTree};
pub use wait::{eventually, eventually_some};
