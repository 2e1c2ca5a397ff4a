//! Reads an archive by HTTP/1.1 into a file, within bounds.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroshare_chassis::Lifetime;

/// How long a machine of the LAN may take to accept a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long it may take for the head of its answer: some put the archive together first.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long it may send nothing.
const STALL_TIME: Duration = Duration::from_secs(15);

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    /// It is not there.
    #[error("it has no such archive")]
    NotThere,
    /// It answers something else.
    #[error("it answers with {code}")]
    Refused {
        /// Its code of HTTP.
        code: StatusCode,
    },
    /// It is silent for too long.
    #[error("it takes too long")]
    TooSlow,
    /// It sends more than is wanted.
    #[error("it sends more than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// It cannot be connected to.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke, or does not speak HTTP.
    #[error("cannot read")]
    Read(#[source] hyper::Error),
    /// The file cannot be written.
    #[error("cannot write what comes")]
    Write(#[source] io::Error),
}

/// Reads what lies at a path of a machine; redirections are not followed.
///
/// `noticed` is told how much has come so far.
pub(crate) async fn download(
    lifetime: &Lifetime,
    (from, path): (SocketAddr, &str),
    (into, limit_bytes): (&mut File, u64),
    mut noticed: impl FnMut(u64),
) -> Result<(), DownloadError> {
    let connecting = timeout(CONNECT_TIME, TcpStream::connect(from)).await;
    let io = connecting.map_err(|_| DownloadError::TooSlow)?;
    let io = TokioIo::new(io.map_err(DownloadError::Connect)?);
    let handshake = http1::handshake::<_, Empty<Bytes>>(io).await;
    let (mut sender, connection) = handshake.map_err(DownloadError::Read)?;
    lifetime.spawn("connection to an older program", async move {
        // How it ends is seen by whoever reads the answer.
        drop(connection.await);
    });
    let request = Request::get(path)
        .header(http::header::HOST, from.to_string())
        .body(Empty::new())
        .map_err(|error| DownloadError::Write(io::Error::other(error)))?;
    let answering = timeout(HEAD_TIME, sender.send_request(request)).await;
    let response = answering.map_err(|_| DownloadError::TooSlow)?;
    let response = response.map_err(DownloadError::Read)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(DownloadError::NotThere),
        code => return Err(DownloadError::Refused { code }),
    }
    let mut body = response.into_body();
    let mut taken = 0_u64;
    loop {
        let frame = timeout(STALL_TIME, body.frame()).await;
        let Some(frame) = frame.map_err(|_| DownloadError::TooSlow)? else {
            break;
        };
        let frame = frame.map_err(DownloadError::Read)?;
        let data = frame.into_data().unwrap_or_default();
        taken = taken.saturating_add(data.len() as u64);
        if taken > limit_bytes {
            return Err(DownloadError::TooLarge { limit_bytes });
        }
        into.write_all(&data).await.map_err(DownloadError::Write)?;
        noticed(taken);
    }
    into.flush().await.map_err(DownloadError::Write)
}
