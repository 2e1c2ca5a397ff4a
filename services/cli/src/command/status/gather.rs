//! Asks each service how it is.

use zeroshare_api::deadline;
use zeroshare_api::health::{Health, check_health_over};
use zeroshare_chassis::lock;
use zeroshare_chassis::places::Owner;
use zeroshare_wire::convert::socket_address;
use zeroshare_wire::pb::discovery::v1::{
    DescribeNetworkRequest, DescribeNetworkResponse, Outsider,
};
use zeroshare_wire::pb::fetcher::v1::{Fetch, FetchState, ListFetchesRequest};
use zeroshare_wire::pb::store::v1::{DescribeStoreRequest, DescribeStoreResponse};

use std::time::Duration;

use super::{
    DiscoveryPart, FetcherPart, InterfacePart, NodePart, OutsiderPart, RootPart, ServicePart,
    StatusReport, StorePart,
};
use crate::reach::{SERVICES, Services};
use crate::render::words;

pub(super) const SERVING: &str = "serving";

/// A service of this machine that takes longer is in trouble.
const ANSWER_TIME: Duration = Duration::from_secs(3);

pub(super) async fn gather(services: &Services) -> StatusReport {
    let mut parts = Vec::new();
    for name in SERVICES {
        let health = match check_health_over(services.channel(name), "").await {
            Ok(Health::Serving) => SERVING,
            Ok(Health::NotServing | Health::Unknown) => "not serving",
            Err(_) => "no answer",
        };
        parts.push(ServicePart { name, health });
    }
    let (mut discovery, mut store, mut fetcher) =
        (services.discovery(), services.store(), services.fetcher());
    let network = deadline::within(
        ANSWER_TIME,
        discovery.describe_network(DescribeNetworkRequest {}),
    );
    let store = deadline::within(ANSWER_TIME, store.describe_store(DescribeStoreRequest {}));
    let fetches = deadline::within(ANSWER_TIME, fetcher.list_fetches(ListFetchesRequest {}));
    let (network, store, fetches) = tokio::join!(network, store, fetches);
    StatusReport {
        serving: parts.iter().all(|part| part.health == SERVING),
        node: node(services),
        services: parts,
        discovery: network
            .ok()
            .map(|network| discovery_part(network.into_inner())),
        store: store.ok().map(|store| store_part(store.into_inner())),
        fetcher: fetches
            .ok()
            .map(|fetches| fetcher_part(&fetches.into_inner().fetches)),
    }
}

fn node(services: &Services) -> NodePart {
    let places = services.places();
    let facts = lock::running(places).and_then(|running| running.facts);
    let started = facts
        .as_ref()
        .and_then(|facts| i64::try_from(facts.started).ok());
    let started = started.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 });
    NodePart {
        owner: match places.owner {
            Owner::Machine => "machine",
            Owner::User => "user",
        },
        runtime_dir: places.runtime_dir.display().to_string(),
        pid: facts.as_ref().map(|facts| facts.pid),
        start_time: words::moment(started.as_ref()),
        ports: facts
            .as_ref()
            .map(|facts| facts.ports.clone())
            .unwrap_or_default(),
        version: facts.map(|facts| facts.version),
    }
}

fn discovery_part(network: DescribeNetworkResponse) -> DiscoveryPart {
    let interface =
        |interface: zeroshare_wire::pb::discovery::v1::NetworkInterface| InterfacePart {
            name: interface.name,
            addresses: interface.addresses,
            roads: interface.roads,
        };
    DiscoveryPart {
        node_id: network.node_id,
        unicast_port: network.unicast_port,
        interfaces: network.interfaces.into_iter().map(interface).collect(),
        sent_datagrams: network.sent_datagrams,
        received_datagrams: network.received_datagrams,
        dropped_datagrams: network.drops.iter().map(|drop| drop.datagrams).sum(),
        live_peers: network.live_peers,
        in_group: network.in_group,
        outsiders: network.outsiders.iter().map(outsider_part).collect(),
    }
}

fn outsider_part(outsider: &Outsider) -> OutsiderPart {
    let address = outsider.address.as_ref();
    let address = address.and_then(|address| socket_address("address", address).ok());
    OutsiderPart {
        address: address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        datagrams: outsider.datagrams,
        last_seen_time: words::moment(outsider.last_seen_time.as_ref()),
        in_group: outsider.in_group,
    }
}

fn store_part(store: DescribeStoreResponse) -> StorePart {
    let root = |root: zeroshare_wire::pb::store::v1::StoreRoot| RootPart {
        path: root.path,
        shared: root.shared,
        held_trees: root.held_trees,
        quarantined_trees: root.quarantined_trees,
    };
    StorePart {
        roots: store.roots.into_iter().map(root).collect(),
        lan_addresses: store.lan_addresses,
        readers: store.readers,
        active_transfers: store.active_transfers,
        sent_bytes: store.sent_bytes,
        restriction: store.restriction,
        resume_time: words::moment(store.resume_time.as_ref()),
        upload_limit_bytes: store.upload_limit_bytes,
        shared_files: store.shared_files,
    }
}

fn fetcher_part(fetches: &[Fetch]) -> FetcherPart {
    let runs = |fetch: &&Fetch| match fetch.state() {
        FetchState::Locating | FetchState::Transferring | FetchState::Committing => true,
        FetchState::Unspecified
        | FetchState::Succeeded
        | FetchState::Failed
        | FetchState::Cancelled => false,
    };
    FetcherPart {
        running_fetches: fetches.iter().filter(runs).count(),
        known_fetches: fetches.len(),
    }
}
