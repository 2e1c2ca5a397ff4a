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
//! A list is somebody's word until every link from a grain to the end holds. [`FileProof`] keeps whose
//! word it is, which grains are linked under it, and finds out who contradicted himself. The crate knows no disk,
//! no network and no time.
//!
//! Start reading at [`GrainHasher`], which makes lists, [`check_grain`], which judges by them, and
//! [`FileProof`], which decides whom to believe.

mod bits;
mod chain;
mod dispute;
mod each;
mod file;
mod grain;
mod hasher;
mod judge;
mod known;
mod midstates;
mod party;

pub use dispute::WantedProbe;
pub use each::sha256_of_each;
pub use file::{FileProof, GrainState, MAX_LIST_BYTES, MAX_LISTS, ProofEvent};
pub use grain::{GrainVerdict, check_grain, check_last_grain};
pub use hasher::GrainHasher;
pub use judge::{GrainJudge, Judged, judge_grains};
pub use known::{KnownList, ListDigest};
pub use midstates::{Midstates, MidstatesError, grain_count, grain_len};
pub use party::Party;
pub use zeroshare_lanes::lanes;
