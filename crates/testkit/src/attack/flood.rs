//! Connections without end.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::timeout};

/// How long one connection may take: a full queue of the listener answers nothing.
const PATIENCE: Duration = Duration::from_millis(200);

/// Connections that say nothing.
#[derive(Debug)]
pub struct Flood {
    connections: Vec<TcpStream>,
    refused: usize,
}

impl Flood {
    /// Opens so many connections one after the other, of which at most `held` stay open.
    ///
    /// The oldest is closed for the newest then, so that a test needs no more descriptors than it has.
    pub async fn open(address: SocketAddr, count: usize, held: usize) -> Self {
        let mut connections = std::collections::VecDeque::new();
        let mut refused = 0;
        for _ in 0..count {
            match timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(connection)) => connections.push_back(connection),
                Ok(Err(_)) | Err(_) => refused += 1,
            }
            if connections.len() > held {
                connections.pop_front();
            }
        }
        Self {
            connections: connections.into(),
            refused,
        }
    }

    /// How many were not even taken by the kernel.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// How many of those held are still open, as far as this side knows.
    pub fn still_open(&self) -> usize {
        let open = |connection: &&TcpStream| {
            let mut byte = [0];
            let read = connection.try_read(&mut byte);
            matches!(read, Ok(1..))
                || read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        };
        self.connections.iter().filter(open).count()
    }
}
