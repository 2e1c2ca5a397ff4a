//! What proves one grain of a large file by itself: the midstates of its SHA-256.
//!
//! SHA-256 is a chain: what it has in hand at a grain's border, the **midstate** (32 bytes), is all
//! that links the bytes before it to those behind. Whoever hashes a file once keeps these; whoever
//! has the list can check any grain in any order, and when every link holds the file has its hash,
//! without reading it again.
//!
//! With S = [`GRAIN`](zeroshare_content::GRAIN) and n = max(1, ⌈size/S⌉) grains: m\[0\] is
//! SHA-256's start value; grain i < n−1 holds if compress(m\[i\], grain i) = m\[i+1\]; the last one
//! holds if compress(m\[n−1\], its bytes ‖ padding for the size) is the hash. A list of midstates
//! is m\[1\] … m\[n−1\], 32 big-endian bytes each.
//!
//! The crate does not decide whom to believe: a list is somebody's word until every link from a
//! grain to the end holds. It knows no disk and no network.
//!
//! Start reading at [`GrainHasher`], which makes lists, and [`check_grain`], which judges by them.

mod chain;
mod grain;
mod hasher;
mod midstates;

pub use grain::{GrainVerdict, check_grain};
pub use hasher::GrainHasher;
pub use midstates::{Midstates, MidstatesError, grain_count, grain_len};
