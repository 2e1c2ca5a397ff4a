//! The fetcher service: brings trees from peers into a store of this machine.
//!
//! It finds out who may have a tree (discovery, or hosts that the caller names), reads and verifies the manifest, takes
//! what this machine holds already, reads the rest from several peers at once, proves every byte, and commits the
//! tree with one rename. It serves local callers only, and never the LAN.
//!
//! What to read next, from whom, and when to give up is decided by `zeroshare-transfer`; how bytes become a
//! tree is the matter of `zeroshare-staging`. This crate owns the sockets, tasks and deadlines between them.
//!
//! Start reading at [`run`], then `registry` (what runs), then `fetch` (the steps of one fetch).

mod add;
mod arguments;
mod arrivals;
mod feeds;
mod fetch;
mod garbage;
mod group;
mod handing;
mod local;
mod manifests;
mod neighbours;
mod peers;
mod ranges;
mod registry;
mod request;
mod run;
mod service;
mod settings;
mod shared;
mod spool;
mod status;
mod targets;
#[cfg(test)]
mod tests;
mod upstream;

pub use arguments::{Arguments, main};
pub use group::JoinGroupError;
pub use run::{FetcherListeners, RunError, run};
pub use settings::{Amount, Deadlines, FetcherConfig, FetcherSettings, Patience, ValueError};
