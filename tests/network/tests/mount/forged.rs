//! Questions in the name of a neighbour, who never asked them.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use zeroshare_content::{BlobId, ContentId, HashKind};
use zeroshare_network::Host;
use zeroshare_wire::{
    AtMost,
    datagram::{Body, Datagram, Day, DayKey, GroupKey, NodeId, Query, encode},
};

/// Where everybody is asked.
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 0x95, 0xc3), 38339);

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until it is dropped.
pub(crate) struct Forger {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Forger {
    /// Forges what that host's node would say if it looked for it too.
    pub(crate) fn start(host: &Host, id: &str) -> Result<Self> {
        let (node, tag) = (node_of(host)?, tag(id)?);
        let address: Ipv4Addr = host.address().parse()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = host.inside(move || {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_multicast_ttl_v4(255)?;
            let mut nonce = 1;
            while !until.load(Ordering::Relaxed) {
                nonce += 1;
                let query = Query {
                    nonce,
                    tags: AtMost::first([tag]),
                    day: today()?,
                    enough: 3,
                    spread: Duration::ZERO,
                    known_nodes: 2,
                    exclude: AtMost::default(),
                    round: 0,
                };
                let datagram = Datagram {
                    node,
                    incarnation: nonce,
                    sequence: nonce,
                    store_port: GROUP.1,
                    unicast_port: GROUP.1,
                    trace: None,
                    body: Body::Query(query),
                };
                socket.send_to(&encode(&datagram, &GroupKey::none(), None), GROUP)?;
                thread::sleep(PAUSE);
            }
            Ok(())
        })?;
        Ok(Self {
            is_over,
            thread: Some(thread),
        })
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The place of a host's node among those that look for something: the smallest goes first.
pub(crate) fn order(host: &Host, id: &str) -> Result<BlobId> {
    let mut bytes = node_of(host)?.as_bytes().to_vec();
    bytes.extend(tag(id)?.bits().to_be_bytes());
    Ok(BlobId::of(HashKind::Sha256, &bytes))
}

fn node_of(host: &Host) -> Result<NodeId> {
    let status = host.status()?;
    let node = status["discovery"]["node_id"].as_str();
    let node = node.with_context(|| format!("no node id in {status}"))?;
    Ok(node.parse()?)
}

fn tag(id: &str) -> Result<zeroshare_wire::datagram::Tag> {
    let id: ContentId = id.parse()?;
    Ok(DayKey::new(today()?, &GroupKey::none()).tag(&id))
}

fn today() -> Result<Day> {
    let seconds = jiff::Timestamp::now().as_second();
    Ok(Day::of_unix_seconds(u64::try_from(seconds)?))
}
