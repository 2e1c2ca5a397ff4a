//! Which of a machine's interfaces are used, and why the others are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use if_addrs::{IfAddr, IfOperStatus};
use zeroshare_chassis::settings::{AloneReason, LeftAlone};
use zeroshare_membership::{Road, Subnet};

use crate::settings::DiscoveryConfig;

/// Interfaces beyond this are left out: each takes four sockets.
const MOST_INTERFACES: usize = 64;

/// Bridges and virtual cables of containers and virtual machines; their LANs are not ours, unless they are named.
const OF_CONTAINERS: [&str; 10] = [
    "docker", "br-", "veth", "virbr", "lxcbr", "lxdbr", "podman", "cni", "flannel", "cali",
];

/// `IFF_MULTICAST` of `linux/if.h`.
const MULTICAST_FLAG: u32 = 0x1000;

/// An interface that is spoken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsableInterface {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Its addresses, with the networks they are in.
    pub(crate) addresses: BTreeSet<Subnet>,
    /// Its subnet-directed broadcast addresses.
    pub(crate) broadcasts: BTreeSet<Ipv4Addr>,
    /// The roads that are wanted and possible on it.
    pub(crate) roads: BTreeSet<Road>,
}

impl UsableInterface {
    /// The networks that it connects to directly.
    pub(crate) fn subnets(&self) -> BTreeSet<Subnet> {
        self.addresses.clone()
    }

    /// One of its IPv4 addresses.
    pub(crate) fn first_v4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|one| match one.address() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
    }
}

/// Why an interface is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unused {
    /// It is down, or has no carrier.
    Down,
    /// The configuration excludes it.
    Excluded,
    /// By its name it costs by volume, and the configuration leaves such ones alone.
    Metered,
    /// The configuration names others.
    NotNamed,
    /// It is the loopback interface.
    Loopback,
    /// It belongs to containers or virtual machines.
    Containers,
    /// It is a tunnel or a dialled line.
    PointToPoint,
    /// It carries no multicast.
    NoMulticast,
}

/// An interface of this machine, used or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Surveyed {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    /// Why it is not used; `None`: it is.
    pub(crate) unused: Option<Unused>,
}

/// What decides which interfaces are used.
#[derive(Debug, Clone)]
pub(crate) struct InterfaceChoice {
    left_alone: LeftAlone,
    roads: BTreeSet<Road>,
}

impl InterfaceChoice {
    pub(crate) fn of(config: &DiscoveryConfig) -> Self {
        Self {
            left_alone: config.left_alone.clone(),
            roads: config.roads.clone(),
        }
    }

    /// The usable ones among all addresses of this machine.
    pub(super) fn choose(&self, all: Vec<if_addrs::Interface>) -> Vec<UsableInterface> {
        by_index(all)
            .into_iter()
            .filter(|(_, addresses)| self.unused(addresses).is_none())
            .filter_map(|(index, addresses)| self.describe(index, &addresses))
            .take(MOST_INTERFACES)
            .collect()
    }

    /// All of them, at most 64, each with why it is not used.
    pub(super) fn survey(&self, all: Vec<if_addrs::Interface>) -> Vec<Surveyed> {
        let surveyed = by_index(all).into_iter().filter_map(|(index, addresses)| {
            Some(Surveyed {
                index,
                name: addresses.first()?.name.clone(),
                addresses: addresses.iter().map(|one| one.ip().to_string()).collect(),
                unused: self.unused(&addresses),
            })
        });
        surveyed.take(MOST_INTERFACES).collect()
    }

    fn unused(&self, addresses: &[if_addrs::Interface]) -> Option<Unused> {
        let first = addresses.first()?;
        let is_down = matches!(
            first.oper_status,
            IfOperStatus::Down | IfOperStatus::NotPresent | IfOperStatus::LowerLayerDown
        );
        if is_down {
            return Some(Unused::Down);
        }
        let ips: Vec<IpAddr> = addresses.iter().map(if_addrs::Interface::ip).collect();
        if let Some(reason) = self.left_alone.reason(&first.name, &ips) {
            return Some(match reason {
                AloneReason::Excluded => Unused::Excluded,
                AloneReason::Metered => Unused::Metered,
                AloneReason::NotNamed => Unused::NotNamed,
            });
        }
        if self.left_alone.is_named(&first.name, &ips) {
            return None;
        }
        let of_containers = OF_CONTAINERS
            .iter()
            .any(|prefix| first.name.starts_with(prefix));
        let by_default = [
            (first.is_loopback(), Unused::Loopback),
            (of_containers, Unused::Containers),
            (first.is_p2p, Unused::PointToPoint),
            (can_multicast(first) == Some(false), Unused::NoMulticast),
        ];
        let refused = by_default.into_iter().find(|(applies, _)| *applies);
        refused.map(|(_, unused)| unused)
    }

