//! The accept loop, and the bounds that keep strangers from holding on to what they do not use.
//!
//! tonic's own server spawns connections that outlive it, takes any number of them, and waits for ever for a client that
//! stops reading. Here every connection is a task of the server's [`Lifetime`], has a seat, and is watched from outside.

mod accept;
mod activity;
mod bounds;
mod connection;
mod direct;
mod metered;
mod pages;
mod request;
mod seats;
#[cfg(test)]
mod tests;
mod tls;
mod watchdog;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
};

use tonic::{Status, service::Routes};

use self::accept::{Acceptor, TcpDoor, UnixDoor};
pub use self::{
    bounds::{Bounds, LanBounds},
    direct::{DirectBody, Parts},
    pages::{PageBudget, PageClaim},
    tls::Tls,
};
use crate::{
    Lifetime,
    listen::{LocalListener, LocalSockets},
};

/// Where a request came from; in the extensions of every request over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(
    /// The peer's address and port, an IPv4 address as such even if the socket is IPv6.
    pub SocketAddr,
);

/// Who sent a request; in the extensions of every request over a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The caller's user.
    pub uid: u32,
    /// The caller's group.
    pub gid: u32,
    /// The caller's process, if it is in a namespace that is seen from here.
    pub pid: Option<i32>,
}

/// What becomes of an address that connects.
#[derive(Debug, Clone)]
pub enum Welcome {
    /// It is served.
    Served,
    /// It is told this whatever it asks for, and then hung up on; no service sees its call.
    Told(Status),
    /// It is hung up on before a byte is read.
    HungUpOn,
}

/// Decides at the door what becomes of an address.
pub type Admission = Arc<dyn Fn(IpAddr) -> Welcome + Send + Sync>;

/// Who may come in from the LAN.
#[derive(Clone)]
pub struct Entrance {
    /// By address.
    pub admission: Admission,
    /// By what they prove; `None`: nothing is asked, and nothing is encrypted.
    pub tls: Option<Tls>,
}

/// Serves a local API until the lifetime stops and its calls are done, or a few seconds have passed.
///
/// Needs a runtime, as it may be called on any.
pub async fn serve_local(
    listeners: Vec<LocalListener>,
    routes: Routes,
    lifetime: Lifetime,
) -> io::Result<()> {
    serve_local_within(listeners, routes, Bounds::local(), lifetime).await
}

/// The same with other bounds.
pub async fn serve_local_within(
    listeners: Vec<LocalListener>,
    routes: Routes,
    bounds: Bounds,
    lifetime: Lifetime,
) -> io::Result<()> {
    let mut tcp = Vec::new();
    let mut unix = Vec::new();
    for listener in listeners {
        match listener.sockets {
            LocalSockets::Unix(listener, file) => unix.push(UnixDoor::new(listener, file)?),
            LocalSockets::Tcp(listeners, _) => {
                for listener in listeners {
                    tcp.push(TcpDoor::new(listener, None, &bounds)?);
                }
            }
        }
    }
    let acceptor = Acceptor::new(routes, bounds, None, &lifetime);
    for door in unix {
        acceptor.open(door);
    }
    for door in tcp {
        acceptor.open(door);
    }
    acceptor.finish(&lifetime).await;
    Ok(())
}

/// Serves the LAN until the lifetime stops and its calls are done, or a few seconds have passed.
///
/// Whoever its admission does not let in gets one answer or none, and has few seats. Where TLS is asked for, it comes
/// first: whoever proves nothing gets not a byte.
pub async fn serve_lan(
    listeners: Vec<TcpListener>,
    routes: Routes,
    bounds: LanBounds,
    entrance: Entrance,
    lifetime: Lifetime,
) -> io::Result<()> {
    let mut doors = Vec::new();
    for listener in listeners {
        let admission = entrance.admission.clone();
        doors.push(TcpDoor::new(listener, Some(admission), &bounds)?);
    }
    let acceptor = Acceptor::new(routes, bounds, entrance.tls, &lifetime);
    for door in doors {
        acceptor.open(door);
    }
    acceptor.finish(&lifetime).await;
    Ok(())
}

impl From<Admission> for Entrance {
    fn from(admission: Admission) -> Self {
        Self {
            admission,
            tls: None,
        }
    }
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrance")
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PeerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.uid)?;
        match self.pid {
            Some(pid) => write!(f, ", process {pid}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
