//! Asks peers themselves how much they hold: what is said by datagram is a hint.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use zeroshare_api::clients;
use zeroshare_api::connect::{PeerChannelOptions, peer_channel};
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_content::ContentId;
use zeroshare_wire::convert::{socket_address, to_duration};
use zeroshare_wire::pb::discovery::v1::{FindProvidersRequest, HoldingClaim, Peer};
use zeroshare_wire::pb::store::v1::{ContentStat, StatContentRequest};

use crate::failure::Failure;
use crate::reach::DiscoveryClient;
use crate::together::all;
use crate::words::of_status;

/// The most peers that are asked themselves.
const MAX_ASKED: usize = 32;

/// The most addresses of one peer that are tried.
const MAX_ADDRESSES: usize = 4;

/// A peer on a LAN answers within milliseconds.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What the peer itself said.
const CONFIRMED: &str = "confirmed";

/// A peer that has it, or says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Holder {
    /// Null for a host that was named.
    pub(super) peer_id: Option<String>,
    pub(super) address: Option<String>,
    /// "confirmed" by the peer itself, "stated" or "probable" by datagram only.
    pub(super) claim: &'static str,
    pub(super) held_pieces: Option<u32>,
    pub(super) total_pieces: Option<u32>,
    pub(super) size_bytes: Option<u64>,
}

impl Holder {
    /// Whether it answered when it was asked itself: one that answered and has nothing is no holder.
    pub(super) fn answers(&self) -> bool {
        self.claim == CONFIRMED
    }

    pub(super) fn cells(&self) -> [String; 4] {
        let part = match (self.held_pieces, self.total_pieces) {
            (Some(held), Some(total)) if held == total => "all".to_owned(),
            (Some(held), Some(total)) => {
                format!("{} %", u64::from(held) * 100 / u64::from(total.max(1)))
            }
            _ => "?".to_owned(),
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        [
            text(&self.peer_id),
            text(&self.address),
            part,
            if self.answers() {
                self.claim.to_owned()
            } else {
                format!("{}, does not answer", self.claim)
            },
        ]
    }

    fn take_in(&mut self, address: SocketAddr, stat: &ContentStat) {
        self.address = Some(address.to_string());
        self.claim = CONFIRMED;
        self.held_pieces = Some(stat.held_pieces);
        self.total_pieces = Some(stat.total_pieces);
        self.size_bytes = Some(stat.content_size_bytes);
    }
}

/// Those that discovery finds; one that answers and does not have it is left out.
pub(super) async fn discovered(
    mut discovery: DiscoveryClient,
    id: ContentId,
    wait: Duration,
) -> Result<Vec<Holder>, Failure> {
    let failed = |status| of_status(&id.to_string(), &status);
    let request = FindProvidersRequest {
        content_ids: vec![id.to_string()],
        wait: Some(to_duration(wait)),
        enough: 0,
    };
    let mut answers = discovery
        .find_providers(request)
        .await
        .map_err(failed)?
        .into_inner();
    let mut found: BTreeMap<String, (Peer, HoldingClaim)> = BTreeMap::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(failed)?;
        let claim = answer.claim();
        if let Some(peer) = answer.provider
            && (found.len() < MAX_ASKED || found.contains_key(&peer.peer_id))
        {
            found.insert(peer.peer_id.clone(), (peer, claim));
        }
    }
    let asked = found
        .into_values()
        .map(|(peer, claim)| ask_peer(peer, claim, id));
    Ok(all(asked.collect()).await.into_iter().flatten().collect())
}

/// Those of the named hosts that have it.
pub(super) async fn named(hosts: &[String], id: ContentId) -> Vec<Holder> {
    let asked = hosts.iter().take(MAX_ASKED).map(|host| async move {
        let peer: StaticPeer = host.parse().ok()?;
        let addresses = timeout(
            ANSWER_TIME,
            lookup_host((peer.host().to_owned(), peer.port())),
        );
        let addresses = addresses
            .await
            .ok()?
            .ok()?
            .take(MAX_ADDRESSES)
            .collect::<Vec<_>>();
        let mut holder = unconfirmed(None, "stated");
        match ask_addresses(&addresses, id).await {
            Some((address, Some(stat))) => holder.take_in(address, &stat),
            Some((_, None)) | None => return None,
        }
        Some(holder)
    });
    all(asked.collect()).await.into_iter().flatten().collect()
}

async fn ask_peer(peer: Peer, claim: HoldingClaim, id: ContentId) -> Option<Holder> {
    let addresses = peer.store_addresses.iter().take(MAX_ADDRESSES);
    let addresses: Vec<_> = addresses
        .filter_map(|address| socket_address("store_addresses", address).ok())
        .collect();
    let claim = match claim {
        HoldingClaim::Stated => "stated",
        HoldingClaim::Probable | HoldingClaim::Unspecified => "probable",
    };
    let mut holder = unconfirmed(Some(peer.peer_id), claim);
    holder.address = addresses.first().map(ToString::to_string);
    match ask_addresses(&addresses, id).await {
        Some((address, Some(stat))) => holder.take_in(address, &stat),
        // It answered, and has nothing of it.
        Some((_, None)) => return None,
        None => {}
    }
    Some(holder)
}

fn unconfirmed(peer_id: Option<String>, claim: &'static str) -> Holder {
    Holder {
        peer_id,
        address: None,
        claim,
        held_pieces: None,
        total_pieces: None,
        size_bytes: None,
    }
}

/// What the first address that answers says; `None` when none does.
async fn ask_addresses(
    addresses: &[SocketAddr],
    id: ContentId,
) -> Option<(SocketAddr, Option<ContentStat>)> {
    for address in addresses {
        if let Ok(Some(stat)) = timeout(ANSWER_TIME, ask(*address, id)).await {
            return Some((*address, stat));
        }
    }
    None
}

async fn ask(address: SocketAddr, id: ContentId) -> Option<Option<ContentStat>> {
    let options = PeerChannelOptions {
        connect_time: ANSWER_TIME,
        ..PeerChannelOptions::default()
    };
    let channel = peer_channel(address, &options).await.ok()?;
    let request = StatContentRequest {
        content_ids: vec![id.to_string()],
    };
    let answer = clients::store(channel).stat_content(request).await.ok()?;
    Some(answer.into_inner().stats.into_iter().next())
}
