//! Channels to services of this machine.

use std::{io, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{LocalEndpoint, TracedChannel};

/// On this machine a connection is there at once, or the service's queue is full.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// Nobody answered where a service should listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {endpoint}")]
struct LocalConnectError {
    endpoint: LocalEndpoint,
    source: io::Error,
}

/// Makes a channel that connects with its first call, and anew after each failure.
///
/// While nobody listens each call fails with `UNAVAILABLE`, within two seconds. Panics outside of a
/// tokio runtime.
pub fn local_channel(endpoint: &LocalEndpoint) -> TracedChannel {
    // The connector below decides where to; this is what HTTP/2 calls the authority.
    let settings = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(super::peer::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(super::peer::CONNECTION_WINDOW_BYTES);
    let channel = match endpoint.clone() {
        LocalEndpoint::Unix(path) => connect_lazily(&settings, endpoint, move || {
            let path = path.clone();
            async move { UnixStream::connect(path).await }
        }),
        LocalEndpoint::Tcp(address) => connect_lazily(&settings, endpoint, move || async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }),
    };
    TracedChannel::new(channel)
}

fn connect_lazily<C, F, S>(settings: &Endpoint, endpoint: &LocalEndpoint, connect: C) -> Channel
where
    C: Fn() -> F + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let endpoint = endpoint.clone();
    settings.connect_with_connector_lazy(service_fn(move |_| {
        let stream = timeout(CONNECT_TIME, connect());
        let endpoint = endpoint.clone();
        async move {
            match stream.await.unwrap_or_else(|late| Err(late.into())) {
                Ok(stream) => Ok(TokioIo::new(stream)),
                Err(source) => Err(LocalConnectError { endpoint, source }),
            }
        }
    }))
}
