//! Peers that no multicast reaches: static ones, those remembered, and those that peers know.
//!
//! One neighbour within reach is enough to find a whole site: it is asked, page by page, whom it heard itself. What it
//! says is a list of addresses to ask for an echo, and nothing more.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_wire::{
    AtMost,
    datagram::{Body, MAX_PEERS, NodeAddress, NodeId, Peers, PeersRequest},
};

use crate::{
    drops::DropReason,
    event::Destination,
    machine::Membership,
    peers::{Entry, Heard, PeerKey, PeerTable},
    place::Place,
    rates::Speech,
    settings::Presence,
    surroundings::Road,
};

/// Static peers.
const MOST_STATIC: usize = 64;

/// How often a static peer is asked for an echo: it keeps firewalls' ways open, and tells that it is there.
const SEEK_INTERVAL: Duration = Duration::from_mins(1);

/// How often a peer is asked for whom it knows.
const PAGE_INTERVAL: Duration = Duration::from_mins(5);

/// Pages of one peer in that time: the 1,344 nodes of a large site.
const MOST_PAGES: u32 = 64;

/// Pages asked for and not here yet.
const MOST_ASKED: usize = 64;

/// A page that did not come within this time is lost.
const PAGE_WAIT: Duration = Duration::from_secs(5);

/// Addresses that were told of and wait to be asked for an echo.
const MOST_CANDIDATES: usize = 256;

/// How many of them are asked at a time, and how often.
const CANDIDATES_AT_A_TIME: usize = 16;
const CANDIDATE_INTERVAL: Duration = Duration::from_millis(250);

/// Who is sought by unicast.
#[derive(Debug, Default)]
pub(crate) struct Paging {
    static_peers: Vec<SocketAddr>,
    seek_at: Option<Instant>,
    learnt: Vec<SocketAddr>,
    candidates: VecDeque<SocketAddr>,
    candidates_at: Option<Instant>,
    asked: BTreeMap<u64, Page>,
    paged_at: BTreeMap<PeerKey, Instant>,
}

#[derive(Debug)]
struct Page {
    at: Instant,
    key: PeerKey,
    number: u32,
}

impl Paging {
    /// Takes over addresses of an earlier run.
    pub(crate) fn remember(&mut self, learnt: impl Iterator<Item = SocketAddr>) {
        self.learnt = learnt.collect();
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        [self.seek_at, self.candidates_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a place is a static peer's.
    pub(crate) fn is_static(&self, place: &Place) -> bool {
        self.static_peers
            .iter()
            .any(|peer| Place::of(*peer) == *place)
    }

    /// Static peers that did not echo yet.
    pub(crate) fn unproven_static<'a>(
        &'a self,
        peers: &'a PeerTable,
    ) -> impl Iterator<Item = SocketAddr> + 'a {
        let peers = (!self.static_peers.is_empty()).then_some(peers);
        let proven: BTreeSet<SocketAddr> = peers
            .into_iter()
            .flat_map(PeerTable::iter)
            .filter(|(_, entry)| entry.is_proven())
            .map(|(key, entry)| key.1.port(entry.unicast_port()))
            .collect();
        self.static_peers
            .iter()
            .copied()
            .filter(move |peer| !proven.contains(peer))
    }

    fn add_candidate(&mut self, now: Instant, address: SocketAddr) {
        if self.candidates.len() < MOST_CANDIDATES && !self.candidates.contains(&address) {
            self.candidates.push_back(address);
            self.candidates_at.get_or_insert(now);
        }
    }
}

impl Membership {
    /// Asks the static peers for an echo, now and from time to time.
    pub(crate) fn seek_static(&mut self, now: Instant, peers: &[SocketAddr]) {
        self.paging.static_peers = peers.iter().copied().take(MOST_STATIC).collect();
        self.paging.seek_at = (!peers.is_empty()).then_some(now);
        self.seek(now);
    }

    /// Asks the static peers for an echo before their time.
    pub(crate) fn seek_static_now(&mut self, now: Instant) {
        if self.paging.seek_at.is_some() {
            self.paging.seek_at = Some(now);
            self.seek(now);
        }
    }

    /// Asks those whom an earlier run learnt for an echo, as far as they are in reach now.
    pub(crate) fn seek_learnt(&mut self, now: Instant) {
        for address in std::mem::take(&mut self.paging.learnt) {
            if self.surroundings.may_speak_with(&Place::of(address)) {
                self.paging.add_candidate(now, address);
            } else {
                self.paging.learnt.push(address);
            }
        }
    }

