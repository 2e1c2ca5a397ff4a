//! Peers and bans, for people and for programs.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use serde::Serialize;
use zeroshare_wire::convert::{optional_system_time, socket_address};
use zeroshare_wire::pb::discovery::v1::{Ban, Peer};

use crate::render::{Page, Report, Table, words};

/// Everybody who is heard, and everybody who is banned.
#[derive(Debug, Serialize)]
pub(super) struct PeersReport {
    pub(super) peers: Vec<PeerDocument>,
    pub(super) bans: Vec<BanDocument>,
}

/// A peer, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PeerDocument {
    pub(super) peer_id: String,
    addresses: Vec<String>,
    last_seen_time: Option<String>,
    roads: Vec<String>,
    held_ids: Option<u32>,
    bytes_per_second: u64,
    faults: u32,
    ban_end_time: Option<String>,
    #[serde(skip)]
    age: Option<Duration>,
    #[serde(skip)]
    ban: Option<Duration>,
}

/// A ban, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct BanDocument {
    address: String,
    peer_ids: Vec<String>,
    end_time: Option<String>,
    convictions: u32,
    /// What it was asked for when it was convicted; null when that is not known.
    content_id: Option<String>,
    #[serde(skip)]
    remaining: Duration,
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
            age: time_of(peer.last_seen_time.as_ref())
                .and_then(|time| SystemTime::now().duration_since(time).ok()),
            ban: time_of(peer.ban_end_time.as_ref()).map(until),
        }
    }
}

impl From<&Ban> for BanDocument {
    fn from(ban: &Ban) -> Self {
        let address = ban.address.as_ref();
        let address = address.and_then(|address| socket_address("address", address).ok());
        Self {
            address: address
                .map(|address| address.to_string())
                .unwrap_or_default(),
            peer_ids: ban.peer_ids.clone(),
            end_time: words::moment(ban.end_time.as_ref()),
            convictions: ban.convictions,
            content_id: Some(ban.content_id.clone()).filter(|id| !id.is_empty()),
            remaining: time_of(ban.end_time.as_ref())
                .map(until)
                .unwrap_or_default(),
        }
    }
}

fn time_of(time: Option<&Timestamp>) -> Option<SystemTime> {
    optional_system_time("time", time).ok().flatten()
}

fn until(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::now()).unwrap_or_default()
}

impl PeersReport {
    /// Whether it shows the same, but for when each was heard last.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let lasting = |report: &Self| {
            let peers = report.peers.iter().cloned().map(|peer| PeerDocument {
                last_seen_time: None,
                age: None,
                ban: None,
                ban_end_time: None,
                ..peer
            });
            let bans = report.bans.iter();
            let bans = bans.map(|ban| (ban.address.clone(), ban.convictions));
            (peers.collect::<Vec<_>>(), bans.collect::<Vec<_>>())
        };
        lasting(self) == lasting(other)
    }

    fn write_bans(&self, page: &mut Page) -> fmt::Result {
        if self.bans.is_empty() {
            return Ok(());
        }
        writeln!(page)?;
        let mut table = Table::new(&["BANNED", "STILL FOR", "CONVICTED", "WRONG BYTES OF"]);
        for ban in &self.bans {
            table.row([
                ban.address.clone(),
                words::span(ban.remaining),
                words::count(ban.convictions.into(), "time"),
                ban.content_id.clone().unwrap_or_default(),
            ]);
        }
        table.write(page)?;
        writeln!(
            page,
            "`zeroshare peers forgive ADDRESS` lifts a ban, `--all` every one."
        )
    }
}

impl Report for PeersReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut table = Table::new(&[
            "PEER", "ADDRESS", "HOLDS", "HEARD", "RATE", "FAULTS", "ROADS",
        ]);
        for peer in &self.peers {
            let rate = match peer.bytes_per_second {
                0 => String::new(),
                rate => format!("{}/s", words::size(rate)),
            };
            let faults = match (peer.ban, peer.faults) {
                (Some(_), _) => "banned".to_owned(),
                (None, 0) => String::new(),
                (None, faults) => faults.to_string(),
            };
            table.row([
                peer.peer_id.clone(),
                peer.addresses.first().cloned().unwrap_or_default(),
                peer.held_ids
                    .map(|number| number.to_string())
                    .unwrap_or_default(),
                peer.age
                    .map(|age| format!("{} ago", words::span(age)))
                    .unwrap_or_default(),
                rate,
                faults,
                peer.roads.join(" "),
            ]);
        }
        table.write(page)?;
        self.write_bans(page)
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_wire::convert::{from_system_time, store_address};

    use super::*;

    fn banned() -> PeersReport {
        let now = SystemTime::now();
        let address = Some(store_address("10.77.0.3:38339".parse().unwrap()));
        let ban = Ban {
            address: address.clone(),
            end_time: Some(from_system_time(now + Duration::from_mins(30))),
            convictions: 2,
            content_id: "sha256new_X".to_owned(),
            peer_ids: vec!["ab".to_owned()],
        };
        let peer = Peer {
            peer_id: "ab".to_owned(),
            store_addresses: address.into_iter().collect(),
            last_seen_time: Some(from_system_time(now - Duration::from_mins(3))),
            roads: vec!["multicast4".to_owned()],
            bytes_per_second: 3 << 20,
            faults: 1,
            ban_end_time: ban.end_time,
            ..Peer::default()
        };
        PeersReport {
            peers: vec![PeerDocument::from(&peer)],
            bans: vec![BanDocument::from(&ban)],
        }
    }

    #[test]
    fn people_see_age_rate_and_why_and_how_long_somebody_is_banned() {
        let mut page = Page::new(false);
        banned().write(&mut page).unwrap();
        let text = page.into_text();
        for words in [
            "3 min ago",
            "3.0 MiB/s",
            "banned",
            "29 min",
            "2 times",
            "sha256new_X",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn being_heard_again_is_no_change_and_another_ban_is_one() {
        let (shown, mut now) = (banned(), banned());
        now.peers[0].last_seen_time = None;
        assert!(shown.is_like(&now));
        now.bans[0].convictions += 1;
        assert!(!shown.is_like(&now));
        now.bans.clear();
        assert!(!shown.is_like(&now));
    }
}
