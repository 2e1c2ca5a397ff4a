//! UDP sockets.
//!
//! Everybody is spoken to on one port, on which every node of a machine listens: each road of each interface has a
//! socket of its own there, bound to the device and to the group's or broadcast address, so that it receives what was
//! sent that way and nothing else, and sends without a route. What is meant for one node alone comes to its own
//! unicast socket, on the same port if no other node of the machine has it.
//!
//! Every socket has a filter in the kernel that drops what crossed a router: see `hops`. Nothing is sent to a neighbour
//! whose way leads into another network: see `way`.

mod group;
mod hops;
mod unicast;
mod way;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use tracing::{debug, warn};
use zeroshare_chassis::Lifetime;
use zeroshare_membership::{Arrival, Destination, Interface, Road, Transmit};

use self::group::GroupSocket;
pub(crate) use self::unicast::UnicastSockets;
use crate::interfaces::UsableInterface;

/// The IPv4 group: in the site-local part of the administratively scoped addresses (RFC 2365), which routers do not
/// carry beyond a site; its last bytes are the port's, 38339 = 0x95c3.
pub const GROUP4: Ipv4Addr = Ipv4Addr::new(239, 255, 0x95, 0xc3);

/// The IPv6 group: link-local, and marked as assigned by nobody (RFC 4291); "zs" and the port.
pub const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x7a73, 0x95c3);

/// More than the longest datagram, so that a longer one is seen to be too long.
const RECEIVE_BYTES: usize = 2048;

/// A road that does not work is opened anew after this, then more slowly.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What came in, and how.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) arrival: Arrival,
    pub(crate) bytes: Vec<u8>,
}

/// Where what comes in is put; waits when it is full, and then the kernel drops.
pub(crate) type Inbox = tokio::sync::mpsc::Sender<Incoming>;

/// All sockets of this node.
#[derive(Debug)]
pub(crate) struct Sockets {
    group_port: u16,
    unicast: UnicastSockets,
    inbox: Inbox,
    lifetime: Lifetime,
    interfaces: Vec<UsableInterface>,
    roads: BTreeMap<(u32, Road), RoadState>,
    /// What the machine was last told.
    told: Vec<Interface>,
    /// Datagrams that the system took.
    sent: u64,
    /// Whether what 0share says by broadcast is let in.
    hears_0share: bool,
}

#[derive(Debug)]
enum RoadState {
    Open {
        sockets: Vec<GroupSocket>,
        /// How long it was last waited for, until something was sent by it again.
        pause: Option<Duration>,
    },
    Broken {
        retry_at: Instant,
        pause: Duration,
        /// Why, in the system's words.
        error: String,
    },
}

/// What came of sending a datagram.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// What the machine is to know, if a road broke over it.
    pub(crate) news: Option<Vec<Interface>>,
    /// Why the system did not take it; the last time, where it goes out several times.
    pub(crate) refusal: Option<io::Error>,
}

impl Sockets {
    pub(crate) fn new(
        group_port: u16,
        unicast: UnicastSockets,
        inbox: Inbox,
        lifetime: Lifetime,
    ) -> io::Result<Self> {
        unicast.receive(&inbox, &lifetime)?;
        Ok(Self {
            group_port,
            unicast,
            inbox,
            lifetime,
            interfaces: Vec::new(),
            roads: BTreeMap::new(),
            told: Vec::new(),
            sent: 0,
            hears_0share: false,
        })
    }

