//! Whom a store serves: networks that are directly connected, and those named.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Deserializer};
use tracing::warn;

use crate::settings::{LeftAlone, parsed};

/// How old the list of interfaces may be: a peer that asks just after a cable was plugged in waits at most that long.
const REFRESH: Duration = Duration::from_secs(3);

/// A range of addresses, such as `10.0.0.0/8`, `fe80::/10`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The first address; its bits after the prefix are zero.
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a network such as 192.168.1.0/24, fd00::/8 or 10.1.2.3")]
pub struct NetworkError {
    text: String,
}

impl Network {
    /// The network with this prefix that an address lies in; a longer prefix than the address means the address alone.
    pub fn of(address: IpAddr, prefix: u8) -> Self {
        match address {
            IpAddr::V4(address) => {
                let prefix = prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Self {
                    base: Ipv4Addr::from_bits(address.to_bits() & mask).into(),
                    prefix,
                }
            }
            IpAddr::V6(address) => {
                let prefix = prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Self {
                    base: Ipv6Addr::from_bits(address.to_bits() & mask).into(),
                    prefix,
                }
            }
        }
    }

    /// Says whether an address lies in it; an IPv4 address mapped into IPv6 counts as what it stands for.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && Self::of(address, self.prefix).base == self.base
    }

    /// The first address.
    pub fn base(&self) -> IpAddr {
        self.base
    }

    /// How many leading bits all its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let refused = || NetworkError {
            text: text.to_owned(),
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let Some(prefix) = prefix else {
            return Ok(Self::of(address, longest));
        };
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        match prefix.parse::<u8>() {
            Ok(prefix) if digits && prefix <= longest => Ok(Self::of(address, prefix)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// Lists the networks that a machine's interfaces are in.
type Listing = dyn Fn() -> io::Result<Vec<Network>> + Send + Sync;

/// Who may read from this machine: loopback, directly connected networks, and those named.
pub struct ReadableNetworks {
    named: Vec<Network>,
    left_alone: LeftAlone,
    listing: Box<Listing>,
    changing: Mutex<Changing>,
}

#[derive(Default)]
struct Changing {
    connected: Vec<Network>,
    listed_at: Option<Instant>,
    friends: BTreeSet<IpAddr>,
}

impl ReadableNetworks {
    /// The networks of this machine's interfaces but those that are left alone, and these.
    pub fn new(named: Vec<Network>, left_alone: LeftAlone) -> Self {
        let listed = left_alone.clone();
        Self {
            left_alone,
            ..Self::with_listing(named, Box::new(move || connected_networks(&listed)))
        }
    }

    /// The same with another source for what is connected.
    pub fn with_listing(named: Vec<Network>, listing: Box<Listing>) -> Self {
        Self {
            named,
            left_alone: LeftAlone::default(),
            listing,
            changing: Mutex::default(),
        }
    }

    /// Lets these single addresses in as well, instead of those given before: static peers, as they resolve now.
    pub fn set_friends(&self, friends: impl IntoIterator<Item = IpAddr>) {
        let friends = friends
            .into_iter()
            .map(|address| address.to_canonical())
            .collect();
        self.lock().friends = friends;
    }

    /// Says whether a machine with this address may read.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allows_at(Instant::now(), address)
    }

    fn allows_at(&self, now: Instant, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_near = is_link_local(address) && self.left_alone == LeftAlone::default();
        if address.is_loopback() || is_near || is_link_local6(address) {
            return true;
        }
        if self.named.iter().any(|network| network.contains(address)) {
            return true;
        }
        let mut changing = self.lock();
        if changing.friends.contains(&address) {
            return true;
        }
        let old = changing
            .listed_at
            .is_none_or(|at| now.saturating_duration_since(at) >= REFRESH);
        if old {
            changing.listed_at = Some(now);
            match (self.listing)() {
                Ok(connected) => changing.connected = connected,
                Err(error) => warn!(%error, "cannot list the network interfaces"),
            }
        }
        changing
            .connected
            .iter()
            .any(|network| network.contains(address))
    }

    /// Says whether a machine that speaks from here may read: a link-local address says on which interface it is.
    pub fn allows_from(&self, peer: SocketAddr) -> bool {
        self.allows(peer.ip()) && !self.is_left_alone(peer)
    }

    fn is_left_alone(&self, peer: SocketAddr) -> bool {
        let SocketAddr::V6(peer) = peer else {
            return false;
        };
        let is_asked = peer.ip().is_unicast_link_local() && peer.scope_id() != 0;
        if !is_asked || self.left_alone == LeftAlone::default() {
            return false;
        }
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let scope = Some(peer.scope_id());
        let on_it = || interfaces.iter().filter(move |one| one.index == scope);
        let ips: Vec<IpAddr> = on_it().map(if_addrs::Interface::ip).collect();
        // An interface that is gone, or cannot be looked at, is nobody's to read by.
        on_it()
            .next()
            .is_none_or(|one| self.left_alone.reason(&one.name, &ips).is_some())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReadableNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadableNetworks")
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

/// Link-local addresses cannot come from further away than the next cable.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(_) => is_link_local6(address),
    }
}

fn is_link_local6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The networks that this machine's interfaces are in, but for loopback and those that are left alone.
pub fn connected_networks(left_alone: &LeftAlone) -> io::Result<Vec<Network>> {
    let all = if_addrs::get_if_addrs()?;
    let is_left_alone = |one: &if_addrs::Interface| {
        let of_same = all.iter().filter(|other| other.name == one.name);
        let ips: Vec<IpAddr> = of_same.map(if_addrs::Interface::ip).collect();
        left_alone.reason(&one.name, &ips).is_some()
    };
    let networks = all
        .iter()
        .filter(|interface| !interface.is_loopback() && !is_left_alone(interface))
        .map(|interface| match &interface.addr {
            if_addrs::IfAddr::V4(v4) => Network::of(v4.ip.into(), prefix_of(v4.netmask.into())),
            if_addrs::IfAddr::V6(v6) => Network::of(v6.ip.into(), prefix_of(v6.netmask.into())),
        })
        // An interface with an empty mask claims the whole world.
        .filter(|network| network.prefix > 0)
        .collect();
    Ok(networks)
}

fn prefix_of(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read_and_written() {
        for (text, written) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd12:3456::1/16", "fd12::/16"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).to_string(), written);
            assert_eq!(network(written), network(text));
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::/129",
            "eth0",
            "1/2/3",
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.to_string().contains("192.168.1.0/24"), "{text}");
        }
    }

    #[test]
    fn a_network_contains_what_shares_its_prefix() {
        assert!(network("172.28.1.0/24").contains(address("172.28.1.255")));
        assert!(!network("172.28.1.0/24").contains(address("172.28.2.0")));
        assert!(network("0.0.0.0/0").contains(address("255.1.1.1")));
        assert!(!network("0.0.0.0/0").contains(address("::1")));
        assert!(network("fd00::/8").contains(address("fdff::1")));
        assert!(network("172.28.1.0/24").contains(address("::ffff:172.28.1.9")));
    }

    #[test]
    fn strangers_are_refused_and_neighbours_are_not() {
        let readable = ReadableNetworks::with_listing(
            vec![network("10.9.0.0/16")],
            Box::new(|| Ok(vec![network("192.168.1.7/24"), network("2001:db8::1/64")])),
        );
        for neighbour in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "192.168.1.200",
            "::ffff:192.168.1.200",
            "2001:db8::77",
            "fe80::1",
            "169.254.3.4",
            "10.9.3.3",
        ] {
            assert!(readable.allows(address(neighbour)), "{neighbour}");
        }
        for stranger in [
            "192.168.2.1",
            "8.8.8.8",
            "2001:db8:1::1",
            "::ffff:8.8.8.8",
            "10.8.0.1",
        ] {
            assert!(!readable.allows(address(stranger)), "{stranger}");
        }
    }

    #[test]
    fn friends_are_let_in_until_others_take_their_place() {
        let readable = ReadableNetworks::with_listing(Vec::new(), Box::new(|| Ok(Vec::new())));
        assert!(!readable.allows(address("8.8.8.8")));
        readable.set_friends([address("::ffff:8.8.8.8")]);
        assert!(readable.allows(address("8.8.8.8")));
        readable.set_friends([]);
        assert!(!readable.allows(address("8.8.8.8")));
    }

    #[test]
    fn interfaces_are_listed_anew_and_not_too_often() {
        let listings = Arc::new(AtomicUsize::new(0));
        let counted = listings.clone();
        let listing = move || match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Vec::new()),
            1 => Ok(vec![network("10.0.0.0/8")]),
            _ => Err(io::Error::other("no more")),
        };
        let readable = ReadableNetworks::with_listing(Vec::new(), Box::new(listing));
        let start = Instant::now();
        let peer = address("10.1.1.1");
        assert!(!readable.allows_at(start, peer));
        assert!(!readable.allows_at(start + REFRESH / 2, peer));
        assert_eq!(listings.load(Ordering::Relaxed), 1);
        assert!(readable.allows_at(start + REFRESH, peer));
        assert!(
            readable.allows_at(start + 3 * REFRESH, peer),
            "an old list is better than none"
        );
        assert_eq!(listings.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn interfaces_that_are_left_alone_let_nobody_read() {
        let all: LeftAlone = LeftAlone {
            excluded: vec!["*".parse().unwrap()],
            ..LeftAlone::default()
        };
        assert_eq!(connected_networks(&all).unwrap(), []);
        let readable = ReadableNetworks::new(Vec::new(), all);
        let near: SocketAddr = "[fe80::1%1]:1".parse().unwrap();
        assert!(!readable.allows_from(near));
        assert!(!readable.allows(address("169.254.3.4")));
        let open = ReadableNetworks::new(Vec::new(), LeftAlone::default());
        assert!(open.allows_from(near));
        assert!(open.allows(address("169.254.3.4")));
    }

    #[test]
    fn this_machines_interfaces_are_listed() {
        for network in connected_networks(&LeftAlone::default()).unwrap() {
            assert!(network.prefix() > 0);
            assert!(!network.base().is_loopback());
        }
    }
}
