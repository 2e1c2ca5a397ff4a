//! The machine: what comes in is handed to the file that has the rules for it.

mod hearing;

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use zeroshare_content::ContentId;
use zeroshare_wire::datagram::{Day, HoldingState, NodeId};

use crate::{
    answers::Answers,
    beacons::Beacons,
    checks::Checks,
    drops::{DropReason, Drops},
    echoes::Echoes,
    event::{BanView, Counters, Destination, Event, Mercy, Report, Transmit, Verdict},
    holdings::{Holdings, Share},
    identity::Identity,
    lookups::{Absences, Askers, Lookups},
    nonces::SeenNonces,
    outsiders::{OutsiderView, Outsiders},
    paging::Paging,
    peers::{PeerKey, PeerTable},
    place::Place,
    rates::{Bucket, Budgets, Rate, Speech},
    settings::{Memory, Presence, Settings},
    standings::Standings,
    surroundings::{Interface, Surroundings},
};

/// Signatures checked: 50 µs each, so a flood of them takes at most 0.25 % of a core.
const SIGNATURES: Rate = Rate {
    per_second: 50,
    burst: 50,
};

/// Where peers were asked by unicast is remembered over a restart for so many.
const MOST_LEARNT: usize = 64;

/// One node's view of the LAN, and what it says there.
#[derive(Debug)]
pub struct Membership {
    pub(crate) identity: Identity,
    pub(crate) presence: Presence,
    pub(crate) surroundings: Surroundings,
    pub(crate) peers: PeerTable,
    pub(crate) holdings: Holdings,
    pub(crate) beacons: Beacons,
    pub(crate) echoes: Echoes,
    pub(crate) lookups: Lookups,
    pub(crate) absences: Absences,
    pub(crate) askers: Askers,
    pub(crate) answers: Answers,
    pub(crate) paging: Paging,
    pub(crate) standings: Standings,
    pub(crate) questions: SeenNonces,
    pub(crate) checks: Checks,
    pub(crate) signatures: Bucket,
    pub(crate) rng: fastrand::Rng,
    budgets: Budgets,
    drops: Drops,
    outsiders: Outsiders,
    received: u64,
    sent: u64,
    outbox: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Membership {
    /// Makes a machine that is silent until it is told of interfaces or static peers.
    pub fn new(now: Instant, settings: Settings, rng: fastrand::Rng) -> Self {
        let mut standings = Standings::default();
        standings.remember(now, &settings.memory.bans);
        let mut paging = Paging::default();
        paging.remember(settings.memory.learnt.into_iter().take(MOST_LEARNT));
        Self {
            holdings: Holdings::new(settings.group.clone(), settings.day),
            identity: Identity::new(
                settings.key,
                settings.group,
                settings.incarnation,
                settings.unicast_port,
            ),
            presence: settings.presence,
            surroundings: Surroundings::new(settings.allowed),
            peers: PeerTable::assuming(settings.assumed_nodes),
            beacons: Beacons::default(),
            echoes: Echoes::default(),
            lookups: Lookups::default(),
            absences: Absences::default(),
            askers: Askers::default(),
            answers: Answers::default(),
            paging,
            standings,
            questions: SeenNonces::default(),
            checks: Checks::default(),
            signatures: Bucket::new(SIGNATURES),
            rng,
            budgets: Budgets::default(),
            drops: Drops::default(),
            outsiders: Outsiders::default(),
            received: 0,
            sent: 0,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.identity.node
    }

    /// Takes in the interfaces in use; all of them, each time that something changed.
    pub fn handle_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>) {
        let changed = self.surroundings.set_interfaces(interfaces);
        let surroundings = &self.surroundings;
        self.budgets
            .retain(|index| surroundings.interfaces().any(|one| one.index == index));
        self.lose_sight();
        self.announce_soon(now, &changed);
        self.look_around(now, &changed);
        if !changed.is_empty() {
            self.absences.clear();
            self.seek_learnt(now);
        }
    }

    /// Takes in that this machine slept, or was stopped, and missed what was said: it shows itself and looks around anew.
    pub fn handle_resume(&mut self, now: Instant) {
        let all: Vec<u32> = self
            .surroundings
            .interfaces()
            .map(|one| one.index)
            .collect();
        self.absences.clear();
        self.announce_soon(now, &all);
        self.look_around(now, &all);
        self.seek_static_now(now);
    }

    /// Takes in the static peers: all of them, each time that one of their names got another address.
    pub fn handle_static_peers(&mut self, now: Instant, peers: &[SocketAddr]) {
        let places = peers.iter().map(|peer| Place::of(*peer));
        self.surroundings.set_static_peers(places);
        self.lose_sight();
        self.seek_static(now, peers);
    }

    /// Takes in how much of something is held and offered, in 1/255; 0: nothing any more.
    pub fn handle_holding(&mut self, now: Instant, content: ContentId, part: u8) {
        let state = HoldingState::Held;
        self.set_holding(now, content, (part > 0).then_some(Share { part, state }));
    }

    /// Takes in that something is being got: whoever asks is told, with how much of it is here (in 1/255, also 0).
    ///
    /// It ends with [`Self::handle_holding`].
    pub fn handle_arriving(
        &mut self,
        now: Instant,
        content: ContentId,
        part: u8,
        state: HoldingState,
    ) {
        self.set_holding(now, content, Some(Share { part, state }));
    }

    pub(crate) fn set_holding(&mut self, now: Instant, content: ContentId, share: Option<Share>) {
        if self.holdings.set(content, share) {
            self.announce_holdings(now);
        }
    }

    /// Takes in where the store listens; 0: nowhere.
    pub fn handle_store_port(&mut self, now: Instant, port: u16) {
        if self.identity.store_port != port {
            self.identity.store_port = port;
            self.announce_change(now);
        }
    }

    /// Takes in what day it is; names on UDP change with it.
    pub fn handle_day(&mut self, now: Instant, day: Day) {
        if self.holdings.set_day(day) {
            self.announce_holdings(now);
        }
    }

    /// Takes in how a provider did.
    pub fn handle_report(&mut self, now: Instant, report: &Report) {
        self.standings.report(now, report);
        if !matches!(report.verdict, Verdict::Gave(_)) {
            self.look_further(now, report);
        }
        if report.verdict == Verdict::Convicted {
            self.say_changed(report.address);
            if let Some(node) = report.node.filter(|node| self.has_heard_of(*node)) {
                self.say(Event::PeerUp(node));
            }
        }
    }

    /// Everybody who is banned, by address.
    pub fn bans(&self, now: Instant) -> Vec<BanView> {
        let bans = self.standings.running_bans(now);
        bans.map(|(address, ban, remaining)| BanView {
            address,
            remaining,
            convictions: ban.convictions,
            content: ban.content,
            nodes: self.nodes_at(address),
        })
        .collect()
    }

    /// Lifts bans and forgets faults, and says how many bans that were.
    pub fn forgive(&mut self, now: Instant, mercy: Mercy) -> usize {
        let of_node: BTreeSet<SocketAddr> = match mercy {
            Mercy::Node(node) => {
                let entries = self.peers.of_id(node);
                entries
                    .map(|(key, entry)| key.1.port(entry.store_port()))
                    .collect()
            }
            Mercy::Everybody | Mercy::Store(_) | Mercy::Machine(_) => BTreeSet::new(),
        };
        let at_places: BTreeSet<NodeId> = match mercy {
            Mercy::Store(store) => self.nodes_at(store).into_iter().collect(),
            Mercy::Machine(place) => self.peers.of_place(place).map(|(key, _)| key.0).collect(),
            Mercy::Everybody | Mercy::Node(_) => BTreeSet::new(),
        };
        self.standings.forgive_nodes(|node| match mercy {
            Mercy::Everybody => true,
            Mercy::Node(forgiven) => node == forgiven,
            Mercy::Store(_) | Mercy::Machine(_) => at_places.contains(&node),
        });
        let lifted = self.standings.forgive(now, |address| match mercy {
            Mercy::Everybody => true,
            Mercy::Node(_) => of_node.contains(&address),
            Mercy::Store(store) => address == store,
            Mercy::Machine(place) => Place::of(address) == place,
        });
        for address in &lifted {
            self.say_changed(*address);
        }
        lifted.len()
    }

    /// The live peers that say their store is there.
    fn nodes_at(&self, store: SocketAddr) -> Vec<NodeId> {
        let nodes = self.peers.of_place(Place::of(store));
        nodes
            .filter(|(_, entry)| entry.is_proven() && entry.store_port() == store.port())
            .map(|(key, _)| key.0)
            .collect()
    }

    /// Tells of those whose store is there: something of what is shown of them changed.
    fn say_changed(&mut self, store: SocketAddr) {
        for node in self.nodes_at(store) {
            self.say(Event::PeerUp(node));
        }
    }

    /// Takes in whether a store could be connected to, after [`Event::Probe`].
    ///
    /// This is what the machine saw itself, so it may remove.
    pub fn handle_probe(&mut self, address: SocketAddr, reachable: bool) {
        let place = Place::of(address);
        let probed: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(key, entry)| key.1 == place && entry.store_port() == address.port())
            .filter(|(_, entry)| entry.doubted)
            .map(|(key, _)| *key)
            .collect();
        for key in probed {
            if !reachable {
                self.forget(&key);
            } else if let Some(entry) = self.peers.get_mut(&key) {
                entry.doubted = false;
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for (key, entry) in self.peers.sweep(now) {
            self.gone(&key, entry.is_proven());
        }
        self.speak_answers(now);
        self.ask_lookups(now);
        self.repeat_echoes(now);
        self.speak_beacons(now);
        self.greet(now);
        self.seek(now);
        self.ask_neighbours(now);
        self.end_check(now);
    }

    /// Says when [`Self::handle_timeout`] must be called next, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.peers.next_sweep(),
            self.answers.next(),
            self.lookups.next(),
            self.echoes.next(),
            self.beacons.next(),
            self.paging.next(),
            self.checks.next(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Gives the next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// Gives the next piece of news.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            sent: self.sent,
            received: self.received,
            drops: self.drops.all().clone(),
        }
    }

    /// Who was heard lately, and not listened to because it is not of this node's group; at most 16.
    pub fn outsiders(&self) -> Vec<OutsiderView> {
        self.outsiders.all()
    }

    /// Whether this node belongs to a group.
    pub fn is_in_group(&self) -> bool {
        self.identity.group().is_secret()
    }

    /// How many nodes are live, as far as is known; most of them by hearsay on large networks.
    pub fn live_peers(&self) -> usize {
        self.peers.known()
    }

    /// How many ids at how many addresses are in the table.
    pub fn table_len(&self) -> usize {
        self.peers.iter().count()
    }

    /// What is worth keeping over a restart.
    pub fn memory(&self, now: Instant) -> Memory {
        Memory {
            learnt: self
                .unicast_only(now)
                .take(MOST_LEARNT)
                .map(|(_, at)| at)
                .collect(),
            bans: self.standings.bans(now),
        }
    }

    /// Sends a datagram, if its interface's budget allows it, and to one machine only if it may be spoken with now.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        destination: Destination,
        speech: Speech,
        payload: Vec<u8>,
    ) -> bool {
        let is_allowed = match destination {
            Destination::Everybody { .. } => true,
            Destination::One(to) => self.surroundings.may_speak_with(&Place::of(to)),
        };
        if !is_allowed {
            self.count_drop(DropReason::Stranger);
            return false;
        }
        let interface = self.interface_to(destination);
        let may_speak = self.budgets.take(now, interface, speech);
        self.transmit(may_speak, destination, payload)
    }

