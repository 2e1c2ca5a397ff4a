//! Listening sockets: Unix sockets and named addresses for local callers, every interface for the LAN.

mod lan;
mod tcp;
mod unix;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::PathBuf,
    str::FromStr,
};

pub use lan::bind_lan;
pub(crate) use unix::SocketFile;

/// Where a local API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// A Unix socket; its mode decides who may call.
    Unix {
        /// Where it lies.
        path: PathBuf,
        /// Who may connect, as permissions of a file.
        mode: u32,
    },
    /// An address of this machine, reachable over its own interface only.
    Tcp(SocketAddr),
}

/// A bound local API; a Unix socket is removed with it.
#[derive(Debug)]
pub struct LocalListener {
    pub(crate) sockets: LocalSockets,
}

#[derive(Debug)]
pub(crate) enum LocalSockets {
    Unix(UnixListener, SocketFile),
    Tcp(Vec<TcpListener>, SocketAddr),
}

/// Why nothing can listen there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process answers there.
    #[error("{address} is in use")]
    InUse {
        /// The socket or address.
        address: String,
    },
    /// Something that is no socket lies there.
    #[error("{} is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The kernel takes no socket with a path that long.
    #[error("{} is too long for the path of a socket: at most {limit} bytes", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// How long it may be.
        limit: usize,
    },
    /// A local API must not be open to everybody by accident.
    #[error("{address} is every interface: a local API needs one address, such as 127.0.0.1")]
    Unspecified {
        /// The address.
        address: SocketAddr,
    },
    /// The directory of a socket is unusable.
    #[error(transparent)]
    Directory(crate::places::PlacesError),
    /// The system refused.
    #[error("cannot listen on {address}")]
    Io {
        /// The socket or address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

impl LocalAddress {
    /// The socket of a service in these places, with the mode that belongs there.
    pub fn of(places: &crate::Places, service: &str) -> Self {
        Self::Unix {
            path: places.socket(service),
            mode: places.socket_mode(),
        }
    }
}

impl LocalListener {
    /// Binds and listens; the listener can be moved to any runtime.
    pub fn bind(address: &LocalAddress) -> Result<Self, ListenError> {
        let sockets = match address {
            LocalAddress::Unix { path, mode } => {
                let (listener, file) = unix::bind(path, *mode)?;
                LocalSockets::Unix(listener, file)
            }
            LocalAddress::Tcp(address) => {
                let (listeners, bound) = tcp::bind(*address)?;
                LocalSockets::Tcp(listeners, bound)
            }
        };
        Ok(Self { sockets })
    }

    /// Where it listens, with the port it got.
    pub fn address(&self) -> LocalAddress {
        match &self.sockets {
            LocalSockets::Unix(_, file) => LocalAddress::Unix {
                path: file.path().to_owned(),
                mode: file.mode(),
            },
            LocalSockets::Tcp(_, bound) => LocalAddress::Tcp(*bound),
        }
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl FromStr for LocalAddress {
    type Err = LocalAddressError;

    /// Reads `unix:/path`, whose mode is 0600, or `address:port`.
    fn from_str(text: &str) -> Result<Self, LocalAddressError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix {
                path: path.into(),
                mode: 0o600,
            });
        }
        let address = text.parse().map_err(|_| LocalAddressError {
            text: text.to_owned(),
        })?;
        Ok(Self::Tcp(address))
    }
}

/// Why a text is no address of a local API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither unix:/PATH nor ADDRESS:PORT")]
pub struct LocalAddressError {
    text: String,
}
