//! What nodes say to each other over UDP: checked types, and the only code that reads and writes
//! them.
//!
//! [`decode`] is cheap and structural: it bounds, checks the group's MAC and every field, and never
//! allocates more than a small multiple of [`MAX_DATAGRAM_BYTES`]. Proof of origin costs a signature
//! check, so it is a step of its own, [`verify_origin`], and callers can budget it. [`encode`]
//! cannot fail: the types hold only what fits.
//!
//! # Format
//!
//! One UDP payload is a `zeroshare.beacon.v1.Envelope` of at most [`MAX_DATAGRAM_BYTES`], with
//! `format` = [`FORMAT`]. A node of a group puts the first 16 bytes of HMAC-SHA-256(the group's key for
//! MACs, `datagram`) into `group_mac`; a node without a group leaves it out. Each drops the other's.
//! `signature` is Ed25519 by `public_key` over `datagram`; the node id is the first 16 bytes of
//! SHA-256 over `public_key`. Padding makes a question as long as the longest answer that it may
//! draw, see [`encode`].
//!
//! [`Tag`] and [`Bloom`] say how ids become tags and tags become filters.

mod bloom;
mod body;
mod decode;
mod encode;
mod group;
mod identity;
mod tag;
#[cfg(test)]
mod tests;
mod trace;

pub use bloom::{Bloom, MAX_FILTER_BYTES, MAX_FILTERS, TAGS_PER_FILTER};
pub use body::{
    Alive, Answer, Body, Datagram, Echo, FilterPart, Holding, HoldingState, MAX_ASKED,
    MAX_EXCLUDED, MAX_PEERS, MAX_ROUND, MAX_SPREAD, MAX_TTL, NodeAddress, Peers, PeersRequest,
    Query,
};
pub use decode::{DatagramError, Origin, decode, origin, verify_origin};
pub(crate) use decode::{host_address, port};
pub(crate) use encode::address_bytes;
pub use encode::{MIN_BEACON_BYTES, MIN_QUERY_BYTES, encode, encode_padded};
pub use group::GroupKey;
pub use identity::{NodeId, NodeIdError, PublicKey, SigningKey};
pub use tag::{Day, DayKey, Tag, tag};
pub use trace::TraceContext;

/// The major version of the format; others are dropped.
pub const FORMAT: u32 = 1;

/// Fits every path that carries IPv6's least MTU of 1,280 bytes.
pub const MAX_DATAGRAM_BYTES: usize = 1200;
