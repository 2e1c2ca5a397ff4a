//! Everybody who was heard within their time to live.

mod census;
mod entry;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use zeroshare_wire::datagram::{FilterPart, NodeId};

pub(crate) use entry::{Entry, Heard, Order, Run};

use self::census::{Census, take_one};
use crate::{echoes::ASKED_AHEAD, place::Place, surroundings::Road};

/// What a peer is known under: an id that it claims, and the address that it claims it from.
pub(crate) type PeerKey = (NodeId, Place);

/// Entries in all: ten thousand nodes, some with an address of each family; 8 MB without filters.
pub(crate) const MOST_PEERS: usize = 16_384;

/// Ids of one address: several nodes may share a machine, and nobody may fill the table from one.
pub(crate) const MOST_IDS_OF_A_PLACE: usize = 4;

/// Addresses of one id: a machine with many interfaces, or several dozen copies of one.
pub(crate) const MOST_PLACES_OF_AN_ID: usize = 32;

/// An entry without proof is safe from others for so long since it was made: time enough for an echo, and no longer for
/// speaking more.
const GRACE: Duration = Duration::from_secs(2);

/// How many entries are drawn to find one that may make room: in a flood most of them are new.
const DRAWS: usize = 16;

/// Memory for the filters of peers that echoed: a hundred of them with 5,000 ids each.
const MOST_FILTER_BYTES: usize = 8 << 20;

/// Memory for filters while some of them are of peers without proof.
const MOST_UNPROVEN_FILTER_BYTES: usize = 1 << 20;

/// Expired entries are swept no more often than this.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The table of peers.
///
/// Invariants: `by_place` and `by_id` name the entries and no others; `unproven` has exactly those without proof, each at
/// the place that it knows itself; `proven` counts the others; entries with proof never make room.
#[derive(Debug, Default)]
pub(crate) struct PeerTable {
    entries: BTreeMap<PeerKey, Entry>,
    by_place: BTreeMap<Place, BTreeSet<NodeId>>,
    by_id: BTreeMap<NodeId, BTreeSet<Place>>,
    unproven: Vec<PeerKey>,
    proven: Census,
    /// How many nodes those with proof say they know, and how many say so.
    claimed: BTreeMap<u32, usize>,
    assumed: usize,
    filter_bytes: usize,
    sweep_at: Option<Instant>,
}

/// The table has no room that the newcomer could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableFull;

impl PeerTable {
    /// An empty table on a network that is believed to have so many other nodes.
    pub(crate) fn assuming(nodes: u32) -> Self {
        Self {
            assumed: nodes as usize,
            ..Self::default()
        }
    }

    pub(crate) fn get(&self, key: &PeerKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// An entry to change; what the indices depend on is private to it and changes by methods of the table.
    pub(crate) fn get_mut(&mut self, key: &PeerKey) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PeerKey, &Entry)> {
        self.entries.iter()
    }

    /// The entries of one id, by address.
    pub(crate) fn of_id(&self, node: NodeId) -> impl Iterator<Item = (PeerKey, &Entry)> {
        let places = self.by_id.get(&node).into_iter().flatten();
        places.filter_map(move |place| Some(((node, *place), self.entries.get(&(node, *place))?)))
    }

    /// The ids of those that sent back what was sent to them, after one.
    pub(crate) fn proven_after(&self, node: Option<NodeId>) -> impl Iterator<Item = NodeId> {
        self.proven.nodes_after(node)
    }

    /// The entries of one address, by id.
    pub(crate) fn of_place(&self, place: Place) -> impl Iterator<Item = (PeerKey, &Entry)> {
        let nodes = self.by_place.get(&place).into_iter().flatten();
        nodes.filter_map(move |node| Some(((*node, place), self.entries.get(&(*node, place))?)))
    }

    /// How many nodes there are, as far as is known.
    ///
    /// One address counts as one node, however many ids it claims, and one id as one, however many addresses it has.
    pub(crate) fn known(&self) -> usize {
        self.by_id
            .len()
            .min(self.by_place.len())
            .max(self.proven.nodes())
    }

    /// How many nodes sent back what was sent to them, counted in the same way.
    pub(crate) fn proven(&self) -> usize {
        self.proven.nodes()
    }

