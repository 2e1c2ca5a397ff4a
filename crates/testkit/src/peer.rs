//! Peers on loopback, honest and otherwise.

mod fault;
mod record;
mod sending;
mod service;
mod wanted;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender},
    },
    time::Duration,
};

use rustix::net::{Shutdown, shutdown, sockopt::set_socket_linger};
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::transport::Server;
use zeroshare_api::rpc::store::v1::store_service_server::StoreServiceServer;
use zeroshare_chassis::Lifetime;
use zeroshare_content::ContentId;

use self::service::Store;
pub use self::{
    fault::{Fault, HeaderLie, Which},
    record::{Call, Method, Record, Sent},
};
use crate::{Offered, loopback_listener};

/// A store on loopback that serves what it is given, with the faults it is told, and keeps a record.
///
/// Ends when it is dropped.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Names of lists, by content, file and what is wrong with them.
type ListDigests = BTreeMap<(ContentId, u32, Option<u8>), Option<[u8; 32]>>;

/// What the handlers and the test both see.
#[derive(Debug)]
struct Shared {
    lifetime: Lifetime,
    contents: Mutex<BTreeMap<ContentId, Arc<Offered>>>,
    faults: Mutex<Vec<Fault>>,
    record: Mutex<Record>,
    /// Names of lists, by content, file and what is wrong with them.
    list_digests: Mutex<ListDigests>,
    connections: Mutex<Vec<OwnedFd>>,
}

impl Peer {
    /// Starts a peer without faults. Needs a tokio runtime.
    pub fn honest(contents: impl IntoIterator<Item = Offered>) -> Self {
        Self::faulty(contents, [])
    }

    /// Starts a peer with faults. Needs a tokio runtime.
    pub fn faulty(
        contents: impl IntoIterator<Item = Offered>,
        faults: impl IntoIterator<Item = Fault>,
    ) -> Self {
        Self::listening(loopback_listener(), contents, faults)
    }

    /// Starts a peer on a listener, which must be nonblocking.
    pub fn listening(
        listener: TcpListener,
        contents: impl IntoIterator<Item = Offered>,
        faults: impl IntoIterator<Item = Fault>,
    ) -> Self {
        let address = listener.local_addr().expect("a listener has an address");
        let contents = contents
            .into_iter()
            .map(|offered| (offered.id(), Arc::new(offered)));
        let shared = Arc::new(Shared {
            lifetime: Lifetime::new(),
            contents: Mutex::new(contents.collect()),
            faults: Mutex::new(faults.into_iter().collect()),
            record: Mutex::default(),
            list_digests: Mutex::default(),
            connections: Mutex::default(),
        });
        serve(listener, &shared);
        Self { address, shared }
    }

    /// Listens on a port of every address, on a runtime of its own, until the other end of `ended` is gone.
    ///
    /// # Errors
    ///
    /// If the port cannot be had.
    pub fn stay(
        port: u16,
        contents: impl IntoIterator<Item = Offered>,
        faults: impl IntoIterator<Item = Fault>,
        ready: &Sender<()>,
        ended: &Receiver<()>,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let _inside = runtime.enter();
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        listener.set_nonblocking(true)?;
        let peer = Self::listening(listener, contents, faults);
        // Whoever waits for it may have given up.
        ready.send(()).ok();
        ended.recv().ok();
        drop(peer);
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Offers more.
    pub fn offer(&self, offered: Offered) {
        lock(&self.shared.contents).insert(offered.id(), Arc::new(offered));
    }

    /// Offers something no more.
    pub fn withdraw(&self, id: &ContentId) {
        lock(&self.shared.contents).remove(id);
    }

    /// Behaves so from the next call on.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        *lock(&self.shared.faults) = faults.into_iter().collect();
    }

    /// What it served so far.
    pub fn record(&self) -> Record {
        lock(&self.shared.record).clone()
    }

    /// Breaks off all connections, as if its machine had lost power; new ones are taken.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Breaks off all connections and takes no new ones.
    pub fn kill(&self) {
        self.shared.lifetime.stop();
        self.shared.cut();
    }

    /// Says goodbye: ends what it is sending, and takes nothing new.
    pub fn leave(&self) {
        self.shared.lifetime.stop();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Shared {
    fn faults(&self) -> Vec<Fault> {
        lock(&self.faults).clone()
    }

    fn content(&self, id: &ContentId) -> Option<Arc<Offered>> {
        lock(&self.contents).get(id).cloned()
    }

    fn contents(&self) -> Vec<ContentId> {
        lock(&self.contents).keys().copied().collect()
    }

    fn cut(&self) {
        for connection in lock(&self.connections).drain(..) {
            // Without lingering the kernel sends a reset as soon as nobody has the socket any more.
            let _gone_already = set_socket_linger(&connection, Some(Duration::ZERO));
            let _gone_already = shutdown(&connection, Shutdown::Both);
        }
    }
}

fn serve(listener: TcpListener, shared: &Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a tokio runtime runs");
    let connections = Arc::clone(shared);
    let incoming = TcpListenerStream::new(listener).map(move |stream| {
        let stream = stream?;
        let descriptor = stream.as_fd().try_clone_to_owned()?;
        lock(&connections.connections).push(descriptor);
        Ok::<_, io::Error>(stream)
    });
    let store = StoreServiceServer::new(Store {
        shared: Arc::clone(shared),
    });
    let stopping = shared.lifetime.stopping();
    let server = Server::builder()
        .add_service(store)
        .serve_with_incoming_shutdown(incoming, stopping);
    shared.lifetime.spawn("peer of a test", server);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