    fn describe(&self, index: u32, all: &[if_addrs::Interface]) -> Option<UsableInterface> {
        let first = all.first()?;
        let mut addresses = BTreeSet::new();
        let mut broadcasts = BTreeSet::new();
        for one in all {
            let (ip, prefix) = match &one.addr {
                IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.netmask.to_bits().leading_ones()),
                IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.netmask.to_bits().leading_ones()),
            };
            // An interface with an empty mask claims the whole world.
            let subnet = u8::try_from(prefix).ok().filter(|prefix| *prefix > 0);
            addresses.extend(subnet.and_then(|prefix| Subnet::new(ip, prefix).ok()));
            if let IfAddr::V4(v4) = &one.addr {
                broadcasts.extend(
                    v4.broadcast
                        .filter(|at| *at != Ipv4Addr::BROADCAST && *at != v4.ip),
                );
            }
        }
        let has = |of_v4: bool| addresses.iter().any(|one| one.address().is_ipv4() == of_v4);
        let possible = |road: &Road| match road {
            Road::Multicast4 => has(true),
            // Loopback has no route for it.
            Road::Multicast6 => has(false) && !first.is_loopback(),
            Road::Broadcast => has(true) && !first.is_loopback() && !broadcasts.is_empty(),
            Road::Unicast => false,
        };
        Some(UsableInterface {
            index,
            name: first.name.clone(),
            roads: self.roads.iter().copied().filter(possible).collect(),
            addresses,
            broadcasts,
        })
    }
}

fn by_index(all: Vec<if_addrs::Interface>) -> BTreeMap<u32, Vec<if_addrs::Interface>> {
    let mut by_index: BTreeMap<u32, Vec<if_addrs::Interface>> = BTreeMap::new();
    for one in all {
        if let Some(index) = one.index.filter(|index| *index != 0) {
            by_index.entry(index).or_default().push(one);
        }
    }
    by_index
}

/// Whether the kernel says that the interface carries multicast; `None` where that cannot be told.
fn can_multicast(interface: &if_addrs::Interface) -> Option<bool> {
    let dir = std::path::Path::new("/sys/class/net").join(&interface.name);
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).ok();
    // In another network namespace's /sys the same name may be another interface.
    let index: u32 = read("ifindex")?.trim().parse().ok()?;
    if Some(index) != interface.index {
        return None;
    }
    let flags = read("flags")?;
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).ok()?;
    Some(flags & MULTICAST_FLAG != 0)
}

#[cfg(test)]
mod tests {
    use if_addrs::{Ifv4Addr, Ifv6Addr};

    use super::*;

    fn v4(name: &str, index: u32, ip: &str) -> if_addrs::Interface {
        let ip: Ipv4Addr = ip.parse().unwrap();
        let loopback = ip.is_loopback();
        let netmask = Ipv4Addr::from_bits(u32::MAX << if loopback { 24 } else { 8 });
        if_addrs::Interface {
            name: name.to_owned(),
            addr: IfAddr::V4(Ifv4Addr {
                ip,
                netmask,
                prefixlen: if loopback { 8 } else { 24 },
                broadcast: (!loopback).then(|| Ipv4Addr::from_bits(ip.to_bits() | 0xff)),
            }),
            index: Some(index),
            oper_status: IfOperStatus::Up,
            is_p2p: name.starts_with("tun"),
        }
    }

    fn v6(name: &str, index: u32, ip: &str) -> if_addrs::Interface {
        if_addrs::Interface {
            addr: IfAddr::V6(Ifv6Addr {
                ip: ip.parse().unwrap(),
                netmask: "ffff:ffff:ffff:ffff::".parse().unwrap(),
                prefixlen: 64,
                broadcast: None,
            }),
            ..v4(name, index, "10.0.0.1")
        }
    }

