//! Asks peers themselves how much they hold: what is said by datagram is a hint.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use zeroshare_api::clients;
use zeroshare_api::connect::{ConnectError, PeerChannelOptions, peer_channel};
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_content::ContentId;
use zeroshare_wire::convert::{socket_address, to_duration};
use zeroshare_wire::datagram::NodeId;
use zeroshare_wire::pb::discovery::v1::{FindProvidersRequest, HoldingClaim, Peer};
use zeroshare_wire::pb::store::v1::{ContentStat, StatContentRequest};

use super::explain::since;
use super::story::{Line, millis};
use crate::failure::{Failure, chain};
use crate::reach::DiscoveryClient;
use crate::session::Session;
use crate::together::all;
use crate::words::of_status;

/// The most peers that are asked themselves.
pub(super) const MAX_ASKED: usize = 32;

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

    /// Takes in what it says itself, if it answered. Says whether it has something of it.
    fn learn(&mut self, tries: &[Try]) -> bool {
        let Some(Try {
            address,
            outcome: Outcome::Has(stat),
            ..
        }) = tries.last()
        else {
            return false;
        };
        self.take_in(*address, stat);
        true
    }

    fn take_in(&mut self, address: SocketAddr, stat: &ContentStat) {
        self.address = Some(address.to_string());
        self.claim = CONFIRMED;
        self.held_pieces = Some(stat.held_pieces);
        self.total_pieces = Some(stat.total_pieces);
        self.size_bytes = Some(stat.content_size_bytes);
    }
}

/// Those who claim it, by their ids, and how.
pub(super) type Claimants = BTreeMap<String, (Peer, HoldingClaim)>;

/// What came of asking a peer itself.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) holder: Holder,
    tries: Vec<Try>,
}

#[derive(Debug)]
struct Try {
    address: SocketAddr,
    at: Instant,
    took: Duration,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// It has this much.
    Has(ContentStat),
    /// It answered, and has nothing of it.
    HasNothing,
    /// It takes connections, and does not prove to be of this user's group; in words.
    Unproven(String),
    /// It could not be asked; in words.
    Failed(String),
}

impl Asked {
    /// Whether it says itself that it has it.
    pub(super) fn has_it(&self) -> bool {
        self.holder.answers()
    }

    /// Whether it answered, and has nothing of it.
    pub(super) fn has_nothing(&self) -> bool {
        let last = self.tries.last().map(|one| &one.outcome);
        matches!(last, Some(Outcome::HasNothing))
    }

    /// Whether somebody is there who does not prove to be of this user's group.
    pub(super) fn is_unproven(&self) -> bool {
        let last = self.tries.last().map(|one| &one.outcome);
        matches!(last, Some(Outcome::Unproven(_)))
    }

    /// Whether no address of it answers.
    pub(super) fn does_not_answer(&self) -> bool {
        !self.has_it() && !self.has_nothing() && !self.is_unproven()
    }

    /// What happened, in words.
    pub(super) fn lines(&self, began: Instant) -> impl Iterator<Item = Line> {
        let line = move |one: &Try| {
            let took = millis(one.took);
            let (event, said) = match &one.outcome {
                Outcome::Has(stat) => (
                    "confirmed",
                    format!(
                        "it has {} of {} pieces",
                        stat.held_pieces, stat.total_pieces
                    ),
                ),
                Outcome::HasNothing => ("denied", "it has nothing of it".to_owned()),
                Outcome::Unproven(why) => ("unproven", why.clone()),
                Outcome::Failed(why) => ("unreachable", why.clone()),
            };
            Line {
                after_ms: since(began, one.at + one.took),
                event,
                peer_id: self.holder.peer_id.clone(),
                address: Some(one.address.to_string()),
                interface: None,
                road: None,
                text: format!(
                    "asked the store at {} itself: {said} ({took} ms)",
                    one.address
                ),
            }
        };
        self.tries.iter().map(line)
    }
}

/// Asks peers, as a member of this user's group if there is one.
#[derive(Debug)]
pub(super) struct Asker {
    options: PeerChannelOptions,
}

impl Asker {
    pub(super) fn new(session: &Session) -> Result<Self, Failure> {
        let member = session.settings()?.fetcher.member();
        let member = member.map_err(|error| Failure::because("cannot ask peers", &error))?;
        Ok(Self {
            options: PeerChannelOptions {
                connect_time: ANSWER_TIME,
                member,
                ..PeerChannelOptions::default()
            },
        })
    }

