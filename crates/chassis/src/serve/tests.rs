//! A server and those who mean it harm.

mod ending;
mod hostile;
mod polite;
mod probe;
mod tls;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time,
};
use tonic::service::Routes;

use self::probe::Probe;
use super::{Admission, Bounds, Entrance, Welcome, connection, serve_lan};
use crate::{Lifetime, listen::bind_lan};

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a peer gets in tests that wait for it to be cut off.
const SHORT: Duration = Duration::from_millis(200);

/// A server on the LAN, as far as loopback is one.
struct Server {
    lifetime: Lifetime,
    address: SocketAddr,
    served: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(bounds: Bounds) -> Self {
        Self::start_admitting(bounds, Arc::new(|_| Welcome::Served))
    }

    fn start_admitting(bounds: Bounds, admission: Admission) -> Self {
        Self::start_behind(bounds, admission.into())
    }

    fn start_behind(bounds: Bounds, entrance: Entrance) -> Self {
        let lifetime = Lifetime::new();
        let listeners = bind_lan(0, false).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        let routes = Routes::new(Probe);
        let server = lifetime.child();
        let serving = serve_lan(listeners, routes, bounds, entrance, server);
        let served = Lifetime::new().spawn("server", serving);
        Self {
            lifetime,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            served,
        }
    }

    /// Waits until the server has this many tasks, doors not counted.
    async fn settle(&self, tasks: usize) {
        until(|| self.lifetime.running() == tasks + doors()).await;
    }

    async fn end(self) {
        assert!(self.lifetime.end(DEADLINE).await);
        within(self.served).await.unwrap().unwrap();
    }
}

/// A client of HTTP/2 that does nothing by itself.
struct Client {
    sender: http2::SendRequest<Empty<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
    tasks: Lifetime,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).await.unwrap()).await
    }

    async fn on(
        io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let tasks = Lifetime::new();
        let executor = connection::Streams(tasks.clone());
        let (sender, connection) = http2::handshake(executor, TokioIo::new(io)).await.unwrap();
        let connection = tasks.spawn("client", connection);
        Self {
            sender,
            connection,
            tasks,
        }
    }

    async fn call(&mut self, method: &str) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        let request = Request::post(format!("http://test/test.Probe/{method}"));
        self.sender
            .send_request(request.body(Empty::new()).unwrap())
            .await
    }

    /// Waits until the server has hung up.
    async fn cut(self) {
        drop(within(self.connection).await.unwrap());
        drop(self.sender);
        assert!(self.tasks.end(DEADLINE).await);
    }
}

/// How many accept loops a server on the LAN has: IPv4, and IPv6 where there is any.
fn doors() -> usize {
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        2
    } else {
        1
    }
}

/// Connects from another address of loopback.
async fn connect_from(last: u8, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::from([127, 0, 1, last]), 0))?;
    socket.connect(to).await
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    time::timeout(DEADLINE, future)
        .await
        .expect("it took too long")
}

async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