    /// Sends what somebody asked for, if the budgets of its address and of its interface allow it.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        (asker, speech): (Place, Speech),
        destination: Destination,
        payload: Vec<u8>,
    ) {
        let interface = self.interface_to(destination);
        let may_speak = self.budgets.take_reply(now, interface, speech, asker);
        self.transmit(may_speak, destination, payload);
    }

    fn interface_to(&self, destination: Destination) -> u32 {
        match destination {
            Destination::Everybody { interface, .. } => interface,
            Destination::One(address) => {
                let place = Place::of(address);
                self.surroundings.interface_of(&place).unwrap_or(0)
            }
        }
    }

    fn transmit(&mut self, may_speak: bool, destination: Destination, payload: Vec<u8>) -> bool {
        if !may_speak {
            self.count_drop(DropReason::RateLimited);
            return false;
        }
        self.sent = self.sent.saturating_add(1);
        self.outbox.push_back(Transmit {
            destination,
            payload,
        });
        true
    }

    pub(crate) fn say(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.drops.count(reason);
    }

    /// Removes an entry for a reason that was proven or seen by this machine itself.
    pub(crate) fn forget(&mut self, key: &PeerKey) {
        if let Some(entry) = self.peers.remove(key) {
            self.gone(key, entry.is_proven());
        }
    }

    /// Tells of an address that is not one of a peer's any more.
    pub(crate) fn gone(&mut self, key: &PeerKey, was_proven: bool) {
        if !was_proven {
            return;
        }
        let remains = self.peers.of_id(key.0).any(|(_, entry)| entry.is_proven());
        self.say(if remains {
            Event::PeerUp(key.0)
        } else {
            Event::PeerDown(key.0)
        });
    }
}
