//! TLS in front of HTTP, for those who know whom they speak to.

use std::{io, sync::Arc};

use rustls::{
    ServerConfig,
    server::{Accepted, Acceptor},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_rustls::{StartHandshake, server::TlsStream};

/// Read at a time while it is not known who is there.
const READ_BYTES: usize = 4096;

/// The first message of those who mean no harm is shorter by far; beyond it nothing is kept of a stranger.
const MAX_HELLO_BYTES: usize = 16 * 1024;

/// What a listener asks of those who connect before HTTP begins.
///
/// A TLS server shows its certificate before it sees the client's. So the first message must carry a name that only
/// members know: whoever says something else, or something that is not TLS, is hung up on without a byte, and cannot
/// tell this port from one where nothing is spoken.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    name: Arc<str>,
}

/// Why somebody got no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// It did not speak TLS, or hung up.
    #[error("no TLS is spoken there")]
    NotTls,
    /// It does not know the name.
    #[error("it does not know our name")]
    UnknownName,
    /// It could not prove what it must.
    #[error("it did not prove itself")]
    Unproven(#[source] io::Error),
}

impl Tls {
    /// Takes in who calls this name and is accepted by the configuration.
    pub fn new(config: Arc<ServerConfig>, name: impl Into<Arc<str>>) -> Self {
        Self {
            config,
            name: name.into(),
        }
    }

    /// Waits until somebody has proven itself; may be dropped midway.
    pub(super) async fn accept<I>(&self, mut io: I) -> Result<TlsStream<I>, HandshakeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = read_hello(&mut io).await?;
        if hello.client_hello().server_name() != Some(self.name.as_ref()) {
            return Err(HandshakeError::UnknownName);
        }
        StartHandshake::from_parts(hello, io)
            .into_stream(self.config.clone())
            .await
            .map_err(HandshakeError::Unproven)
    }
}

/// Reads the first message, and answers nothing to what is none.
async fn read_hello(io: &mut (impl AsyncRead + Unpin)) -> Result<Accepted, HandshakeError> {
    let mut acceptor = Acceptor::default();
    let mut buffer = [0; READ_BYTES];
    let mut taken = 0;
    while taken < MAX_HELLO_BYTES {
        let read = io.read(&mut buffer).await;
        let Some(mut bytes) = read.ok().and_then(|count| buffer.get(..count)) else {
            return Err(HandshakeError::NotTls);
        };
        if bytes.is_empty() {
            return Err(HandshakeError::NotTls);
        }
        taken += bytes.len();
        while !bytes.is_empty() {
            match acceptor.read_tls(&mut bytes) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(HandshakeError::NotTls),
            }
        }
        // The alert that it would send is what a stranger is not to get.
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err(_) => return Err(HandshakeError::NotTls),
        }
    }
    Err(HandshakeError::NotTls)
}
