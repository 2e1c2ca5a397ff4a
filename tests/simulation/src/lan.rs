//! The LAN and its nodes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use zeroshare_content::ContentId;
use zeroshare_membership::{
    Arrival, Destination, Event, Interface, LookupId, Membership, Memory, Presence, Provider, Road,
    Settings, Transmit,
};
use zeroshare_wire::datagram::{Day, GroupKey, SigningKey};

mod letter;
mod traffic;

use self::letter::{Letter, Mail};
pub use self::traffic::Traffic;
use crate::Weather;

/// Where everybody is spoken to, and here each node alone as well.
pub const GROUP_PORT: u16 = 38339;

/// The only interface of each node.
const INTERFACE: u32 = 2;

/// The day on which all of it happens.
pub const DAY: u32 = 20_000;

/// How a node is started.
#[derive(Debug, Clone, Copy)]
pub struct NodeOptions {
    /// Whether it shows itself.
    pub presence: Presence,
    /// Where its store listens.
    pub store_port: u16,
    /// How many nodes it believes in, if it hears of fewer.
    pub assumed_nodes: u32,
    /// Whether beacons reach it. Ten thousand full tables are 10⁸ entries, so only some nodes of a large LAN have one;
    /// the others are told by `assumed_nodes` what they would know.
    pub hears_beacons: bool,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            presence: Presence::Announced,
            store_port: GROUP_PORT,
            assumed_nodes: 0,
            hears_beacons: true,
        }
    }
}

/// What a lookup came to.
#[derive(Debug)]
pub struct Found {
    /// Providers in their order, each with the time since the question.
    pub providers: Vec<(Duration, Provider)>,
    /// When the answer "that is all" came.
    pub ended: Duration,
}

/// Machines on one LAN.
#[derive(Debug)]
pub struct Lan {
    /// How the network behaves from now on.
    pub weather: Weather,
    group: GroupKey,
    now: Instant,
    rng: fastrand::Rng,
    nodes: Vec<Node>,
    by_address: BTreeMap<Ipv4Addr, usize>,
    cut_off: BTreeSet<usize>,
    split_off: BTreeSet<usize>,
    mail: Mail,
    traffic: Traffic,
    /// What was sent, where somebody listens.
    captured: Option<Vec<Box<[u8]>>>,
    wakes: BinaryHeap<Reverse<(Instant, usize)>>,
}

#[derive(Debug)]
struct Node {
    machine: Membership,
    address: Ipv4Addr,
    is_up: bool,
    hears_beacons: bool,
    planned: Option<Instant>,
    traffic: Traffic,
    events: Vec<(Instant, Event)>,
}

