//! Who is there, who may hold what, and when to speak: every decision of discovery, without a socket.
//!
//! [`Membership`] is one machine: datagrams, changes of interfaces and holdings, lookups and the time come in by
//! `handle_*` and [`Membership::find`]; datagrams to send come out of [`Membership::poll_transmit`], news out of
//! [`Membership::poll_event`], and the time of its next wake-up out of [`Membership::poll_timeout`]. The same calls
//! with the same [`fastrand::Rng`] give the same output.
//!
//! Nobody on UDP is believed. Speech without proof of origin never removes, mutes or bans; whoever is told to connect
//! somewhere is told only an address that sent back a random number which was sent to it; every table has a bound.
//!
//! The crate knows no sockets, clock, disk or tasks, and not how the LAN is reached: an edge maps [`Destination`] to
//! sockets, and says with each [`Arrival`] how a datagram came. Start reading at [`Membership`], then `beacons`, `presence`,
//! `lookups` and `answers`, which hold the rules of speech.

mod answers;
mod arrivals;
mod beacons;
mod chance;
mod checks;
mod drops;
mod echoes;
mod event;
mod filters;
mod holdings;
mod identity;
mod lookups;
mod machine;
mod network_time;
mod nonces;
mod outsiders;
mod paging;
mod peers;
mod place;
mod presence;
mod rates;
mod settings;
mod standings;
mod steps;
mod surroundings;
#[cfg(test)]
mod testing;
mod views;

pub use checks::{NeighbourCheck, NetworkCheck, RoadCheck};
pub use drops::DropReason;
pub use event::{
    Asked, BanView, Claim, Counters, Destination, Event, LookupId, Mercy, PeerView, Provider,
    Report, Transmit, Verdict,
};
pub use lookups::Search;
pub use machine::Membership;
pub use outsiders::OutsiderView;
pub use place::{Place, Subnet, SubnetError};
pub use settings::{Memory, Presence, RememberedBan, Settings};
pub use steps::{Beginning, Ending, Reason, Refusal, Step, Told, Unasked};
pub use surroundings::{Arrival, Interface, Road};
