//! Peers that no multicast reaches: static ones, those remembered, and those that peers know.
//!
//! One neighbour within reach is enough to find a whole site: it is asked, page by page, whom it heard itself. What it
//! says is a list of addresses to ask for an echo, and nothing more. Neighbours that are heard anyway are asked only
//! while they are few: among many, everybody hears everybody.

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
    chance::between,
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

/// Neighbours are asked for whom they know while no more than so many of them are known.
const FEW_NEIGHBOURS: usize = 4;

/// … and not before this: most of them are heard soon after they or this node arrived.
const NEIGHBOUR_PAUSE: Duration = Duration::from_secs(2);

/// Neighbours that may be asked.
const MOST_NEIGHBOURS: usize = 16;

/// Addresses of one node in a page: one of each family, and of a second network.
const MOST_ADDRESSES: usize = 3;

/// Whoever was learnt from a page is known for so long after its echo, and asked again before: other peers are heard by
/// their beacons.
const LEARNT_LIFE: Duration = Duration::from_mins(15);

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
    /// When to ask neighbours that are heard without anybody's help.
    neighbours: BTreeMap<PeerKey, Instant>,
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
        let neighbours = self.neighbours.values().min().copied();
        [self.seek_at, self.candidates_at, neighbours]
            .into_iter()
            .flatten()
            .min()
    }

    /// The static peers.
    pub(crate) fn static_peers(&self) -> &[SocketAddr] {
        &self.static_peers
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

    /// Asks a peer that echoed whom it knows: at once if it leads out of this node's own neighbourhood, later else.
    pub(crate) fn page_through(&mut self, now: Instant, key: &PeerKey) {
        let is_neighbour = self.surroundings.interface_of(&key.1).is_some();
        if !self.paging.is_static(&key.1) && is_neighbour {
            let has_room = self.paging.neighbours.len() < MOST_NEIGHBOURS;
            if has_room && !self.paging.neighbours.contains_key(key) {
                let at = now + between(&mut self.rng, NEIGHBOUR_PAUSE, NEIGHBOUR_PAUSE * 2);
                self.paging.neighbours.insert(*key, at);
            }
            return;
        }
        // Nothing else is heard of it, unless this node is learnt by it too.
        if let Some(entry) = self.peers.get_mut(key) {
            entry.live_until(now + LEARNT_LIFE);
        }
        self.ask_first_page(now, key);
    }

    /// Asks the neighbours whom they know, while they are few.
    pub(crate) fn ask_neighbours(&mut self, now: Instant) {
        let neighbours = self.paging.neighbours.iter();
        let due = neighbours.filter(|(_, at)| **at <= now);
        let due: Vec<PeerKey> = due.map(|(key, _)| *key).collect();
        for key in due {
            self.paging.neighbours.remove(&key);
            if !self.is_proven(&key) {
                continue;
            }
            if self.count_neighbours() <= FEW_NEIGHBOURS {
                self.ask_first_page(now, &key);
            }
            let again = between(&mut self.rng, PAGE_INTERVAL, PAGE_INTERVAL * 2);
            self.paging.neighbours.insert(key, now + again);
        }
    }

    /// How many nodes are directly connected.
    fn count_neighbours(&self) -> usize {
        let neighbours = self.peers.iter().filter(|(key, entry)| {
            entry.is_proven() && self.surroundings.interface_of(&key.1).is_some()
        });
        let nodes: BTreeSet<NodeId> = neighbours.map(|(key, _)| key.0).collect();
        nodes.len()
    }

    fn ask_first_page(&mut self, now: Instant, key: &PeerKey) {
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
        let (nodes, more) = self.page_after(request.after);
        let peers = Peers {
            nonce: request.nonce,
            more,
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

    /// The nodes that this one heard itself, by id, as many as fit with some addresses of each; and whether there are more.
    fn page_after(&self, after: Option<NodeId>) -> (Vec<NodeAddress>, bool) {
        let mut page = Vec::new();
        for node in self.peers.proven_after(after) {
            // A link-local address means nothing elsewhere.
            let told = self.peers.of_id(node);
            let told = told.filter(|(key, entry)| entry.is_proven() && key.1.scope() == 0);
            let told = told.map(|((node, place), entry)| NodeAddress {
                node,
                address: place.ip(),
                unicast_port: entry.unicast_port(),
                store_port: entry.store_port(),
            });
            let addresses: Vec<NodeAddress> = told.take(MOST_ADDRESSES).collect();
            if page.len() + addresses.len() > MAX_PEERS {
                return (page, true);
            }
            page.extend(addresses);
        }
        (page, false)
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
            let soon = now + PAGE_INTERVAL * 2;
            let is_new = self.peers.get(&(node.node, place)).is_none_or(|one| {
                let is_heard = one.first_road(now).is_some();
                !one.is_proven() || (!is_heard && one.expires() < soon)
            });
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
