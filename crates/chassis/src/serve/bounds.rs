//! How much a server lets its peers hold, and for how long.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What one server's peers may hold, all together and each; see [`Self::lan`] for what strangers get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Connections in all.
    pub connections: usize,
    /// Connections of all who are only told that they may not call.
    pub strangers: usize,
    /// Connections of one address, or of one user on a Unix socket.
    pub connections_per_peer: usize,
    /// Calls at once on one connection.
    pub streams: u32,
    /// From connecting to the first complete request head.
    pub first_request: Duration,
    /// From a request's head to the end of its body; `None` where calls stream towards us.
    pub request: Option<Duration>,
    /// How long a response may wait for a peer that takes none of it.
    pub stall: Duration,
    /// How long an answer may have nothing to say, after which the call is ended; `None` where callers wait for news for
    /// as long as they like.
    pub silence: Option<Duration>,
    /// How long a connection may stay without any call.
    pub idle: Duration,
    /// How long calls may take to end when the server stops.
    pub drain: Duration,
    /// A request's body in all; `None` where calls stream towards us.
    pub request_bytes: Option<usize>,
    /// A request's headers in all.
    pub header_bytes: u32,
    /// The largest HTTP/2 frame that is taken, up to which the connection buffers.
    pub frame_bytes: u32,
    /// What a peer may send ahead on one stream.
    pub stream_window_bytes: u32,
    /// What a peer may send ahead on all of a connection's streams.
    pub connection_window_bytes: u32,
    /// What is buffered of one response beyond what the peer has room for.
    pub send_buffer_bytes: usize,
    /// File contents on their way to one peer, over all its connections.
    pub pages_per_peer_bytes: usize,
    /// File contents on their way to all peers.
    pub pages_bytes: usize,
    /// How long a connection is silent before it is asked whether it lives.
    pub keepalive_interval: Duration,
    /// How long it may take to say so.
    pub keepalive_timeout: Duration,
}

/// Bounds as they are meant for strangers.
pub type LanBounds = Bounds;

impl Bounds {
    /// For strangers, who may mean harm: requests are small, answers are large.
    ///
    /// The windows are those *towards us*; how fast we send is up to the windows that readers give.
    pub fn lan() -> Self {
        Self {
            connections: 256,
            strangers: 16,
            connections_per_peer: 8,
            streams: 16,
            first_request: Duration::from_secs(10),
            request: Some(Duration::from_secs(10)),
            stall: Duration::from_secs(10),
            silence: Some(Duration::from_mins(10)),
            idle: Duration::from_mins(1),
            drain: Duration::from_secs(5),
            request_bytes: Some(256 * KIB),
            header_bytes: 16 * 1024,
            frame_bytes: 16 * 1024,
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 128 * 1024,
            send_buffer_bytes: MIB,
            pages_per_peer_bytes: 8 * MIB,
            pages_bytes: 64 * MIB,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
        }
    }

    /// For callers on this machine: they may stream towards us, and be suspended for a while.
    pub fn local() -> Self {
        Self {
            connections: 1024,
            connections_per_peer: 256,
            streams: 256,
            request: None,
            request_bytes: None,
            stall: Duration::from_mins(10),
            silence: None,
            idle: Duration::from_hours(1),
            header_bytes: 64 * 1024,
            frame_bytes: 1024 * 1024,
            stream_window_bytes: 2 * 1024 * 1024,
            connection_window_bytes: 4 * 1024 * 1024,
            pages_per_peer_bytes: 64 * MIB,
            keepalive_interval: Duration::from_mins(5),
            keepalive_timeout: Duration::from_mins(10),
            ..Self::lan()
        }
    }

    /// How often a connection is looked at: often enough that a deadline is missed by a quarter at most.
    pub(super) fn look_interval(&self) -> Duration {
        let shortest = self.first_request.min(self.stall).min(self.idle);
        (shortest / 4).max(Duration::from_millis(1))
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::lan()
    }
}