    /// Lets in what 0share says by broadcast, also from programs that do not know how far they are.
    #[must_use]
    pub(crate) fn hearing_0share(self, hears_0share: bool) -> Self {
        Self {
            hears_0share,
            ..self
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn interfaces(&self) -> &[UsableInterface] {
        &self.interfaces
    }

    /// The roads that work on an interface.
    pub(crate) fn working_roads(&self, index: u32) -> Vec<Road> {
        self.roads
            .iter()
            .filter(|((at, _), state)| *at == index && matches!(state, RoadState::Open { .. }))
            .map(|((_, road), _)| *road)
            .collect()
    }

    /// The roads that do not work, and why.
    pub(crate) fn broken_roads(&self) -> Vec<(u32, Road, String)> {
        let roads = self.roads.iter();
        let broken = roads.filter_map(|((index, road), state)| match state {
            RoadState::Open { .. } => None,
            RoadState::Broken { error, .. } => Some((*index, *road, error.clone())),
        });
        broken.collect()
    }

    /// Takes in the interfaces: opens and closes what changed. The result is what the machine is to know of them.
    pub(crate) fn set_interfaces(
        &mut self,
        now: Instant,
        interfaces: Vec<UsableInterface>,
    ) -> Vec<Interface> {
        // Memberships end with an interface, and a changed one may have new broadcast addresses.
        let before = std::mem::replace(&mut self.interfaces, interfaces);
        let kept = |index: u32| {
            let of = |list: &[UsableInterface]| list.iter().find(|one| one.index == index).cloned();
            let new = of(&self.interfaces);
            new.is_some() && of(&before) == new
        };
        self.roads.retain(|(index, _), _| kept(*index));
        if let Err(error) = self.unicast.set_neighbours(&self.interfaces) {
            warn!(%error, "cannot watch hop limits; neighbours are not heard by unicast");
        }
        self.open_missing(now);
        self.told = self.described();
        self.told.clone()
    }

    /// When a broken road is to be opened again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.roads
            .values()
            .filter_map(|state| match state {
                RoadState::Open { .. } => None,
                RoadState::Broken { retry_at, .. } => Some(*retry_at),
            })
            .min()
    }

    /// Opens broken roads whose time has come. The result is what the machine is to know, if that changed.
    pub(crate) fn retry(&mut self, now: Instant) -> Option<Vec<Interface>> {
        self.open_missing(now);
        self.news()
    }

    /// What the machine is to know, if that is not what it was told.
    fn news(&mut self) -> Option<Vec<Interface>> {
        let described = self.described();
        (described != self.told).then(|| {
            self.told.clone_from(&described);
            described
        })
    }

    fn described(&self) -> Vec<Interface> {
        let describe = |one: &UsableInterface| Interface {
            index: one.index,
            subnets: one.subnets(),
            roads: self.working_roads(one.index).into_iter().collect(),
        };
        self.interfaces.iter().map(describe).collect()
    }

    fn open_missing(&mut self, now: Instant) {
        let wanted: Vec<(UsableInterface, Road)> = self
            .interfaces
            .iter()
            .flat_map(|one| one.roads.iter().map(|road| (one.clone(), *road)))
            .collect();
        for (interface, road) in wanted {
            let key = (interface.index, road);
            let pause = match self.roads.get(&key) {
                Some(RoadState::Open { .. }) => continue,
                Some(RoadState::Broken { retry_at, .. }) if *retry_at > now => continue,
                Some(RoadState::Broken { pause, .. }) => Some(*pause),
                None => None,
            };
            let opened = group::open(&interface, road, self.group_port, self.hears_0share)
                .and_then(|sockets| self.receive(sockets, &interface, road));
            let state = match opened {
                Ok(sockets) => {
                    debug!(interface = %interface.name, road = road.name(), "road opened");
                    RoadState::Open { sockets, pause }
                }
                Err(error) => broken(now, pause, &interface.name, road, &error),
            };
            self.roads.insert(key, state);
        }
    }

    fn receive(
        &self,
        mut sockets: Vec<GroupSocket>,
        interface: &UsableInterface,
        road: Road,
    ) -> io::Result<Vec<GroupSocket>> {
        for socket in &mut sockets {
            socket.receive(interface.index, road, &self.inbox, &self.lifetime)?;
        }
        Ok(sockets)
    }

    /// Sends a datagram. What cannot be sent is lost, as on the way.
    pub(crate) fn send(&mut self, now: Instant, transmit: &Transmit) -> Sent {
        let payload = &transmit.payload;
        match transmit.destination {
            Destination::One(address) => {
                let sent = self
                    .check_way(address)
                    .and_then(|()| self.unicast.send(address, payload));
                let refusal = sent.err();
                self.sent += u64::from(refusal.is_none());
                Sent {
                    news: None,
                    refusal,
                }
            }
            Destination::Everybody { interface, road } => {
                self.send_to_all(now, (interface, road), payload)
            }
        }
    }

    /// Fails where the system's routes lead to a neighbour through a network that is not in use.
    pub(crate) fn check_way(&self, to: SocketAddr) -> io::Result<()> {
        way::check(to, &self.interfaces)
    }

    fn send_to_all(&mut self, now: Instant, key: (u32, Road), payload: &[u8]) -> Sent {
        let Some(RoadState::Open { sockets, pause }) = self.roads.get_mut(&key) else {
            return Sent::default();
        };
        let (mut failure, mut passing) = (None, None);
        let mut any_sent = false;
        for socket in sockets {
            match socket.send(payload) {
                Ok(()) => {
                    self.sent += 1;
                    any_sent = true;
                }
                Err(error) if is_passing(&error) => passing = Some(error),
                Err(error) => failure = Some(error),
            }
        }
        let Some(error) = failure else {
            if any_sent {
                *pause = None;
            }
            return Sent {
                news: None,
                refusal: passing,
            };
        };
        let (interface, road) = key;
        let name = self.interfaces.iter().find(|one| one.index == interface);
        let name = name.map_or("?", |one| one.name.as_str());
        let state = broken(now, *pause, name, road, &error);
        self.roads.insert(key, state);
        Sent {
            news: self.news(),
            refusal: Some(error),
        }
    }
}

/// A road that does not work: said once, tried for ever.
fn broken(
    now: Instant,
    pause: Option<Duration>,
    interface: &str,
    road: Road,
    error: &io::Error,
) -> RoadState {
    if pause.is_none() {
        warn!(interface, road = road.name(), %error, "road does not work; trying again");
    }
    let pause = pause.map_or(FIRST_RETRY, |pause| (pause * 2).min(LAST_RETRY));
    RoadState::Broken {
        retry_at: now + pause,
        pause,
        error: error.to_string(),
    }
}

/// A full queue, a firewall's refusal, or an IPv6 address that is not checked for duplicates yet: the socket itself is
/// sound.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

/// Reads a socket until its lifetime stops.
async fn receive_from(
    socket: tokio::net::UdpSocket,
    interface: Option<u32>,
    road: Road,
    inbox: Inbox,
) {
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        let Ok((len, source)) = socket.recv_from(&mut buffer).await else {
            // What an earlier datagram met on its way comes back as an error here, and is gone once it was read. A
            // socket whose interface is gone fails again and again, and is closed soon.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let arrival = Arrival {
            source,
            interface,
            road,
            // The kernel's filter let nothing else through where this matters.
            ttl: Some(u8::MAX),
        };
        let bytes = buffer[..len].to_vec();
        if inbox.send(Incoming { arrival, bytes }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
