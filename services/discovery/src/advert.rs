//! Tells Zero Install for .NET where the store is, by mDNS.
//!
//! The protocol is the library's, with a thread of its own; here is where and when it speaks. It begins anew when the store or the
//! interfaces change, which is rare, and looks at no interface by itself.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use tokio::{sync::watch, time::timeout};
use tracing::{debug, info, warn};
use zeroshare_kin::DOTNET_SERVICE;
use zeroshare_membership::Road;
use zeroshare_wire::datagram::NodeId;

use crate::interfaces::UsableInterface;

/// How long the farewell may take.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// So many nodes of one network announce themselves: one question by mDNS is answered by all that do, at once.
const MOST_ADVERTS: u64 = 32;

/// Where this machine's store is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// 0: nowhere.
    port: u16,
    interfaces: Vec<UsableInterface>,
    /// Others announce themselves, and are enough.
    is_silent: bool,
}

/// Tells whoever advertises of changes; nobody, where that is switched off.
#[derive(Debug, Default)]
pub(crate) struct Advert {
    place: Option<(NodeId, watch::Sender<Place>)>,
}

impl Advert {
    /// One that somebody follows.
    pub(crate) fn followed(node: NodeId) -> (Self, watch::Receiver<Place>) {
        let (place, follower) = watch::channel(Place::default());
        let place = Some((node, place));
        (Self { place }, follower)
    }

    /// Says how many other nodes there are.
    pub(crate) fn set_neighbours(&self, count: u32) {
        if let Some((node, place)) = &self.place {
            let is_silent = !announces(*node, count);
            place.send_if_modified(|place| {
                std::mem::replace(&mut place.is_silent, is_silent) != is_silent
            });
        }
    }

    pub(crate) fn set_port(&self, port: u16) {
        self.change(|place| place.port = port);
    }

    pub(crate) fn set_interfaces(&self, interfaces: &[UsableInterface]) {
        self.change(|place| interfaces.clone_into(&mut place.interfaces));
    }

    fn change(&self, change: impl FnOnce(&mut Place)) {
        if let Some((_, place)) = &self.place {
            place.send_if_modified(|place| {
                let before = place.clone();
                change(place);
                *place != before
            });
        }
    }
}

impl Place {
    /// What is spoken on: an interface by IPv4 or IPv6, as far as multicast is not switched off there.
    fn kinds(&self) -> Vec<IfKind> {
        let mut kinds = Vec::new();
        for one in &self.interfaces {
            if one.roads.contains(&Road::Multicast4) {
                kinds.push(IfKind::IndexV4(one.index));
            }
            if one.roads.contains(&Road::Multicast6) {
                kinds.push(IfKind::IndexV6(one.index));
            }
        }
        kinds
    }

    /// Where the store is read; addresses that mean something on one cable only are left out, since the record cannot say which.
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let all = self.interfaces.iter().flat_map(|one| &one.addresses);
        let all = all.map(zeroshare_membership::Subnet::address);
        all.filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
            .filter(|ip| *ip != IpAddr::V6(Ipv6Addr::LOCALHOST))
            .collect()
    }
}

/// Advertises the store, anew after each change, until the other end is gone or `stopping` is over.
pub(crate) async fn advertise(
    node: NodeId,
    mut place: watch::Receiver<Place>,
    stopping: impl Future<Output = ()>,
) {
    tokio::pin!(stopping);
    loop {
        let now = place.borrow_and_update().clone();
        let daemon = begin(node, &now).unwrap_or_else(|error| {
            warn!(%error, "cannot tell Zero Install for .NET where the store is");
            None
        });
        let goes_on = tokio::select! {
            changed = place.changed() => changed.is_ok(),
            () = &mut stopping => false,
        };
        if let Some(daemon) = daemon {
            end(&daemon).await;
        }
        if !goes_on {
            return;
        }
    }
}

fn begin(node: NodeId, place: &Place) -> Result<Option<ServiceDaemon>, mdns_sd::Error> {
    let (kinds, addresses) = (place.kinds(), place.addresses());
    if place.is_silent || place.port == 0 || kinds.is_empty() || addresses.is_empty() {
        return Ok(None);
    }
    let instance = guid(node);
    let host = format!("{instance}.local.");
    let addresses: Vec<IpAddr> = addresses.into_iter().collect();
    let service = ServiceInfo::new(
        DOTNET_SERVICE,
        &instance,
        &host,
        addresses.as_slice(),
        place.port,
        None,
    )?;
    let daemon = ServiceDaemon::new()?;
    // Whoever follows the interfaces tells of changes.
    daemon.set_ip_check_interval(0)?;
    daemon.disable_interface(IfKind::All)?;
    daemon.enable_interface(kinds)?;
    daemon.register(service)?;
    info!(instance, port = place.port, "advertised by mDNS");
    Ok(Some(daemon))
}

