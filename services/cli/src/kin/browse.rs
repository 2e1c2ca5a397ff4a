//! Looks for Zero Install for .NET by mDNS.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use if_addrs::{IfAddr, Interface};
use mdns_sd::{IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, timeout_at};
use zeroshare_chassis::settings::LeftAlone;
use zeroshare_kin::DOTNET_SERVICE;

/// Addresses that are tried: an advert may say anything.
const MOST_HEARD: usize = 8;

/// One question to a LAN, and the adverts that answer it.
pub(crate) struct Browsing {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    until: Instant,
    networks: Vec<IfAddr>,
    heard: BTreeSet<SocketAddr>,
    waiting: VecDeque<SocketAddr>,
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrowseError {
    /// The interfaces cannot be listed.
    #[error("cannot list interfaces")]
    Interfaces(#[source] io::Error),
    /// The library cannot.
    #[error("cannot speak mDNS")]
    Mdns(#[source] mdns_sd::Error),
}

impl Browsing {
    /// Asks on all interfaces that are not left alone; adverts count for so long.
    pub(crate) fn begin(left_alone: &LeftAlone, patience: Duration) -> Result<Self, BrowseError> {
        let all = if_addrs::get_if_addrs().map_err(BrowseError::Interfaces)?;
        let used = used(all, left_alone);
        let names: BTreeSet<&str> = used.iter().map(|one| one.name.as_str()).collect();
        let kinds: Vec<IfKind> = names.into_iter().map(IfKind::from).collect();
        let daemon = ServiceDaemon::new().map_err(BrowseError::Mdns)?;
        let asked = daemon
            .disable_interface(IfKind::All)
            .and_then(|()| daemon.enable_interface(kinds))
            .and_then(|()| daemon.browse(DOTNET_SERVICE));
        let events = asked.map_err(BrowseError::Mdns)?;
        Ok(Self {
            daemon,
            events,
            until: Instant::now() + patience,
            networks: used.into_iter().map(|one| one.addr).collect(),
            heard: BTreeSet::new(),
            waiting: VecDeque::new(),
        })
    }

    /// Where the next one is said to serve; nothing when enough time has passed. May be dropped midway.
    pub(crate) async fn next(&mut self) -> Option<SocketAddr> {
        loop {
            if let Some(address) = self.waiting.pop_front() {
                return Some(address);
            }
            let event = timeout_at(self.until, self.events.recv_async()).await;
            if let ServiceEvent::ServiceResolved(service) = event.ok()?.ok()? {
                self.take_in(&service);
            }
        }
    }

    fn take_in(&mut self, service: &ResolvedService) {
        for address in addresses(service, &self.networks) {
            if self.heard.len() < MOST_HEARD && self.heard.insert(address) {
                self.waiting.push_back(address);
            }
        }
    }
}

impl Drop for Browsing {
    fn drop(&mut self) {
        // Its thread ends by itself soon after.
        let _ended = self.daemon.shutdown();
    }
}

/// The addresses of all interfaces that are not left alone; of loopback only when it is named.
fn used(all: Vec<Interface>, left_alone: &LeftAlone) -> Vec<Interface> {
    let mut by_name: BTreeMap<String, Vec<Interface>> = BTreeMap::new();
    for one in all {
        by_name.entry(one.name.clone()).or_default().push(one);
    }
    let is_used = |(name, addresses): &(String, Vec<Interface>)| {
        let ips: Vec<IpAddr> = addresses.iter().map(Interface::ip).collect();
        let is_loopback = addresses.iter().any(Interface::is_loopback);
        left_alone.reason(name, &ips).is_none() && (!is_loopback || left_alone.is_named(name, &ips))
    };
    let used = by_name.into_iter().filter(is_used);
    used.flat_map(|(_, addresses)| addresses).collect()
}

/// Where it serves, IPv4 first, as far as that is in these networks: an advert leads nobody anywhere else.
fn addresses(service: &ResolvedService, networks: &[IfAddr]) -> BTreeSet<SocketAddr> {
    let address = |ip: &ScopedIp| -> SocketAddr {
        match (ip.to_ip_addr(), ip) {
            (IpAddr::V6(v6), ScopedIp::V6(scoped)) if v6.is_unicast_link_local() => {
                SocketAddrV6::new(v6, service.port, 0, scoped.scope_id().index).into()
            }
            (ip, _) => (ip, service.port).into(),
        }
    };
    let near = service.addresses.iter().filter(|ip| {
        let ip = ip.to_ip_addr();
        service.port != 0 && networks.iter().any(|network| is_in(network, ip))
    });
    near.map(address).collect()
}

fn is_in(network: &IfAddr, ip: IpAddr) -> bool {
    match (network, ip) {
        (IfAddr::V4(v4), IpAddr::V4(ip)) => {
            (v4.ip.to_bits() ^ ip.to_bits()) & v4.netmask.to_bits() == 0
        }
        (IfAddr::V6(v6), IpAddr::V6(ip)) => {
            (v6.ip.to_bits() ^ ip.to_bits()) & v6.netmask.to_bits() == 0
        }
        (IfAddr::V4(_), IpAddr::V6(_)) | (IfAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use if_addrs::{Ifv4Addr, Ifv6Addr};

    use super::*;

    #[test]
    fn only_addresses_of_directly_connected_networks_are_tried() {
        let networks = [
            IfAddr::V4(Ifv4Addr {
                ip: Ipv4Addr::new(10, 0, 0, 1),
                netmask: Ipv4Addr::new(255, 255, 255, 0),
                prefixlen: 24,
                broadcast: None,
            }),
            IfAddr::V6(Ifv6Addr {
                ip: "fe80::1".parse().unwrap(),
                netmask: Ipv6Addr::from_bits(u128::MAX << 64),
                prefixlen: 64,
                broadcast: None,
            }),
        ];
        for (ip, is_near) in [
            ("10.0.0.77", true),
            ("10.0.1.77", false),
            ("8.8.8.8", false),
            ("127.0.0.1", false),
            ("fe80::77", true),
            ("2001:db8::1", false),
            ("::1", false),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            let found = networks.iter().any(|network| is_in(network, ip));
            assert_eq!(found, is_near, "{ip}");
        }
    }
}
