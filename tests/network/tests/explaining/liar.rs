//! Somebody who says to have everything, and has nothing.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use zeroshare_network::Host;
use zeroshare_testkit::Peer;
use zeroshare_wire::{
    AtMost,
    datagram::{
        Alive, Answer, Body, Datagram, Echo, GroupKey, Holding, HoldingState, NodeId, decode,
        encode,
    },
};

const PORT: u16 = 38339;

/// Where everybody is asked.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0x95, 0xc3);

/// It says so by datagram, and its store, in the clear, has nothing when asked.
#[derive(Debug)]
pub(crate) struct Liar {
    end: mpsc::Sender<()>,
    lying: JoinHandle<Result<()>>,
}

impl Liar {
    /// Starts one in place of a host's node, with the key of a group.
    pub(crate) fn start(host: &Host, group: GroupKey) -> Result<Self> {
        host.must("ip", &["route", "add", "224.0.0.0/4", "dev", "eth0"])?;
        let own = host.address().parse()?;
        let (end, ended) = mpsc::channel();
        let (ready, begun) = mpsc::channel();
        let lying = host.inside(move || lie(own, &group, &ready, &ended))?;
        begun.recv().context("the liar did not start")?;
        Ok(Self { end, lying })
    }

    /// Ends it, and tells whether it went well so far.
    pub(crate) fn end(self) -> Result<()> {
        drop(self.end);
        let ended = self.lying.join();
        ended.map_err(|_| anyhow!("the liar ended badly"))?
    }
}

fn lie(
    own: Ipv4Addr,
    group: &GroupKey,
    ready: &mpsc::Sender<()>,
    ended: &mpsc::Receiver<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    listener.set_nonblocking(true)?;
    let _store = Peer::listening(listener, [], []);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    socket.set_ttl(255)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.join_multicast_v4(&GROUP, &own)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.send_to(&said(alive(), group), (GROUP, PORT))?;
    ready.send(())?;
    while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
        let mut buffer = [0; 2048];
        let Ok((len, source)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        answer(&socket, group, (&buffer[..len], source))?;
    }
    Ok(())
}

fn answer(
    socket: &UdpSocket,
    group: &GroupKey,
    (bytes, source): (&[u8], SocketAddr),
) -> Result<()> {
    let Ok(heard) = decode(bytes, group) else {
        return Ok(());
    };
    let reply = if let Body::Query(query) = heard.body {
        let holdings = query.tags.iter().map(|tag| Holding {
            tag: *tag,
            part: 255,
            state: HoldingState::Held,
        });
        Body::Answer(Answer {
            nonce: query.nonce,
            day: query.day,
            held_back: None,
            holdings: AtMost::first(holdings),
        })
    } else if let Body::Echo(Echo {
        nonce,
        reply: false,
    }) = heard.body
    {
        Body::Echo(Echo { nonce, reply: true })
    } else {
        return Ok(());
    };
    let to = SocketAddr::new(source.ip(), heard.unicast_port);
    socket.send_to(&said(reply, group), to)?;
    Ok(())
}

fn alive() -> Body {
    Body::Alive(Alive {
        ttl: Duration::from_mins(4),
        known_nodes: 1,
        filter: None,
    })
}

fn said(body: Body, group: &GroupKey) -> Vec<u8> {
    let datagram = Datagram {
        node: NodeId::from_bytes([7; 16]),
        incarnation: 1,
        sequence: 1,
        store_port: PORT,
        unicast_port: PORT,
        trace: None,
        body,
    };
    encode(&datagram, group, None)
}
