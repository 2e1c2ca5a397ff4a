//! The discovery service: sockets, clock and disk around the one machine of `zeroshare-membership`.
//!
//! [`run()`] owns everything: UDP sockets on every usable interface, a task that feeds the machine and does what it says, a
//! watch over the interfaces, a watch over what the local store holds, and the local API. It decides nothing about who
//! is believed or when to speak, and it never reads or writes content. Start reading at [`run()`], then `engine`.

mod advert;
mod api;
mod arguments;
mod engine;
mod interfaces;
mod run;
mod settings;
mod sockets;
mod state;
mod static_peers;
mod store_watch;

pub use arguments::{Arguments, main};
pub use run::{DiscoveryListeners, RunError, run};
pub use settings::{DiscoveryConfig, DiscoverySettings, Mode};
pub use sockets::{GROUP4, GROUP6};
pub use zeroshare_identity::KeyError;