    /// Those that discovery finds; one that answers and does not have it is left out.
    pub(super) async fn discovered(
        &self,
        mut discovery: DiscoveryClient,
        id: ContentId,
        wait: Duration,
    ) -> Result<Vec<Holder>, Failure> {
        let failed = |status| of_status(&id.to_string(), &status);
        let request = FindProvidersRequest {
            content_ids: vec![id.to_string()],
            wait: Some(to_duration(wait)),
            enough: 0,
            with_askers: false,
        };
        let mut answers = discovery
            .find_providers(request)
            .await
            .map_err(failed)?
            .into_inner();
        let mut found: Claimants = BTreeMap::new();
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
            .map(|(peer, claim)| self.ask_peer(peer, claim, id));
        Ok(holders(all(asked.collect()).await))
    }

    /// Those of the named hosts that have it.
    pub(super) async fn named(&self, hosts: &[String], id: ContentId) -> Vec<Holder> {
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
            let tries = self.ask_addresses(&addresses, None, id).await;
            if !holder.learn(&tries) {
                return None;
            }
            Some(holder)
        });
        all(asked.collect()).await.into_iter().flatten().collect()
    }

    /// Asks a peer itself, at each of its addresses until one answers.
    pub(super) async fn ask_peer(&self, peer: Peer, claim: HoldingClaim, id: ContentId) -> Asked {
        let addresses = peer.store_addresses.iter().take(MAX_ADDRESSES);
        let addresses: Vec<_> = addresses
            .filter_map(|address| socket_address("store_addresses", address).ok())
            .collect();
        let claim = match claim {
            HoldingClaim::Stated => "stated",
            HoldingClaim::Probable | HoldingClaim::Unspecified => "probable",
        };
        let node = peer.peer_id.parse().ok();
        let mut holder = unconfirmed(Some(peer.peer_id), claim);
        holder.address = addresses.first().map(ToString::to_string);
        let tries = self.ask_addresses(&addresses, node, id).await;
        holder.learn(&tries);
        Asked { holder, tries }
    }

    /// Asks one address after the other, until one answers.
    async fn ask_addresses(
        &self,
        addresses: &[SocketAddr],
        node: Option<NodeId>,
        id: ContentId,
    ) -> Vec<Try> {
        let mut tries = Vec::new();
        for address in addresses {
            let at = Instant::now();
            let outcome = match timeout(ANSWER_TIME, self.ask(*address, node, id)).await {
                Ok(Ok(Some(stat))) => Outcome::Has(stat),
                Ok(Ok(None)) => Outcome::HasNothing,
                Ok(Err(failed)) => failed,
                Err(_) => Outcome::Failed(format!(
                    "it did not answer within {} s",
                    ANSWER_TIME.as_secs()
                )),
            };
            let answered = !matches!(outcome, Outcome::Failed(_) | Outcome::Unproven(_));
            tries.push(Try {
                address: *address,
                at,
                took: at.elapsed(),
                outcome,
            });
            if answered {
                break;
            }
        }
        tries
    }

    /// What it has of it, or why it cannot be asked.
    async fn ask(
        &self,
        address: SocketAddr,
        node: Option<NodeId>,
        id: ContentId,
    ) -> Result<Option<ContentStat>, Outcome> {
        let options = self.options.expecting(node);
        let channel = peer_channel(address, &options).await;
        let channel = channel.map_err(|error| match &error {
            ConnectError::Unproven { .. } => Outcome::Unproven(chain(&error)),
            ConnectError::TimedOut { .. }
            | ConnectError::Failed { .. }
            | ConnectError::NotHttp2 { .. } => Outcome::Failed(chain(&error)),
        })?;
        let request = StatContentRequest {
            content_ids: vec![id.to_string()],
        };
        let answer = clients::store(channel).stat_content(request).await;
        let refused = |status: tonic::Status| format!("it refused: {}", status.message());
        let answer = answer.map_err(|status| Outcome::Failed(refused(status)))?;
        Ok(answer.into_inner().stats.into_iter().next())
    }
}

/// Without those that answered and have nothing of it.
pub(super) fn holders(asked: Vec<Asked>) -> Vec<Holder> {
    let with_it = asked.into_iter().filter(|asked| !asked.has_nothing());
    with_it.map(|asked| asked.holder).collect()
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
