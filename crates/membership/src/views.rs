//! Peers, and what is offered to them, as the edge sees them.

use std::{collections::BTreeSet, net::SocketAddr, time::Instant};

use zeroshare_content::ContentId;
use zeroshare_wire::datagram::NodeId;

use crate::{
    event::PeerView, machine::Membership, peers::PeerKey, place::Place, surroundings::Arrival,
};

impl Membership {
    /// Every live peer that sent back what was sent to it, by id.
    ///
    /// A copied machine has the id of the one that it was copied from, and is another peer.
    pub fn peers(&self, now: Instant) -> Vec<PeerView> {
        let proven = self.peers.iter().filter(|(_, entry)| entry.is_proven());
        let runs: BTreeSet<(NodeId, u64)> = proven
            .map(|(key, entry)| (key.0, entry.run().incarnation))
            .collect();
        let views = runs.into_iter().filter_map(|run| self.run(now, run));
        views.collect()
    }

    /// The live peers of one id that sent back what was sent to them: one, unless machines were copied.
    pub fn peers_of(&self, now: Instant, node: NodeId) -> Vec<PeerView> {
        let proven = self
            .peers
            .of_id(node)
            .filter(|(_, entry)| entry.is_proven());
        let runs: BTreeSet<u64> = proven.map(|(_, entry)| entry.run().incarnation).collect();
        let views = runs
            .into_iter()
            .filter_map(|run| self.run(now, (node, run)));
        views.collect()
    }

    /// The machines on which live peers sent back what was sent to them.
    pub fn places(&self) -> BTreeSet<Place> {
        let proven = self.peers.iter().filter(|(_, entry)| entry.is_proven());
        proven.map(|(key, _)| key.1).collect()
    }

    /// Whether anything was heard of a node within its time to live.
    pub fn has_heard_of(&self, node: NodeId) -> bool {
        self.peers.of_id(node).next().is_some()
    }

    /// Says whether all of something is held and offered here, for questions that do not come through this machine.
    pub fn offers(&self, content: &ContentId) -> bool {
        self.holdings.is_whole(content)
    }

    /// Where the store listens; 0: nowhere.
    pub fn store_port(&self) -> u16 {
        self.identity.store_port
    }

    /// Says whether what came so comes, by its source address, from a directly connected network: that of the interface
    /// where it came in, if that is known.
    pub fn is_neighbour(&self, arrival: &Arrival) -> bool {
        let place = Place::of(arrival.source);
        place.is_one_machine()
            && match arrival.interface {
                Some(interface) => self.surroundings.is_on(interface, &place),
                None => self.surroundings.interface_of(&place).is_some(),
            }
    }

    fn run(&self, now: Instant, (node, incarnation): (NodeId, u64)) -> Option<PeerView> {
        let of_run = self
            .peers
            .of_id(node)
            .filter(|(_, entry)| entry.is_proven() && entry.run().incarnation == incarnation);
        let keys: Vec<PeerKey> = of_run.map(|(key, _)| key).collect();
        self.view(now, *keys.first()?, &keys)
    }

    /// Whether a store is not to be read.
    pub(crate) fn is_banned(&self, now: Instant, store: SocketAddr) -> bool {
        let standing = self.standings.of(store);
        standing.is_some_and(|one| one.ban(now).is_some())
    }

    /// One peer as seen at `first`, with its other addresses of the same run.
    pub(crate) fn view(&self, now: Instant, first: PeerKey, keys: &[PeerKey]) -> Option<PeerView> {
        self.peers.get(&first)?;
        let entries = || {
            keys.iter()
                .filter_map(|key| Some((key, self.peers.get(key)?)))
        };
        let mut roads: Vec<_> = entries().flat_map(|(_, entry)| entry.roads()).collect();
        roads.sort_unstable();
        roads.dedup();
        let mut addresses: Vec<(bool, (u64, u32), SocketAddr)> = entries()
            .filter(|(key, _)| self.surroundings.may_speak_with(&key.1))
            .filter(|(_, entry)| entry.is_proven() && entry.store_port() != 0)
            .map(|(key, entry)| (key, key.1.port(entry.store_port())))
            .map(|(key, address)| (*key != first, self.badness(now, address), address))
            .collect();
        addresses.sort_unstable();
        let store_addresses: Vec<_> = addresses.into_iter().map(|(.., address)| address).collect();
        let standing = store_addresses
            .first()
            .and_then(|at| self.standings.of(*at));
        Some(PeerView {
            node: first.0,
            last_heard: entries().map(|(_, one)| one.last_heard()).max()?,
            roads,
            // Beacons come by one road, and so from one of its addresses; not always from the same.
            held_ids: entries()
                .max_by_key(|(_, one)| one.filters().taken_at())
                .and_then(|(_, one)| one.filters().held_ids()),
            bytes_per_second: standing.map_or(0, |one| one.bytes_per_second),
            faults: standing.map_or(0, |one| one.faults_at(now)),
            ban: store_addresses
                .iter()
                .filter_map(|at| self.standings.of(*at)?.ban(now))
                .chain(self.standings.ban_of(now, first.0))
                .max(),
            store_addresses,
        })
    }

    /// Orders stores by what is known of them, the best first.
    pub(crate) fn badness(&self, now: Instant, address: SocketAddr) -> (u64, u32) {
        self.standings.of(address).map_or((0, u32::MAX), |one| {
            let banned = u64::from(one.ban(now).is_some());
            let faults = u64::from(one.faults_at(now));
            let slowness = u32::MAX - u32::try_from(one.bytes_per_second >> 10).unwrap_or(u32::MAX);
            (banned << 32 | faults, slowness)
        })
    }
}
