//! Lets connections in, as many as there are seats for.

use std::{io, sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time,
};
use tonic::service::Routes;
use tracing::{debug, warn};

use super::{
    Admission, Bounds, PeerAddress, PeerCredentials, Tls, Welcome,
    connection::{self, Guest},
    seats::{PeerKey, Seats},
};
use crate::{Lifetime, listen::SocketFile};

/// How long to wait when the system has no room for another connection.
const OUT_OF_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// What connections get beyond their own drain deadline before they are aborted.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// All that the doors of one server share.
#[derive(Clone)]
pub(super) struct Acceptor {
    routes: Routes,
    bounds: Arc<Bounds>,
    tls: Option<Tls>,
    seats: Arc<Seats>,
    lifetime: Lifetime,
}

/// A way in.
pub(super) trait Door: Send + Sync + 'static {
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next to knock; may be dropped midway.
    fn knock(&self) -> impl Future<Output = io::Result<Knock<Self::Io>>> + Send;

    /// Says whether somebody may come in at all.
    fn welcome(&self, key: PeerKey) -> Welcome;
}

/// Somebody at the door.
pub(super) struct Knock<I> {
    io: I,
    key: PeerKey,
    address: Option<PeerAddress>,
    credentials: Option<PeerCredentials>,
}

impl Acceptor {
    pub(super) fn new(
        routes: Routes,
        bounds: Bounds,
        tls: Option<Tls>,
        lifetime: &Lifetime,
    ) -> Self {
        let seats = Seats::new(&bounds);
        let routes = routes.prepare();
        Self {
            routes,
            bounds: Arc::new(bounds),
            tls,
            seats,
            lifetime: lifetime.child(),
        }
    }

    /// Opens a door until the lifetime stops.
    pub(super) fn open(&self, door: impl Door) {
        drop(self.lifetime.spawn("accept", self.clone().attend(door)));
    }

    /// Waits until the lifetime stops, and then for the calls in progress, within the bound for it.
    pub(super) async fn finish(self, lifetime: &Lifetime) {
        lifetime.stopping().await;
        self.lifetime.end(self.bounds.drain + DRAIN_MARGIN).await;
    }

    async fn attend(self, door: impl Door) {
        loop {
            let knock = tokio::select! {
                () = self.lifetime.stopping() => return,
                knock = door.knock() => knock,
            };
            match knock {
                Ok(knock) => self.receive(&door, knock),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    warn!(%error, "cannot accept connections");
                    tokio::select! {
                        () = self.lifetime.stopping() => return,
                        () = time::sleep(OUT_OF_ROOM_PAUSE) => {}
                    }
                }
            }
        }
    }

    fn receive<D: Door>(&self, door: &D, knock: Knock<D::Io>) {
        let Knock {
            io,
            key,
            address,
            credentials,
        } = knock;
        let refusal = match door.welcome(key) {
            Welcome::Served => None,
            Welcome::Told(status) => Some(status),
            Welcome::HungUpOn => {
                debug!(peer = ?key, "connection refused: not from a readable network");
                return;
            }
        };
        let seat = match self.seats.take(key, refusal.is_some()) {
            Ok(seat) => seat,
            Err(full) => {
                debug!(peer = ?key, ?full, "connection refused: too many");
                return;
            }
        };
        let guest = Guest {
            io,
            seat,
            address,
            credentials,
            refusal,
            tls: self.tls.clone(),
        };
        let served = connection::serve(
            guest,
            self.routes.clone(),
            self.bounds.clone(),
            self.lifetime.clone(),
        );
        drop(self.lifetime.spawn("connection", served));
    }
}

/// A TCP socket, open to all whom the admission lets in.
pub(super) struct TcpDoor {
    listener: TcpListener,
    admission: Option<Admission>,
    /// How long the kernel keeps data that a peer does not take, even after we have hung up.
    give_up: Duration,
}

impl TcpDoor {
    pub(super) fn new(
        listener: std::net::TcpListener,
        admission: Option<Admission>,
        bounds: &Bounds,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let give_up = bounds.stall + bounds.keepalive_timeout;
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            admission,
            give_up,
        })
    }
}

impl Door for TcpDoor {
    type Io = TcpStream;

    async fn knock(&self) -> io::Result<Knock<TcpStream>> {
        let (io, mut peer) = self.listener.accept().await?;
        peer.set_ip(peer.ip().to_canonical());
        io.set_nodelay(true)?;
        SockRef::from(&io).set_tcp_user_timeout(Some(self.give_up))?;
        let key = PeerKey::Address(peer.ip());
        Ok(Knock {
            io,
            key,
            address: Some(PeerAddress(peer)),
            credentials: None,
        })
    }

    fn welcome(&self, key: PeerKey) -> Welcome {
        match (key, &self.admission) {
            (PeerKey::Address(address), Some(admission)) => admission(address),
            (PeerKey::User(_), _) | (_, None) => Welcome::Served,
        }
    }
}

/// A Unix socket; its file's mode let the caller in already.
pub(super) struct UnixDoor {
    listener: UnixListener,
    _file: SocketFile,
}

impl UnixDoor {
    pub(super) fn new(
        listener: std::os::unix::net::UnixListener,
        file: SocketFile,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            _file: file,
        })
    }
}

impl Door for UnixDoor {
    type Io = UnixStream;

    async fn knock(&self) -> io::Result<Knock<UnixStream>> {
        let (io, _) = self.listener.accept().await?;
        let found = io.peer_cred()?;
        let (uid, gid, pid) = (found.uid(), found.gid(), found.pid());
        let credentials = Some(PeerCredentials { uid, gid, pid });
        Ok(Knock {
            io,
            key: PeerKey::User(uid),
            address: None,
            credentials,
        })
    }

    fn welcome(&self, _key: PeerKey) -> Welcome {
        Welcome::Served
    }
}

/// Says whether a connection failed before it was accepted, which is no trouble of ours.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Interrupted
    )
}
