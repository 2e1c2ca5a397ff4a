//! Hearing that others live, or go.
//!
//! A beacon that fits to what is proven of its sender counts as it is; one that does not has the sender asked. Farewells
//! and conflicting ids are hints that have a peer checked, unless they are signed.

use std::time::{Duration, Instant};

use zeroshare_wire::datagram::{Alive, FilterPart, verify_origin};

use crate::{
    beacons::SMALL_NETWORK,
    drops::DropReason,
    event::Event,
    machine::Membership,
    peers::{Heard, Order, PeerKey},
    place::Place,
};

/// Doubt about a peer has its store tried no more often than this.
const PROBE_PAUSE: Duration = Duration::from_secs(30);

impl Membership {
    pub(crate) fn handle_alive(
        &mut self,
        now: Instant,
        heard: &Heard,
        alive: Alive,
    ) -> Result<(), DropReason> {
        if self.peers.get(&heard.key).is_none() {
            self.peers
                .add(now, &mut self.rng, heard)
                .map_err(|_| DropReason::TableFull)?;
            self.make_way(now);
            self.doubt_namesakes(now, heard);
        } else {
            self.check_order(now, heard, alive.filter.as_ref())?;
        }
        self.peers.hear(now, heard, alive.ttl);
        self.peers.claim(&heard.key, alive.known_nodes);
        let ports_changed = self.peers.get(&heard.key).is_some_and(|entry| {
            (entry.store_port(), entry.unicast_port()) != (heard.store_port, heard.unicast_port)
        });
        if ports_changed {
            self.reprove(now, heard);
        }
        let filtered = alive
            .filter
            .map_or(Ok(()), |part| self.take_filter(now, heard, part));
        self.prove_ahead(now, &heard.key);
        filtered
    }

    fn check_order(
        &mut self,
        now: Instant,
        heard: &Heard,
        part: Option<&FilterPart>,
    ) -> Result<(), DropReason> {
        let order = self
            .peers
            .get(&heard.key)
            .map(|entry| entry.order_of(heard.run, part));
        match order {
            Some(Order::Repeated) => Err(DropReason::Duplicate),
            Some(Order::Surprising) => {
                if let Some(entry) = self.peers.get_mut(&heard.key) {
                    entry.dispute(now);
                }
                self.reprove(now, heard);
                Err(DropReason::OutOfOrder)
            }
            Some(Order::Next) | None => Ok(()),
        }
    }

    fn take_filter(
        &mut self,
        now: Instant,
        heard: &Heard,
        part: FilterPart,
    ) -> Result<(), DropReason> {
        if part.bloom.is_overfull() {
            return Err(DropReason::OverfullFilter);
        }
        if !self.holdings.day().accepts(part.day) {
            return Err(DropReason::OtherDay);
        }
        self.absences.void_all_in(part.day, &part.bloom);
        self.peers
            .take_filter(now, &heard.key, heard.run.sequence, part);
        Ok(())
    }

    /// The same id was heard at another address in another run: one of them may be wrong, or the node moved.
    fn doubt_namesakes(&mut self, now: Instant, heard: &Heard) {
        let others: Vec<PeerKey> = self
            .peers
            .of_id(heard.key.0)
            .filter(|(key, entry)| {
                *key != heard.key && entry.run().incarnation != heard.run.incarnation
            })
            .map(|(key, _)| key)
            .collect();
        for key in others {
            self.doubt(now, &key);
        }
        // The same run at another address has several, or moved: an echo tells whether it is still at the old one.
        let same_run: Vec<PeerKey> = self
            .peers
            .of_id(heard.key.0)
            .filter(|(key, entry)| *key != heard.key && entry.is_proven())
            .filter(|(_, entry)| entry.run().incarnation == heard.run.incarnation)
            .map(|(key, _)| key)
            .collect();
        for key in same_run {
            self.prove_later(now, &key);
        }
    }

    pub(crate) fn handle_leaving(
        &mut self,
        now: Instant,
        heard: &Heard,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let node = heard.key.0;
        let same_run: Vec<PeerKey> = self
            .peers
            .of_id(node)
            .filter(|(_, entry)| entry.run().incarnation == heard.run.incarnation)
            .map(|(key, _)| key)
            .collect();
        if same_run.is_empty() {
            return Err(DropReason::Unsolicited);
        }
        if self.signatures.take(now) {
            let signed = verify_origin(bytes, node).map_err(|_| DropReason::WrongSignature)?;
            if signed.is_some() {
                // The node said so itself, of this very run: a replay finds nothing to remove later.
                for key in same_run {
                    self.forget(&key);
                }
                return Ok(());
            }
        }
        self.doubt(now, &heard.key);
        Ok(())
    }

    /// Lowers a peer's rank for hearsay, and has it checked.
    fn doubt(&mut self, now: Instant, key: &PeerKey) {
        let Some(entry) = self.peers.get_mut(key) else {
            return;
        };
        entry.doubted = true;
        let recently = |at: Instant| now.saturating_duration_since(at) < PROBE_PAUSE;
        if !entry.is_proven() || entry.probed_at.is_some_and(recently) {
            return;
        }
        entry.probed_at = Some(now);
        let port = entry.store_port();
        if port != 0 {
            self.say(Event::Probe(key.1.port(port)));
        }
        self.prove_now(now, key);
    }

    /// Takes those for gone who are where this node may not speak any more: they decide nothing here. Back there, they are
    /// asked first, and what they held counts again.
    pub(crate) fn lose_sight(&mut self) {
        let is_lost = |key: &PeerKey| !self.surroundings.may_speak_with(&key.1);
        let lost: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(key, entry)| entry.is_proven() && is_lost(key))
            .map(|(key, _)| *key)
            .collect();
        self.lose(lost);
    }

    /// Takes in that the system's routes lead away from a machine, into a network that is not in use: it is out of reach
    /// until it sends back what is sent to it anew.
    pub fn handle_astray(&mut self, place: Place) {
        let there = self.peers.of_place(place);
        let proven = there.filter(|(_, entry)| entry.is_proven());
        let lost: Vec<PeerKey> = proven.map(|(key, _)| key).collect();
        self.lose(lost);
    }

    fn lose(&mut self, lost: Vec<PeerKey>) {
        for key in lost {
            if self.peers.disprove(&key) {
                self.gone(&key, true);
            }
            if let Some(entry) = self.peers.get_mut(&key) {
                entry.away = true;
            }
        }
    }

    /// Looks anew at the peers on interfaces that came up or changed: they or this node may have another address, and
    /// what was said meanwhile is lost.
    pub(crate) fn look_around(&mut self, now: Instant, interfaces: &[u32]) {
        let is_there = |key: &PeerKey| {
            let interface = self.surroundings.interface_of(&key.1);
            interface.is_some_and(|index| interfaces.contains(&index))
        };
        let peers: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(key, entry)| (entry.is_proven() || entry.away) && is_there(key))
            .map(|(key, _)| *key)
            .take(SMALL_NETWORK)
            .collect();
        for key in peers {
            if let Some(entry) = self.peers.get_mut(&key) {
                entry.greeted = None;
            }
            self.prove_now(now, &key);
        }
    }
}
