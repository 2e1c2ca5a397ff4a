//! What trying the network found, as messages.

use zeroshare_membership::{NeighbourCheck, Road};
use zeroshare_wire::{
    convert::{store_address, to_duration},
    pb::discovery::v1::{
        CheckNetworkResponse,
        check_network_response::{
            Finding, InterfaceFinding, NeighbourFinding, RoadFinding, Unused as PbUnused,
        },
    },
};

use super::convert::names;
use crate::{
    engine::CheckView,
    interfaces::{Surveyed, Unused},
};

/// Interfaces first, then the roads of those in use, then neighbours.
pub(super) fn findings(surveyed: Vec<Surveyed>, view: &CheckView) -> Vec<CheckNetworkResponse> {
    let interfaces = surveyed.into_iter().map(interface).map(Finding::Interface);
    let name = |index: u32| {
        let mut interfaces = view.interfaces.iter();
        let found = interfaces.find(|one| one.index == index);
        found.map(|one| one.name.clone()).unwrap_or_default()
    };
    let tried = view.found.roads.iter().map(|road| RoadFinding {
        interface_name: name(road.interface),
        road: road.road.name().to_owned(),
        error: String::new(),
        sent: road.sent,
        came_back: road.came_back,
        peers: u32::try_from(road.peers).unwrap_or(u32::MAX),
    });
    let is_tried = |index: u32, road: Road| {
        let mut tried = view.found.roads.iter();
        tried.any(|one| (one.interface, one.road) == (index, road))
    };
    let broken = view.broken.iter();
    let broken = broken
        .filter(|(index, road, _)| !is_tried(*index, *road))
        .map(|(index, road, error)| RoadFinding {
            interface_name: name(*index),
            road: road.name().to_owned(),
            error: error.clone(),
            ..RoadFinding::default()
        });
    let roads = tried.chain(broken).map(Finding::Road);
    let neighbours = view.found.neighbours.iter().map(neighbour);
    let neighbours = neighbours.map(Finding::Neighbour);
    interfaces
        .chain(roads)
        .chain(neighbours)
        .map(|finding| CheckNetworkResponse {
            finding: Some(finding),
        })
        .collect()
}

fn interface(surveyed: Surveyed) -> InterfaceFinding {
    let unused = surveyed.unused.map(|unused| match unused {
        Unused::Down => PbUnused::Down,
        Unused::Excluded => PbUnused::Excluded,
        Unused::Metered => PbUnused::Metered,
        Unused::NotNamed => PbUnused::NotNamed,
        Unused::Loopback => PbUnused::Loopback,
        Unused::Containers => PbUnused::Containers,
        Unused::PointToPoint => PbUnused::PointToPoint,
        Unused::NoMulticast => PbUnused::NoMulticast,
    });
    InterfaceFinding {
        name: surveyed.name,
        interface_index: surveyed.index,
        addresses: surveyed.addresses,
        unused: unused.unwrap_or_default().into(),
    }
}

fn neighbour(check: &NeighbourCheck) -> NeighbourFinding {
    NeighbourFinding {
        peer_id: check.node.to_string(),
        address: Some(store_address(check.unicast)),
        roads: names(&check.roads),
        echo_time: check.echo.map(to_duration),
        store_address: check.store.map(store_address),
    }
}
