//! Channels to stores of peers.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;
use zeroshare_identity::Member;
use zeroshare_wire::datagram::{NodeId, PublicKey};

use super::{PeerPool, TracedChannel, stream::PeerStream};

/// Larger windows were no faster on 10 Gbit/s, and eight providers' worth of these fits in memory.
pub(super) const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// Of a connection between services of one machine.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// A whole chunk of a piece comes in one frame.
const MAX_FRAME_BYTES: u32 = 1024 * 1024;

/// How patient a reader is with a peer.
#[derive(Debug, Clone)]
pub struct PeerChannelOptions {
    /// How long TCP, and TLS where it is spoken, may take to connect.
    pub connect_time: Duration,
    /// While a call waits, the peer is asked so often whether it still lives.
    pub keep_alive_interval: Duration,
    /// A peer that does not answer that for so long is dead: its calls fail.
    pub keep_alive_time: Duration,
    /// What a peer may send ahead of what was read of one answer, in bytes; twice that for all answers on a connection. HTTP/2
    /// tells the sender only when half of it was read.
    pub window_bytes: u32,
    /// Connections that are shared with others; `None`: each channel has its own.
    pub pool: Option<PeerPool>,
    /// As whom this node speaks, over TLS and to its group alone; `None`: as nobody, and in the clear.
    pub member: Option<Arc<Member>>,
    /// Who must answer, where that is known and a member can prove it; `None`: any member.
    pub node: Option<NodeId>,
}

impl PeerChannelOptions {
    /// The same for one node, which another at its address cannot stand in for.
    #[must_use]
    pub fn expecting(&self, node: Option<NodeId>) -> Self {
        Self {
            node: node.filter(|_| self.member.is_some()),
            ..self.clone()
        }
    }
}

/// A peer could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It did not answer in time.
    #[error("{address} did not answer within {waited:?}")]
    TimedOut {
        /// Who was called.
        address: SocketAddr,
        /// For how long.
        waited: Duration,
    },
    /// It refused, or there is no way to it.
    #[error("cannot connect to {address}")]
    Failed {
        /// Who was called.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It is not of this node's group, or not who it should be.
    #[error("{address} did not prove to be a member of this group")]
    Unproven {
        /// Who was called.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It hung up at once.
    #[error("{address} does not speak HTTP/2")]
    NotHttp2 {
        /// Who was called.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
}

impl Default for PeerChannelOptions {
    fn default() -> Self {
        Self {
            connect_time: Duration::from_secs(2),
            keep_alive_interval: Duration::from_secs(2),
            keep_alive_time: Duration::from_secs(4),
            window_bytes: STREAM_WINDOW_BYTES,
            pool: None,
            member: None,
            node: None,
        }
    }
}

/// Connects to a peer's store; a `fe80::` address needs its scope id.
///
/// The channel connects anew by itself when the connection was lost. May be dropped midway.
pub async fn peer_channel(
    address: SocketAddr,
    options: &PeerChannelOptions,
) -> Result<TracedChannel, ConnectError> {
    let Some(pool) = &options.pool else {
        return own_channel(address, options).await;
    };
    let seat = pool.seat(address, options.node);
    let made = seat
        .channel
        .get_or_try_init(|| own_channel(address, options));
    let channel = made.await?.clone();
    Ok(channel.seated(seat))
}

async fn own_channel(
    address: SocketAddr,
    options: &PeerChannelOptions,
) -> Result<TracedChannel, ConnectError> {
    let caller = Caller {
        address,
        waited: options.connect_time,
        member: options.member.clone(),
        wanted: options.node,
        proven: Arc::default(),
    };
    let proven = caller.proven.clone();
    // Connected by hand the first time, so that the error still says why.
    let mut first = Some(caller.connect().await?);
    let connector = service_fn(move |_: Uri| {
        let ready = first.take();
        let caller = caller.clone();
        async move {
            match ready {
                Some(stream) => Ok::<_, ConnectError>(TokioIo::new(stream)),
                None => Ok(TokioIo::new(caller.connect().await?)),
            }
        }
    });
    let channel = settings(address, options)
        .connect_with_connector(connector)
        .await
        .map_err(|source| ConnectError::NotHttp2 { address, source })?;
    Ok(TracedChannel::new(channel).proven(proven.get().copied()))
}

/// Connects, again when the connection was lost.
#[derive(Clone)]
struct Caller {
    address: SocketAddr,
    waited: Duration,
    member: Option<Arc<Member>>,
    wanted: Option<NodeId>,
    /// Who answered the first time; a channel stays with that one.
    proven: Arc<OnceLock<PublicKey>>,
}

impl Caller {
    async fn connect(&self) -> Result<PeerStream, ConnectError> {
        let (address, waited) = (self.address, self.waited);
        timeout(waited, self.connect_patiently())
            .await
            .map_err(|_| ConnectError::TimedOut { address, waited })?
    }

    async fn connect_patiently(&self) -> Result<PeerStream, ConnectError> {
        let address = self.address;
        let failed = |source| ConnectError::Failed { address, source };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some(member) = &self.member else {
            return Ok(PeerStream::Plain(stream));
        };
        let wanted = self.wanted.or(self.proven.get().map(NodeId::of));
        let (stream, key) = member
            .connect(stream, wanted)
            .await
            .map_err(|source| ConnectError::Unproven { address, source })?;
        self.proven.get_or_init(|| key);
        Ok(PeerStream::Tls(Box::new(stream)))
    }
}

fn settings(address: SocketAddr, options: &PeerChannelOptions) -> Endpoint {
    // An authority has no place for a scope id; the connector knows it.
    let authority = SocketAddr::new(address.ip(), address.port());
    let uri = Uri::builder()
        .scheme("http")
        .authority(authority.to_string())
        .path_and_query("/")
        .build()
        .unwrap_or_else(|_| Uri::from_static("http://peer"));
    Endpoint::from(uri)
        .http2_keep_alive_interval(options.keep_alive_interval)
        .keep_alive_timeout(options.keep_alive_time)
        .keep_alive_while_idle(false)
        .initial_stream_window_size(options.window_bytes)
        .initial_connection_window_size(options.window_bytes.saturating_mul(2))
        .max_frame_size(MAX_FRAME_BYTES)
}
