//! Connections to services of this machine and to stores of peers.
//!
//! A channel reconnects by itself, belongs to the tokio runtime in which it was made, and ends its
//! own tasks when its last clone is dropped.

mod endpoint;
mod local;
mod peer;
mod pool;
mod stream;
mod traced;

pub use endpoint::{EndpointError, LocalEndpoint};
pub use local::{local_channel, trusting_channel};
pub use peer::{ConnectError, PeerChannelOptions, peer_channel};
pub use pool::PeerPool;
pub use traced::TracedChannel;