    /// Asks for echoes where that is due.
    pub(crate) fn seek(&mut self, now: Instant) {
        if self.paging.seek_at.is_some_and(|at| at <= now) {
            self.paging.seek_at = Some(now + SEEK_INTERVAL);
            for peer in self.paging.static_peers.clone() {
                self.ask_echo(now, peer, None, Speech::Own);
            }
        }
        if self.paging.candidates_at.is_some_and(|at| at <= now) {
            let some = self.paging.candidates.len().min(CANDIDATES_AT_A_TIME);
            let candidates: Vec<SocketAddr> = self.paging.candidates.drain(..some).collect();
            for candidate in candidates {
                self.ask_echo(now, candidate, None, Speech::Ahead);
            }
            let more = !self.paging.candidates.is_empty();
            self.paging.candidates_at = more.then_some(now + CANDIDATE_INTERVAL);
        }
    }

    /// Asks a peer whom it knows, if it is one that leads out of this node's own neighbourhood.
    pub(crate) fn page_through(&mut self, now: Instant, key: &PeerKey) {
        if !self.paging.is_static(&key.1) && self.surroundings.interface_of(&key.1).is_some() {
            return;
        }
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < PAGE_INTERVAL;
        self.paging.paged_at.retain(|_, at| fresh(at));
        if self.paging.paged_at.contains_key(key) || self.paging.paged_at.len() >= MOST_STATIC {
            return;
        }
        self.paging.paged_at.insert(*key, now);
        self.ask_page(now, key, None, 0);
    }

    fn ask_page(&mut self, now: Instant, key: &PeerKey, after: Option<NodeId>, number: u32) {
        let asked = &mut self.paging.asked;
        asked.retain(|_, page| now.saturating_duration_since(page.at) < PAGE_WAIT);
        let Some(port) = self.peers.get(key).map(Entry::unicast_port) else {
            return;
        };
        if asked.len() >= MOST_ASKED || number >= MOST_PAGES || port == 0 {
            return;
        }
        let nonce = self.rng.u64(..);
        let page = Page {
            at: now,
            key: *key,
            number,
        };
        asked.insert(nonce, page);
        let request = Body::PeersRequest(PeersRequest { nonce, after });
        let payload = self.identity.say(request, None);
        self.send(
            now,
            Destination::One(key.1.port(port)),
            Speech::Own,
            payload,
        );
    }

    pub(crate) fn handle_peers_request(
        &mut self,
        now: Instant,
        heard: &Heard,
        request: &PeersRequest,
        question_len: usize,
    ) -> Result<(), DropReason> {
        // As with echoes: nobody may have everybody send pages to somebody else.
        if self.presence == Presence::Hidden || heard.road != Road::Unicast {
            return Err(DropReason::Unsolicited);
        }
        let nodes: Vec<NodeAddress> = self
            .nodes_after(request.after)
            .take(MAX_PEERS + 1)
            .collect();
        let peers = Peers {
            nonce: request.nonce,
            more: nodes.len() > MAX_PEERS,
            nodes: AtMost::first(nodes),
        };
        let payload = self.identity.say(Body::Peers(peers), None);
        if payload.len() > question_len {
            return Err(DropReason::ReplyTooLong);
        }
        let asker = (heard.key.1, Speech::Reply);
        self.reply(now, asker, Destination::One(heard.source), payload);
        Ok(())
    }

    /// The nodes that this one heard itself, one address of each, by id.
    fn nodes_after(&self, after: Option<NodeId>) -> impl Iterator<Item = NodeAddress> {
        let mut last = after;
        self.peers.iter().filter_map(move |((node, place), entry)| {
            // A link-local address means nothing elsewhere.
            let is_told =
                entry.is_proven() && place.scope() == 0 && last.is_none_or(|last| *node > last);
            if !is_told {
                return None;
            }
            last = Some(*node);
            Some(NodeAddress {
                node: *node,
                address: place.ip(),
                unicast_port: entry.unicast_port(),
                store_port: entry.store_port(),
            })
        })
    }

    pub(crate) fn handle_peers(
        &mut self,
        now: Instant,
        heard: &Heard,
        peers: &Peers,
    ) -> Result<(), DropReason> {
        let is_asked = |page: &Page| page.key == heard.key;
        if !self.paging.asked.get(&peers.nonce).is_some_and(is_asked) {
            return Err(DropReason::Unsolicited);
        }
        let Some(page) = self.paging.asked.remove(&peers.nonce) else {
            return Err(DropReason::Unsolicited);
        };
        for node in &peers.nodes {
            let address = SocketAddr::new(node.address, node.unicast_port);
            let place = Place::of(address);
            let is_new = self
                .peers
                .get(&(node.node, place))
                .is_none_or(|one| !one.is_proven());
            let is_wanted = node.node != self.identity.node && node.unicast_port != 0;
            if is_new && is_wanted && self.surroundings.may_speak_with(&place) {
                self.paging.add_candidate(now, address);
            }
        }
        let last = peers.nodes.iter().map(|node| node.node).max();
        if peers.more && last.is_some() {
            self.ask_page(now, &page.key, last, page.number + 1);
        }
        Ok(())
    }
}
