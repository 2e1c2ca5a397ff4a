//! Channels to stores of peers.

use std::{io, net::SocketAddr, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;

use super::{PeerPool, TracedChannel};

/// Larger windows were no faster on 10 Gbit/s, and eight providers' worth of these fits in memory.
pub(super) const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// See [`STREAM_WINDOW_BYTES`].
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// A whole chunk of a piece comes in one frame.
const MAX_FRAME_BYTES: u32 = 1024 * 1024;

/// How patient a reader is with a peer.
#[derive(Debug, Clone)]
pub struct PeerChannelOptions {
    /// How long TCP may take to connect.
    pub connect_time: Duration,
    /// While a call waits, the peer is asked so often whether it still lives.
    pub keep_alive_interval: Duration,
    /// A peer that does not answer that for so long is dead: its calls fail.
    pub keep_alive_time: Duration,
    /// Connections that are shared with others; `None`: each channel has its own.
    pub pool: Option<PeerPool>,
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
            pool: None,
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
    let seat = pool.seat(address);
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
    let waited = options.connect_time;
    // Connected by hand the first time, so that the error still says why.
    let mut first = Some(connect(address, waited).await?);
    let connector = service_fn(move |_: Uri| {
        let ready = first.take();
        async move {
            match ready {
                Some(stream) => Ok::<_, ConnectError>(TokioIo::new(stream)),
                None => Ok(TokioIo::new(connect(address, waited).await?)),
            }
        }
    });
    let channel = settings(address, options)
        .connect_with_connector(connector)
        .await
        .map_err(|source| ConnectError::NotHttp2 { address, source })?;
    Ok(TracedChannel::new(channel))
}

async fn connect(address: SocketAddr, waited: Duration) -> Result<TcpStream, ConnectError> {
    let failed = |source| ConnectError::Failed { address, source };
    let stream = timeout(waited, TcpStream::connect(address))
        .await
        .map_err(|_| ConnectError::TimedOut { address, waited })?
        .map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
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
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
}