    /// How many nodes there are as far as this machine acts on it.
    ///
    /// Whoever invents peers makes it no larger: while so few have proof that each is asked for it, only those count.
    pub(crate) fn counted(&self) -> usize {
        let heard = if self.proven() < ASKED_AHEAD {
            self.proven()
        } else {
            self.known()
        };
        heard.max(self.assumed)
    }

    /// The most nodes that anybody with proof says it knows.
    pub(crate) fn most_claimed(&self) -> u32 {
        self.claimed.last_key_value().map_or(0, |(most, _)| *most)
    }

    /// Notes how many nodes a peer says it knows.
    pub(crate) fn claim(&mut self, key: &PeerKey, known_nodes: u32) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let before = std::mem::replace(&mut entry.claims_known, known_nodes);
        if entry.is_proven() && before != known_nodes {
            take_one(&mut self.claimed, &before);
            *self.claimed.entry(known_nodes).or_default() += 1;
        }
    }

    /// Makes an entry for who was heard for the first time, if there is room that it may have.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        rng: &mut fastrand::Rng,
        heard: &Heard,
    ) -> Result<(), TableFull> {
        let is_old = |entry: &Entry| now.saturating_duration_since(entry.first_heard()) >= GRACE;
        self.add_instead(now, rng, heard, is_old)
    }

    /// Makes an entry for who sends back what was sent to it: any without proof makes room for it.
    pub(crate) fn add_proven(
        &mut self,
        now: Instant,
        rng: &mut fastrand::Rng,
        heard: &Heard,
    ) -> Result<(), TableFull> {
        self.add_instead(now, rng, heard, |_| true)
    }

    fn add_instead(
        &mut self,
        now: Instant,
        rng: &mut fastrand::Rng,
        heard: &Heard,
        may_go: impl Fn(&Entry) -> bool,
    ) -> Result<(), TableFull> {
        if self.entries.contains_key(&heard.key) {
            return Ok(());
        }
        self.make_room(rng, heard.key, may_go)?;
        let (node, place) = heard.key;
        let mut entry = Entry::new(now, heard);
        self.sweep_no_later_than(entry.expires());
        self.by_place.entry(place).or_default().insert(node);
        self.by_id.entry(node).or_default().insert(place);
        entry.unproven_at = Some(self.unproven.len());
        self.unproven.push(heard.key);
        self.entries.insert(heard.key, entry);
        Ok(())
    }

    /// Notes a sign of life of an entry; what it says of its time to live can only lengthen it.
    pub(crate) fn hear(&mut self, now: Instant, heard: &Heard, ttl: Duration) {
        if let Some(entry) = self.entries.get_mut(&heard.key) {
            entry.hear(now, heard, ttl);
        }
    }

    /// Takes in that the peer sent back what was sent to it, and with it what is true of it. Says whether that is news.
    ///
    /// What was heard before it was asked cannot be newer than its reply.
    pub(crate) fn prove(&mut self, now: Instant, heard: &Heard, asked_at: Instant) -> bool {
        let was_proven = !self.leave_unproven(&heard.key);
        let Some(entry) = self.entries.get_mut(&heard.key) else {
            return false;
        };
        if was_proven {
            self.proven.remove(&heard.key, entry.run());
        } else {
            *self.claimed.entry(entry.claims_known).or_default() += 1;
        }
        self.proven.add(&heard.key, heard.run);
        let before = entry.filters().size_bytes();
        let news = entry.prove(now, heard, asked_at);
        self.filter_bytes = self.filter_bytes - before + entry.filters().size_bytes();
        news
    }

    /// Takes in that the peer did not send back what was sent to it several times. Says whether that is news.
    pub(crate) fn disprove(&mut self, key: &PeerKey) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        if !entry.disprove() {
            return false;
        }
        entry.unproven_at = Some(self.unproven.len());
        self.unproven.push(*key);
        self.proven.remove(key, entry.run());
        take_one(&mut self.claimed, &entry.claims_known);
        true
    }

    /// Takes a filter, unless memory for filters is used up.
    pub(crate) fn take_filter(
        &mut self,
        now: Instant,
        key: &PeerKey,
        sequence: u64,
        part: FilterPart,
    ) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let most = if entry.is_proven() {
            MOST_FILTER_BYTES
        } else {
            MOST_UNPROVEN_FILTER_BYTES
        };
        if self.filter_bytes + part.bloom.as_bytes().len() > most {
            return;
        }
        let before = entry.filters().size_bytes();
        entry.take_filter(now, sequence, part);
        self.filter_bytes = self.filter_bytes - before + entry.filters().size_bytes();
    }

    pub(crate) fn remove(&mut self, key: &PeerKey) -> Option<Entry> {
        let was_proven = !self.leave_unproven(key);
        let entry = self.entries.remove(key)?;
        let (node, place) = key;
        if was_proven {
            self.proven.remove(key, entry.run());
            take_one(&mut self.claimed, &entry.claims_known);
        }
        self.filter_bytes -= entry.filters().size_bytes();
        if let Some(ids) = self.by_place.get_mut(place) {
            ids.remove(node);
            if ids.is_empty() {
                self.by_place.remove(place);
            }
        }
        if let Some(places) = self.by_id.get_mut(node) {
            places.remove(place);
            if places.is_empty() {
                self.by_id.remove(node);
            }
        }
        Some(entry)
    }

    /// When [`Self::sweep`] has something to do.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Removes whoever was silent for their time to live.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<(PeerKey, Entry)> {
        if self.sweep_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let expired: Vec<PeerKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.expires() <= now)
            .map(|(key, _)| *key)
            .collect();
        let gone = expired
            .into_iter()
            .filter_map(|key| Some((key, self.remove(&key)?)))
            .collect();
        let next = self.entries.values().map(Entry::expires).min();
        self.sweep_at = next.map(|at| at.max(now + SWEEP_INTERVAL));
        gone
    }

    /// The first road on each interface by which each peer is heard: these reach everybody.
    pub(crate) fn needed_roads(&self, now: Instant) -> BTreeSet<(u32, Road)> {
        let mut first: BTreeMap<(NodeId, u32), Road> = BTreeMap::new();
        for ((node, _), entry) in self.entries.iter().filter(|(_, entry)| entry.is_proven()) {
            let Some((interface, road)) = entry.first_road(now) else {
                continue;
            };
            // A node has an address of each family, and one road to it is enough.
            let best = first.entry((*node, interface)).or_insert(road);
            *best = road.min(*best);
        }
        first
            .into_iter()
            .map(|((_, interface), road)| (interface, road))
            .collect()
    }

    /// Takes an entry out of those without proof. Says whether it was one of them.
    fn leave_unproven(&mut self, key: &PeerKey) -> bool {
        let Some(at) = self
            .entries
            .get_mut(key)
            .and_then(|entry| entry.unproven_at.take())
        else {
            return false;
        };
        self.unproven.swap_remove(at);
        let moved = self.unproven.get(at);
        if let Some(entry) = moved.and_then(|moved| self.entries.get_mut(moved)) {
            entry.unproven_at = Some(at);
        }
        true
    }

    /// Removes one of those without proof, if there is need: by chance, so that nobody can arrange whom it hits.
    fn make_room(
        &mut self,
        rng: &mut fastrand::Rng,
        (node, place): PeerKey,
        may_go: impl Fn(&Entry) -> bool,
    ) -> Result<(), TableFull> {
        let ids = self.by_place.get(&place);
        let places = self.by_id.get(&node);
        let goes = |key: &PeerKey| {
            let entry = self.entries.get(key);
            entry.is_some_and(|entry| !entry.is_proven() && may_go(entry))
        };
        let found = if ids.map_or(0, BTreeSet::len) >= MOST_IDS_OF_A_PLACE {
            let here = ids.into_iter().flatten().map(|node| (*node, place));
            rng.choice(here.filter(goes).collect::<Vec<_>>())
        } else if places.map_or(0, BTreeSet::len) >= MOST_PLACES_OF_AN_ID {
            // Without grace: else whoever forges an id all the time keeps its node out. Its echo lets that in again.
            let is_unproven = |key: &PeerKey| self.get(key).is_some_and(|one| !one.is_proven());
            let elsewhere = places.into_iter().flatten().map(|place| (node, *place));
            rng.choice(elsewhere.filter(is_unproven).collect::<Vec<_>>())
        } else if self.entries.len() >= MOST_PEERS {
            let drawn = (0..DRAWS).filter_map(|_| rng.choice(self.unproven.iter()));
            drawn.copied().find(goes)
        } else {
            return Ok(());
        };
        let key = found.ok_or(TableFull)?;
        self.remove(&key);
        Ok(())
    }

    fn sweep_no_later_than(&mut self, at: Instant) {
        self.sweep_at = Some(self.sweep_at.map_or(at, |sweep| sweep.min(at)));
    }
}