    fn machine() -> Vec<if_addrs::Interface> {
        vec![
            v4("lo", 9001, "127.0.0.1"),
            v4("eth0", 9002, "192.168.1.7"),
            v6("eth0", 9002, "fe80::7"),
            v4("eth1", 9003, "172.28.9.7"),
            v4("tun0", 9004, "10.8.0.2"),
            v4("docker0", 9005, "172.17.0.1"),
            v4("br-12ab", 9006, "172.18.0.1"),
            v6("wlan0", 9007, "fd00::7"),
        ]
    }

    fn chosen(named: &[&str], excluded: &[&str]) -> Vec<String> {
        let names = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let choice = InterfaceChoice {
            left_alone: LeftAlone {
                named: names(named),
                excluded: names(excluded),
                metered: false,
            },
            roads: [Road::Multicast4, Road::Multicast6, Road::Broadcast].into(),
        };
        choice
            .choose(machine())
            .into_iter()
            .map(|one| one.name)
            .collect()
    }

    #[test]
    fn all_but_loopback_tunnels_and_container_bridges_are_used_by_default() {
        assert_eq!(chosen(&[], &[]), ["eth0", "eth1", "wlan0"]);
        assert_eq!(chosen(&[], &["eth1", "fd00::/8"]), ["eth0"]);
    }

    #[test]
    fn what_is_named_is_used_and_nothing_else() {
        assert_eq!(chosen(&["172.28.9.0/24"], &[]), ["eth1"]);
        assert_eq!(chosen(&["docker0", "lo"], &[]), ["lo", "docker0"]);
        assert_eq!(chosen(&["eth0", "eth1"], &["192.168.0.0/16"]), ["eth1"]);
        assert!(chosen(&["eth9"], &[]).is_empty());
    }

    #[test]
    fn every_interface_is_surveyed_with_why_it_is_not_used() {
        let choice = InterfaceChoice {
            left_alone: LeftAlone {
                named: Vec::new(),
                excluded: vec!["wlan*".parse().unwrap()],
                metered: true,
            },
            roads: BTreeSet::new(),
        };
        let mut all = machine();
        all.push(v4("wwan0", 9008, "100.64.0.7"));
        all.push(if_addrs::Interface {
            oper_status: IfOperStatus::Down,
            ..v4("eth2", 9009, "192.168.2.7")
        });
        let surveyed = choice.survey(all.clone());
        let unused: Vec<_> = surveyed
            .iter()
            .map(|one| (one.name.as_str(), one.unused))
            .collect();
        let expected = [
            ("lo", Some(Unused::Loopback)),
            ("eth0", None),
            ("eth1", None),
            ("tun0", Some(Unused::PointToPoint)),
            ("docker0", Some(Unused::Containers)),
            ("br-12ab", Some(Unused::Containers)),
            ("wlan0", Some(Unused::Excluded)),
            ("wwan0", Some(Unused::Metered)),
            ("eth2", Some(Unused::Down)),
        ];
        assert_eq!(unused, expected);
        let named = InterfaceChoice {
            left_alone: LeftAlone {
                named: vec!["wwan0".parse().unwrap()],
                ..choice.left_alone
            },
            ..choice
        };
        let used: Vec<_> = named.choose(all).into_iter().map(|one| one.name).collect();
        assert_eq!(used, ["wwan0"], "whoever names it wants it");
    }

    #[test]
    fn an_interface_has_the_roads_that_its_addresses_allow() {
        let choice = InterfaceChoice {
            left_alone: LeftAlone::default(),
            roads: [Road::Multicast4, Road::Multicast6, Road::Broadcast].into(),
        };
        let chosen = choice.choose(machine());
        let [eth0, eth1, wlan0] = chosen.as_slice() else {
            panic!("{chosen:?}")
        };
        assert_eq!(eth0.roads.len(), 3);
        assert_eq!(eth0.broadcasts, [Ipv4Addr::new(192, 168, 1, 255)].into());
        assert_eq!(eth1.roads, [Road::Multicast4, Road::Broadcast].into());
        assert_eq!(wlan0.roads, [Road::Multicast6].into());
        assert!(eth0.subnets().contains(&"192.168.1.7/24".parse().unwrap()));
    }
}