/// Takes the advert back, and ends the library's thread.
async fn end(daemon: &ServiceDaemon) {
    match daemon.shutdown() {
        Ok(ended) => drop(timeout(FAREWELL_TIME, ended.recv_async()).await),
        Err(error) => debug!(%error, "mDNS had ended before"),
    }
}

/// Whether a node is one of the few that announce themselves among so many others: those with the smallest ids, about.
///
/// The count goes by powers of two, so that it does not change with each neighbour.
fn announces(node: NodeId, others: u32) -> bool {
    let nodes = (u64::from(others) + 1).next_power_of_two();
    nodes <= MOST_ADVERTS || node.first_half() <= u64::MAX / nodes * MOST_ADVERTS
}

/// The node's id as that program spells its own.
fn guid(node: NodeId) -> String {
    let mut text = node.to_string();
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use zeroshare_membership::Subnet;
    use zeroshare_wire::datagram::SigningKey;

    use super::*;

    fn interface(index: u32, addresses: &[&str], roads: &[Road]) -> UsableInterface {
        let subnet = |address: &&str| Subnet::new(address.parse().unwrap(), 24).unwrap();
        UsableInterface {
            index,
            name: format!("eth{index}"),
            addresses: addresses.iter().map(subnet).collect(),
            broadcasts: BTreeSet::new(),
            roads: roads.iter().copied().collect(),
        }
    }

    #[test]
    fn it_speaks_where_multicast_may_be_used() {
        let place = Place {
            port: 7,
            interfaces: vec![
                interface(1, &["10.0.0.1"], &[Road::Multicast4, Road::Broadcast]),
                interface(2, &["10.0.1.1"], &[Road::Broadcast]),
                interface(3, &["fd00::1"], &[Road::Multicast6, Road::Multicast4]),
            ],
            is_silent: false,
        };
        let kinds = format!("{:?}", place.kinds());
        assert_eq!(kinds, "[IndexV4(1), IndexV4(3), IndexV6(3)]");
    }

    #[test]
    fn addresses_that_need_an_interface_are_left_out() {
        let place = Place {
            port: 7,
            interfaces: vec![interface(
                1,
                &["10.0.0.1", "fe80::1", "fd00::1", "::1"],
                &[],
            )],
            is_silent: false,
        };
        let expected = ["10.0.0.1", "fd00::1"].map(|ip| ip.parse().unwrap());
        assert_eq!(place.addresses(), expected.into());
    }

    #[test]
    fn nothing_is_said_without_a_store_or_a_road() {
        let node = SigningKey::from_seed(&[1; 32]).node_id();
        let roads = [Road::Multicast4];
        for (port, interfaces) in [
            (0, vec![interface(1, &["10.0.0.1"], &roads)]),
            (7, vec![interface(1, &["10.0.0.1"], &[])]),
            (7, Vec::new()),
        ] {
            let place = Place {
                port,
                interfaces,
                is_silent: false,
            };
            assert!(begin(node, &place).unwrap().is_none(), "{place:?}");
        }
    }

    #[test]
    fn about_as_many_announce_themselves_as_may_however_many_there_are() {
        for nodes in [1_u32, 10, 31, 33, 1000, 1024, 10_000] {
            let ids = (0..u64::from(nodes)).map(|number| {
                let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
                NodeId::from_bytes([id, id].concat().try_into().unwrap())
            });
            let count = ids.filter(|id| announces(*id, nodes - 1)).count();
            let least = usize::try_from(nodes.min(32)).unwrap() / 2;
            assert!((least..=40).contains(&count), "{count} of {nodes}");
        }
    }

    #[test]
    fn only_changes_are_told() {
        let (advert, mut follower) = Advert::followed(SigningKey::from_seed(&[1; 32]).node_id());
        follower.borrow_and_update();
        advert.set_port(7);
        assert!(follower.has_changed().unwrap());
        follower.borrow_and_update();
        advert.set_port(7);
        advert.set_interfaces(&[]);
        assert!(!follower.has_changed().unwrap());
    }

    #[test]
    fn an_instance_is_named_like_a_guid() {
        let name = guid(SigningKey::from_seed(&[1; 32]).node_id());
        let parts: Vec<_> = name.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
    }
}
