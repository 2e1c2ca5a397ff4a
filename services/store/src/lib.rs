//! The store service: what this machine holds, for peers on the LAN and for its own services.
//!
//! It reads and never writes, but its own index: where the kernel has Landlock it is held to that. It calls nobody. What
//! lies in the stores, what of it is verified and how it is read is the matter of `zeroshare-shelf`; this crate decides
//! who may read how much at once, and says so in gRPC.
//!
//! Start reading at [`run`], then `store` (what all calls share), then `peers` and `local` (the two services), and `kin` for older
//! programs.

mod access;
mod answer;
mod arguments;
mod arrivals;
mod convert;
mod feeds;
#[cfg(test)]
mod fixture;
mod kin;
mod local;
mod manifest;
mod midstates;
mod offers;
mod pause;
mod peers;
mod public;
mod run;
mod settings;
mod slots;
mod status;
mod store;
mod tls;
mod transfer;
mod upkeep;
mod watch;

pub use access::Listing;
pub use arguments::{Arguments, main};
pub use run::{RunError, StoreListeners, run};
pub use settings::{StoreConfig, StoreSettings};
pub use tls::TlsError;
