//! `zeroshare peers`: the machines that are heard.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio_stream::StreamExt as _;
use zeroshare_wire::convert::socket_address;
use zeroshare_wire::pb::discovery::v1::watch_peers_response::Event;
use zeroshare_wire::pb::discovery::v1::{Peer, WatchPeersRequest};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::render::{Page, Report, Table, words};
use crate::session::Session;
use crate::words::of_status;

/// Without a node nobody listened before: how long to do so now.
const LISTEN_TIME: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct PeersReport {
    peers: Vec<PeerDocument>,
}

/// A peer, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PeerDocument {
    pub(crate) peer_id: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) last_seen_time: Option<String>,
    pub(crate) roads: Vec<String>,
    pub(crate) held_ids: Option<u32>,
    pub(crate) bytes_per_second: u64,
    pub(crate) faults: u32,
    pub(crate) ban_end_time: Option<String>,
}

impl From<&Peer> for PeerDocument {
    fn from(peer: &Peer) -> Self {
        let addresses = peer.store_addresses.iter();
        let addresses =
            addresses.filter_map(|address| socket_address("store_addresses", address).ok());
        Self {
            peer_id: peer.peer_id.clone(),
            addresses: addresses.map(|address| address.to_string()).collect(),
            last_seen_time: words::moment(peer.last_seen_time.as_ref()),
            roads: peer.roads.clone(),
            held_ids: peer.held_ids,
            bytes_per_second: peer.bytes_per_second,
            faults: peer.faults,
            ban_end_time: words::moment(peer.ban_end_time.as_ref()),
        }
    }
}

impl Report for PeersReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut table = Table::new(&["PEER", "ADDRESS", "HOLDS", "LAST HEARD", "ROADS"]);
        for peer in &self.peers {
            table.row([
                peer.peer_id.clone(),
                peer.addresses.first().cloned().unwrap_or_default(),
                peer.held_ids
                    .map(|number| number.to_string())
                    .unwrap_or_default(),
                peer.last_seen_time.clone().unwrap_or_default(),
                peer.roads.join(" "),
            ]);
        }
        table.write(page)
    }
}

/// Lists the peers that are heard now.
pub async fn run(session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::DISCOVERY)?;
    let mut peers = BTreeMap::new();
    if services.are_our_own() {
        session
            .output
            .note("no node runs here, so nobody listened before: listening for 2 s");
        // The stream stays open; its first part is over before anybody answered.
        let listening = watch(services.discovery(), &mut peers, false);
        let _time_is_over = tokio::time::timeout(LISTEN_TIME, listening).await;
    } else {
        watch(services.discovery(), &mut peers, true).await?;
    }
    session.output.report(&PeersReport {
        peers: peers.into_values().collect(),
    })?;
    Ok(Exit::Done)
}

/// Takes in who comes and goes, until all that is known was told if `snapshot` is all that is wanted.
async fn watch(
    mut discovery: crate::reach::DiscoveryClient,
    peers: &mut BTreeMap<String, PeerDocument>,
    snapshot: bool,
) -> Result<(), Failure> {
    let failed = |status| of_status("the peers", &status);
    let mut events = discovery
        .watch_peers(WatchPeersRequest {})
        .await
        .map_err(failed)?
        .into_inner();
    while let Some(event) = events.next().await {
        match event.map_err(failed)?.event {
            Some(Event::Up(peer)) => {
                peers.insert(peer.peer_id.clone(), PeerDocument::from(&peer));
            }
            Some(Event::Down(peer)) => {
                peers.remove(&peer.peer_id);
            }
            Some(Event::SnapshotDone(_)) if snapshot => break,
            Some(Event::SnapshotDone(_)) | None => {}
        }
    }
    Ok(())
}