impl Lan {
    /// A LAN without nodes. The same seed gives the same story.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self {
            weather,
            group: GroupKey::none(),
            // Only differences count: this is the one reading of a clock.
            now: Instant::now(),
            rng: fastrand::Rng::with_seed(seed),
            nodes: Vec::new(),
            by_address: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            split_off: BTreeSet::new(),
            mail: Mail::default(),
            traffic: Traffic::default(),
            captured: None,
            wakes: BinaryHeap::new(),
        }
    }

    /// Makes a group of the nodes that are started from now on.
    #[must_use]
    pub fn in_group(self, group: GroupKey) -> Self {
        Self { group, ..self }
    }

    /// Starts a node that holds what is given, and gives its number.
    pub fn start(&mut self, holds: &[ContentId], options: NodeOptions) -> usize {
        let node = self.nodes.len();
        let number = u32::try_from(node + 1).unwrap_or(u32::MAX);
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number);
        let mut seed = [0; 32];
        self.rng.fill(&mut seed);
        let settings = Settings {
            key: SigningKey::from_seed(&seed),
            incarnation: self.rng.u64(..),
            unicast_port: GROUP_PORT,
            group: self.group.clone(),
            presence: options.presence,
            allowed: Vec::new(),
            day: Day::from_number(DAY),
            memory: Memory::default(),
            assumed_nodes: options.assumed_nodes,
        };
        let machine = Membership::new(self.now, settings, self.rng.fork());
        self.by_address.insert(address, node);
        self.nodes.push(Node {
            machine,
            address,
            is_up: true,
            hears_beacons: options.hears_beacons,
            planned: None,
            traffic: Traffic::default(),
            events: Vec::new(),
        });
        self.with(node, |machine, now| {
            machine.handle_store_port(now, options.store_port);
            for content in holds {
                machine.handle_holding(now, *content, u8::MAX);
            }
            machine.handle_interfaces(now, vec![interface(address)]);
        });
        node
    }

    /// Starts nodes without tables on a LAN of so many, all within a second.
    pub fn start_light(&mut self, count: usize, holds: &[ContentId], assumed_nodes: u32) {
        let options = NodeOptions {
            assumed_nodes,
            hears_beacons: false,
            ..NodeOptions::default()
        };
        let pause = Duration::from_secs(1) / u32::try_from(count.max(1)).unwrap_or(1);
        for _ in 0..count {
            self.start(holds, options);
            self.run(pause);
        }
    }

    /// Starts several nodes, all within a second.
    pub fn start_many(&mut self, count: usize, holds: &[ContentId]) -> Vec<usize> {
        let pause = Duration::from_secs(1) / u32::try_from(count.max(1)).unwrap_or(1);
        (0..count)
            .map(|_| {
                let node = self.start(holds, NodeOptions::default());
                self.run(pause);
                node
            })
            .collect()
    }

    /// Lets something happen to a node's machine, and does what it then says.
    pub fn with<T>(
        &mut self,
        node: usize,
        happens: impl FnOnce(&mut Membership, Instant) -> T,
    ) -> T {
        let result = happens(&mut self.nodes[node].machine, self.now);
        self.settle(node);
        result
    }

    /// The same, and gives a copy of what it then sends.
    pub fn overhear<T>(
        &mut self,
        node: usize,
        happens: impl FnOnce(&mut Membership, Instant) -> T,
    ) -> Vec<Vec<u8>> {
        happens(&mut self.nodes[node].machine, self.now);
        let mut said = Vec::new();
        while let Some(transmit) = self.nodes[node].machine.poll_transmit() {
            said.push(transmit.payload.clone());
            self.transmit(node, transmit);
        }
        self.settle(node);
        said
    }

    /// A node's machine, to look at.
    pub fn machine(&self, node: usize) -> &Membership {
        &self.nodes[node].machine
    }

    /// A node's address.
    pub fn address(&self, node: usize) -> IpAddr {
        self.nodes[node].address.into()
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Ends a node without a word.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].is_up = false;
    }

    /// Cuts a node off from all others, or heals that.
    pub fn cut_off(&mut self, node: usize, is_cut_off: bool) {
        if is_cut_off {
            self.cut_off.insert(node);
        } else {
            self.cut_off.remove(&node);
        }
    }

    /// Takes a node to the other side of a LAN that falls in two: those there hear each other, and nobody else.
    pub fn split_off(&mut self, node: usize) {
        self.split_off.insert(node);
    }

    /// Makes one LAN of the two sides.
    pub fn join_again(&mut self) {
        self.split_off.clear();
    }

    /// What a node sent since this was last asked.
    pub fn take_traffic(&mut self, node: usize) -> Traffic {
        std::mem::take(&mut self.nodes[node].traffic)
    }

    /// What all nodes sent since this was last asked.
    pub fn take_all_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    /// Keeps a copy of every datagram from now on.
    pub fn listen_in(&mut self) {
        self.captured.get_or_insert_default();
    }

    /// What all nodes sent since this was last asked, one to everybody once for each road.
    pub fn take_captured(&mut self) -> Vec<Box<[u8]>> {
        self.captured
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// What happened at a node since this was last asked.
    pub fn take_events(&mut self, node: usize) -> Vec<Event> {
        let events = std::mem::take(&mut self.nodes[node].events);
        events.into_iter().map(|(_, event)| event).collect()
    }

    /// Puts a datagram on the wire to a node, with whatever source address.
    pub fn inject(&mut self, to: usize, source: SocketAddr, road: Road, bytes: &[u8]) {
        let letter = Arc::new(Letter::new(source, road, bytes.into()));
        self.mail
            .send(self.now, &letter, vec![(Duration::ZERO, to)]);
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// Asks on a node who holds something, and waits for the end of the lookup.
    pub fn find(&mut self, node: usize, contents: &[ContentId], wait: Duration) -> Found {
        let started = self.now;
        self.nodes[node].events.clear();
        let lookup = self.with(node, |machine, now| machine.find(now, contents, wait, None));
        let lookup = lookup.expect("fewer lookups than a machine takes");
        self.run(wait + Duration::from_millis(1));
        let events = std::mem::take(&mut self.nodes[node].events);
        found(started, lookup, events)
    }

    /// Does the next thing that happens until a time, and says whether there was one.
    fn step(&mut self, until: Instant) -> bool {
        let arrival = self.mail.next();
        let wake = self.wakes.peek().map(|Reverse((at, _))| *at);
        let next = [arrival, wake].into_iter().flatten().min();
        let Some(next) = next.filter(|at| *at <= until) else {
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            if let Some((letter, to)) = self.mail.pop() {
                self.arrive(&letter, to);
            }
        } else if let Some(Reverse((at, node))) = self.wakes.pop() {
            self.wake(at, node);
        }
        true
    }

    fn arrive(&mut self, letter: &Letter, to: usize) {
        if !self.nodes[to].is_up {
            return;
        }
        let arrival = Arrival {
            source: letter.source,
            interface: (letter.road != Road::Unicast).then_some(INTERFACE),
            road: letter.road,
            ttl: Some(255),
        };
        self.with(to, |machine, now| match &letter.said {
            Some(said) => machine.handle_decoded(now, &arrival, said, &letter.bytes),
            None => machine.handle_datagram(now, &arrival, &letter.bytes),
        });
    }

    fn wake(&mut self, at: Instant, node: usize) {
        if self.nodes[node].planned != Some(at) {
            return;
        }
        self.nodes[node].planned = None;
        if self.nodes[node].is_up {
            self.with(node, Membership::handle_timeout);
        }
    }

    /// Sends what a machine wants to send, and plans its next wake-up.
    fn settle(&mut self, node: usize) {
        while let Some(transmit) = self.nodes[node].machine.poll_transmit() {
            self.transmit(node, transmit);
        }
        let now = self.now;
        let one = &mut self.nodes[node];
        while let Some(event) = one.machine.poll_event() {
            one.events.push((now, event));
        }
        // A machine that wants to be woken at once, again and again, would stop time.
        let timeout = one
            .machine
            .poll_timeout()
            .map(|at| at.max(now + Duration::from_micros(1)));
        if timeout != one.planned {
            one.planned = timeout;
            self.wakes.extend(timeout.map(|at| Reverse((at, node))));
        }
    }

    fn transmit(&mut self, node: usize, transmit: Transmit) {
        let road = match transmit.destination {
            Destination::One(_) => Road::Unicast,
            Destination::Everybody { road, .. } => road,
        };
        let source = SocketAddr::from((self.nodes[node].address, GROUP_PORT));
        let letter = Arc::new(Letter::new(source, road, transmit.payload.into()));
        let is_to_all = road != Road::Unicast;
        if let Some(captured) = &mut self.captured {
            captured.push(letter.bytes.clone());
        }
        let sender = &mut self.nodes[node];
        for traffic in [&mut sender.traffic, &mut self.traffic] {
            traffic.add(is_to_all, letter.bytes.len(), letter.body());
        }
        if !sender.is_up {
            return;
        }
        let mut copies = Vec::new();
        match transmit.destination {
            Destination::One(to) => copies.extend(self.node_at(to)),
            Destination::Everybody { .. } => copies.extend(self.hearers(&letter)),
        }
        self.send(node, &letter, &copies);
    }

    fn node_at(&self, address: SocketAddr) -> Option<usize> {
        let IpAddr::V4(ip) = address.ip() else {
            return None;
        };
        let node = self.by_address.get(&ip).copied();
        node.filter(|_| address.port() == GROUP_PORT)
    }

    /// Whom a letter to everybody reaches.
    fn hearers(&self, letter: &Letter) -> impl Iterator<Item = usize> {
        let passes = letter.road != Road::Multicast4 || self.weather.multicast;
        let is_beacon = letter.is_beacon();
        let nodes = self.nodes.iter().enumerate();
        let hears = move |node: &Node| passes && node.is_up && (node.hears_beacons || !is_beacon);
        nodes.filter_map(move |(number, node)| hears(node).then_some(number))
    }

    fn send(&mut self, from: usize, letter: &Arc<Letter>, to: &[usize]) {
        let is_to_all = letter.road != Road::Unicast;
        let from_is_cut = self.cut_off.contains(&from);
        let mut copies = Vec::with_capacity(to.len());
        for &to in to {
            let is_apart = self.split_off.contains(&from) != self.split_off.contains(&to);
            let is_cut = is_apart || from_is_cut || self.cut_off.contains(&to);
            if from == to || !is_cut {
                let delays = self.weather.delays(&mut self.rng, is_to_all);
                copies.extend(delays.map(|delay| (delay, to)));
            }
        }
        self.mail.send(self.now, letter, copies);
    }
}

fn interface(address: Ipv4Addr) -> Interface {
    let subnet = format!("{address}/16").parse().expect("a network");
    Interface {
        index: INTERFACE,
        subnets: [subnet].into(),
        roads: [Road::Multicast4, Road::Broadcast].into(),
    }
}

fn found(started: Instant, lookup: LookupId, events: Vec<(Instant, Event)>) -> Found {
    let mut providers = Vec::new();
    let mut ended = None;
    for (at, event) in events {
        match event {
            Event::Found(of, provider) if of == lookup => {
                providers.push((at - started, *provider));
            }
            Event::LookupEnded(of) if of == lookup => ended = Some(at - started),
            Event::Found(..)
            | Event::LookupEnded(_)
            | Event::PeerUp(_)
            | Event::PeerDown(_)
            | Event::Step(..)
            | Event::Probe(_)
            | Event::Asked(_)
            | Event::Checked(_) => {}
        }
    }
    let ended = ended.expect("every lookup ends");
    Found { providers, ended }
}
