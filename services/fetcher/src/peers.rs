//! Peers that may have something, and connections to them.

use std::net::SocketAddr;
use std::sync::Arc;

use zeroshare_api::clients;
use zeroshare_api::connect::{ConnectError, PeerChannelOptions, TracedChannel, peer_channel};
use zeroshare_api::rpc::store::v1::store_service_client::StoreServiceClient;
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_wire::convert::socket_address;
use zeroshare_wire::datagram::PublicKey;
use zeroshare_wire::pb::discovery::v1::{FindProvidersResponse, Peer as LivePeer};

use crate::fetch::{Members, Meter};

/// Addresses of one peer that are tried.
const MAX_ADDRESSES: usize = 8;

/// What discovery calls all of it.
const WHOLE: u32 = 255;

/// Somebody who may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// As discovery knows it; empty for a host that the caller named.
    pub(crate) peer_id: String,
    /// Best first; never empty.
    pub(crate) addresses: Vec<SocketAddr>,
    /// How much of it it says to have.
    pub(crate) extent: Extent,
    /// Whether it says to read from upstream what nobody has.
    pub(crate) is_member: bool,
}

/// How much a peer says to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// Some of it.
    Part,
    /// Nothing yet: it is getting it too.
    NothingYet,
}

impl Candidate {
    /// Reads what discovery says; `None` if there is no way to reach it, or it has nobody to get it from itself.
    pub(crate) fn of_discovery(response: FindProvidersResponse, members: Members) -> Option<Self> {
        let holds_nothing = (response.member || response.on_its_way) && response.part == 0;
        let is_waiting = holds_nothing && !response.on_its_way && members == Members::LeftOut;
        let peer = response.provider.filter(|_| !is_waiting)?;
        let extent = match response.part {
            _ if holds_nothing => Extent::NothingYet,
            1..WHOLE => Extent::Part,
            _ => Extent::Whole,
        };
        Some(Self {
            extent,
            is_member: response.member,
            ..Self::of_peer(peer)?
        })
    }

    /// Reads of somebody who is there; `None` if there is no way to reach it.
    pub(crate) fn of_peer(peer: LivePeer) -> Option<Self> {
        let addresses: Vec<SocketAddr> = peer
            .store_addresses
            .iter()
            .take(MAX_ADDRESSES)
            .filter_map(|address| socket_address("store_addresses", address).ok())
            .collect();
        (!addresses.is_empty()).then_some(Self {
            peer_id: peer.peer_id,
            addresses,
            extent: Extent::Whole,
            is_member: false,
        })
    }

    /// Looks up a host that the caller named; in words why that failed. May be dropped midway.
    pub(crate) async fn resolve(host: &StaticPeer) -> Result<Self, String> {
        let looked_up = tokio::net::lookup_host((host.host(), host.port())).await;
        let addresses: Vec<SocketAddr> = looked_up
            .map_err(|error| format!("{host}: {error}"))?
            .collect();
        if addresses.is_empty() {
            return Err(format!("{host} has no address"));
        }
        Ok(Self {
            peer_id: String::new(),
            addresses,
            extent: Extent::Whole,
            is_member: false,
        })
    }

    /// The name by which people know it.
    pub(crate) fn name(&self) -> String {
        self.addresses
            .first()
            .map_or(self.peer_id.clone(), ToString::to_string)
    }
}

/// A peer that answered.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) candidate: Candidate,
    /// Where it was reached.
    pub(crate) address: SocketAddr,
    pub(crate) meter: Arc<Meter>,
    channel: TracedChannel,
    options: PeerChannelOptions,
}

impl Peer {
    /// Connects to the first address that answers. May be dropped midway.
    pub(crate) async fn connect(
        candidate: Candidate,
        options: &PeerChannelOptions,
    ) -> Result<Self, (Candidate, Option<ConnectError>)> {
        let options = &options.expecting(candidate.peer_id.parse().ok());
        let mut last = None;
        for address in &candidate.addresses {
            match peer_channel(*address, options).await {
                Ok(channel) => {
                    let address = *address;
                    return Ok(Self {
                        candidate,
                        address,
                        meter: Arc::default(),
                        channel,
                        options: options.clone(),
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err((candidate, last))
    }

    /// The connection.
    pub(crate) fn channel(&self) -> TracedChannel {
        self.channel.clone()
    }

    /// The node key that it proved to have; `None` without TLS.
    pub(crate) fn node_key(&self) -> Option<PublicKey> {
        self.channel.node_key()
    }

    pub(crate) fn store(&self) -> StoreServiceClient<TracedChannel> {
        clients::store(self.channel.clone())
    }

    /// Connects once more, for small answers that must not wait behind pieces.
    pub(crate) async fn control(&self) -> Result<StoreServiceClient<TracedChannel>, ConnectError> {
        let channel = peer_channel(self.address, &self.options).await?;
        Ok(clients::store(channel))
    }
}
