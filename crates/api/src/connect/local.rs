//! Channels to services of this machine.

use std::{io, path::Path, sync::Arc, time::Duration};

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

/// Another user listens there.
#[derive(Debug, thiserror::Error)]
#[error("user {user} listens there, who is not trusted")]
struct UntrustedUser {
    user: u32,
}

/// Makes a channel that connects with its first call, and anew after each failure.
///
/// While nobody listens each call fails with `UNAVAILABLE`, within two seconds. Panics outside of a
/// tokio runtime.
pub fn local_channel(endpoint: &LocalEndpoint) -> TracedChannel {
    channel(endpoint, None)
}

/// Makes a channel as [`local_channel`] does that says nothing to a Unix socket of any other user than these.
pub fn trusting_channel(endpoint: &LocalEndpoint, users: &[u32]) -> TracedChannel {
    channel(endpoint, Some(users.into()))
}

fn channel(endpoint: &LocalEndpoint, trusted: Option<Arc<[u32]>>) -> TracedChannel {
    // The connector below decides where to; this is what HTTP/2 calls the authority.
    let settings = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(super::peer::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(super::peer::CONNECTION_WINDOW_BYTES);
    let channel = match endpoint.clone() {
        LocalEndpoint::Unix(path) => connect_lazily(&settings, endpoint, move || {
            let (path, trusted) = (path.clone(), trusted.clone());
            async move { connect_unix(&path, trusted.as_deref()).await }
        }),
        LocalEndpoint::Tcp(address) => connect_lazily(&settings, endpoint, move || async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }),
    };
    TracedChannel::new(channel)
}

async fn connect_unix(path: &Path, trusted: Option<&[u32]>) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path).await?;
    if let Some(trusted) = trusted {
        let user = stream.peer_cred()?.uid();
        if !trusted.contains(&user) {
            let error = UntrustedUser { user };
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
        }
    }
    Ok(stream)
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
