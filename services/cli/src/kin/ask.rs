//! Asks everybody in 0share's way.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use zeroshare_content::TreeId;
use zeroshare_kin::{MAX_REPLY_BYTES, Question};

/// Interfaces that are asked on.
const MOST_INTERFACES: usize = 64;

/// Those who reply and are believed: what they hold is tried one after the other.
const MOST_HEARD: usize = 8;

/// One question to a LAN, and the replies to it.
#[derive(Debug)]
pub(crate) struct Asking {
    socket: UdpSocket,
    question: Question,
    port: u16,
    until: Instant,
    heard: BTreeSet<IpAddr>,
}

impl Asking {
    /// Asks by broadcast on all interfaces but loopback; replies count for so long.
    pub(crate) async fn everybody(tree: TreeId, port: u16, patience: Duration) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.set_broadcast(true)?;
        let question = Question::of(&[tree]);
        let mut failure = None;
        let mut is_asked = false;
        for address in broadcast_addresses()? {
            match socket.send_to(&question.to_bytes(), (address, port)).await {
                Ok(_) => is_asked = true,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !is_asked => Err(error),
            Some(_) | None => Ok(Self {
                socket,
                question,
                port,
                until: Instant::now() + patience,
                heard: BTreeSet::new(),
            }),
        }
    }

    /// Where the next archive of it is said to be; nothing when enough time has passed. May be dropped midway.
    pub(crate) async fn next(&mut self) -> Option<SocketAddr> {
        // Longer ones are no replies.
        let mut reply = [0; MAX_REPLY_BYTES + 1];
        while self.heard.len() < MOST_HEARD {
            let received = timeout_at(self.until, self.socket.recv_from(&mut reply)).await;
            // What an earlier datagram met on its way comes back as an error here, once.
            let Ok((length, source)) = received.ok()? else {
                continue;
            };
            let reply = reply.get(..length).unwrap_or_default();
            if length > MAX_REPLY_BYTES || self.question.held_by(reply).is_empty() {
                continue;
            }
            if self.heard.insert(source.ip()) {
                return Some((source.ip(), self.port).into());
            }
        }
        None
    }
}

/// The networks' own addresses for all: that for every network is not sent anywhere where there is no default route.
fn broadcast_addresses() -> io::Result<BTreeSet<Ipv4Addr>> {
    let all = if_addrs::get_if_addrs()?;
    let addresses = all.iter().filter(|one| !one.is_loopback());
    let addresses = addresses.filter_map(|one| match &one.addr {
        if_addrs::IfAddr::V4(address) => address.broadcast.filter(|at| *at != address.ip),
        if_addrs::IfAddr::V6(_) => None,
    });
    Ok(addresses.take(MOST_INTERFACES).collect())
}
