//! The interfaces in use, and who is close enough to be spoken with.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::place::{Place, Subnet};

/// How a datagram travels. In the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Road {
    /// IPv4 multicast.
    Multicast4,
    /// IPv6 link-local multicast.
    Multicast6,
    /// IPv4 limited and subnet-directed broadcast.
    Broadcast,
    /// To one address.
    Unicast,
}

impl Road {
    /// Its name in interfaces and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Multicast4 => "multicast4",
            Self::Multicast6 => "multicast6",
            Self::Broadcast => "broadcast",
            Self::Unicast => "unicast",
        }
    }
}

/// A network interface that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it; not 0.
    pub index: u32,
    /// Its networks.
    pub subnets: BTreeSet<Subnet>,
    /// The roads to everybody that work on it; never `Unicast`.
    pub roads: BTreeSet<Road>,
}

/// How a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The address that it claims to come from.
    pub source: SocketAddr,
    /// The interface on which it came in, when that is known.
    pub interface: Option<u32>,
    /// The socket's road.
    pub road: Road,
    /// Its time to live or hop limit; `None` when the edge could not tell.
    pub ttl: Option<u8>,
}

/// The interfaces in use, and the networks and machines that may be spoken with.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    interfaces: BTreeMap<u32, Interface>,
    allowed: Vec<Subnet>,
    static_peers: BTreeSet<Place>,
}

impl Surroundings {
    pub(crate) fn new(allowed: Vec<Subnet>) -> Self {
        Self {
            allowed,
            ..Self::default()
        }
    }

    /// Takes in the interfaces, and says which are new or changed.
    pub(crate) fn set_interfaces(&mut self, interfaces: Vec<Interface>) -> Vec<u32> {
        let new: BTreeMap<u32, Interface> =
            interfaces.into_iter().map(|one| (one.index, one)).collect();
        let changed = new
            .values()
            .filter(|one| self.interfaces.get(&one.index) != Some(one))
            .map(|one| one.index)
            .collect();
        self.interfaces = new;
        changed
    }

    pub(crate) fn set_static_peers(&mut self, peers: impl Iterator<Item = Place>) {
        self.static_peers = peers.collect();
    }

    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values()
    }

    /// The interface by which a place is directly connected.
    pub(crate) fn interface_of(&self, place: &Place) -> Option<u32> {
        if place.scope() != 0 {
            return self.interfaces.get(&place.scope()).map(|one| one.index);
        }
        let mut indices = self.interfaces.keys().copied();
        indices.find(|index| self.is_on(*index, place))
    }

    /// Whether a place lies in a network of an interface.
    pub(crate) fn is_on(&self, interface: u32, place: &Place) -> bool {
        if place.scope() != 0 {
            return place.scope() == interface;
        }
        let interface = self.interfaces.get(&interface);
        interface.is_some_and(|one| one.subnets.iter().any(|net| net.contains(place.ip())))
    }

    /// Whether a place is a neighbour, a static peer, or in a network that was allowed.
    pub(crate) fn may_speak_with(&self, place: &Place) -> bool {
        place.is_one_machine()
            && (self.interface_of(place).is_some()
                || self.static_peers.contains(place)
                || self.allowed.iter().any(|net| net.contains(place.ip())))
    }

    /// Whether the time to live is what the way of arrival demands (RFC 5082).
    ///
    /// Who sends to a group or from a connected network is one hop away, and then nothing lowered it from 255.
    pub(crate) fn ttl_is_right(&self, arrival: &Arrival) -> bool {
        let direct = arrival.road != Road::Unicast
            || self.interface_of(&Place::of(arrival.source)).is_some();
        !direct || arrival.ttl == Some(u8::MAX)
    }
}

impl Interface {
    /// The roads on which everybody on an interface is reached, as far as is known.
    ///
    /// `needed` are the roads on which somebody is heard whom no earlier one reaches. While nobody is heard at all,
    /// every road is tried.
    pub(crate) fn roads_in_use(&self, needed: &BTreeSet<(u32, Road)>) -> Vec<Road> {
        let all = || self.roads.iter().copied();
        let used: Vec<Road> = all()
            .filter(|road| needed.contains(&(self.index, *road)))
            .collect();
        if used.is_empty() {
            return all().collect();
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lan(roads: &[Road]) -> Interface {
        Interface {
            index: 2,
            subnets: ["10.0.0.1/24", "fe80::1/64"]
                .map(|net| net.parse().unwrap())
                .into(),
            roads: roads.iter().copied().collect(),
        }
    }

    #[test]
    fn only_neighbours_static_peers_and_allowed_networks_are_spoken_with() {
        let mut surroundings = Surroundings::new(vec!["192.168.7.0/24".parse().unwrap()]);
        surroundings.set_interfaces(vec![lan(&[])]);
        let at = |text: &str| Place::of(text.parse().unwrap());
        surroundings.set_static_peers([at("203.0.113.9:1")].into_iter());
        for near in [
            "10.0.0.9:1",
            "192.168.7.3:1",
            "203.0.113.9:5",
            "[fe80::2%2]:1",
        ] {
            assert!(surroundings.may_speak_with(&at(near)), "{near}");
        }
        for far in [
            "10.0.1.9:1",
            "8.8.8.8:1",
            "[fe80::2%3]:1",
            "224.0.0.1:1",
            "0.0.0.0:1",
        ] {
            assert!(!surroundings.may_speak_with(&at(far)), "{far}");
        }
    }

    #[test]
    fn from_neighbours_only_a_ttl_of_255_counts() {
        let mut surroundings = Surroundings::new(vec!["192.168.7.0/24".parse().unwrap()]);
        surroundings.set_interfaces(vec![lan(&[])]);
        let arrival = |source: &str, road, ttl| Arrival {
            source: source.parse().unwrap(),
            interface: Some(2),
            road,
            ttl,
        };
        assert!(surroundings.ttl_is_right(&arrival("10.0.0.9:1", Road::Unicast, Some(255))));
        assert!(!surroundings.ttl_is_right(&arrival("10.0.0.9:1", Road::Unicast, Some(64))));
        assert!(!surroundings.ttl_is_right(&arrival("10.0.0.9:1", Road::Unicast, None)));
        assert!(!surroundings.ttl_is_right(&arrival("192.168.7.1:1", Road::Multicast4, None)));
        assert!(surroundings.ttl_is_right(&arrival("192.168.7.1:1", Road::Unicast, None)));
    }

    #[test]
    fn later_roads_are_taken_only_while_nobody_answers_on_earlier_ones() {
        let all = [Road::Multicast4, Road::Multicast6, Road::Broadcast];
        let interface = lan(&all);
        let used =
            |needed: &[(u32, Road)]| interface.roads_in_use(&needed.iter().copied().collect());
        assert_eq!(used(&[]), all);
        assert_eq!(used(&[(3, Road::Multicast4)]), all, "another interface");
        assert_eq!(used(&[(2, Road::Multicast4)]), [Road::Multicast4]);
        let some = [(2, Road::Multicast4), (2, Road::Broadcast)];
        assert_eq!(used(&some), [Road::Multicast4, Road::Broadcast]);
    }
}
