//! Trying the network: does what is said to everybody come back, and do neighbours send back what is sent to them?
//!
//! A question that nobody can answer goes out on every road; whoever speaks to everybody hears itself where the system
//! and its firewall let datagrams in. Everybody who was heard is asked for an echo.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_wire::{
    AtMost,
    datagram::{Body, NodeId, Query, Tag},
};

use crate::{
    event::{Destination, Event},
    machine::Membership,
    peers::{Entry, PeerKey},
    rates::Speech,
    surroundings::{Arrival, Road},
};

/// How long a check takes: several tries of an echo.
const CHECK_TIME: Duration = Duration::from_secs(2);

/// Neighbours asked in one check.
const MOST_NEIGHBOURS: usize = 64;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkCheck {
    /// The roads that work, by interface.
    pub roads: Vec<RoadCheck>,
    /// Those who were heard within their time to live: peers first; at most 64.
    pub neighbours: Vec<NeighbourCheck>,
}

/// What a check found out about a road of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoadCheck {
    /// The interface's index.
    pub interface: u32,
    /// The road.
    pub road: Road,
    /// Whether something was said on it: its interface's limit may hold it back.
    pub sent: bool,
    /// Whether this node heard it itself.
    pub came_back: bool,
    /// Live peers that are heard by it.
    pub peers: usize,
}

/// What a check found out about somebody who was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourCheck {
    /// Who it is, by its own word.
    pub node: NodeId,
    /// Where it takes unicast.
    pub unicast: SocketAddr,
    /// Where its store listens, by its own word.
    pub store: Option<SocketAddr>,
    /// The roads by which it was heard.
    pub roads: Vec<Road>,
    /// How long its echo took; `None`: it sent none.
    pub echo: Option<Duration>,
}

/// The check that runs, if one does.
#[derive(Debug, Default)]
pub(crate) struct Checks(Option<Check>);

#[derive(Debug)]
struct Check {
    ends_at: Instant,
    nonce: u64,
    sent: BTreeMap<(u32, Road), bool>,
    came_back: BTreeSet<(u32, Road)>,
    asked: BTreeMap<PeerKey, Option<Duration>>,
}

impl Checks {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.as_ref().map(|check| check.ends_at)
    }

    /// Takes in that this node hears itself.
    pub(crate) fn came_back(&mut self, arrival: &Arrival, body: &Body) {
        if let (Some(check), Body::Query(query), Some(interface)) =
            (&mut self.0, body, arrival.interface)
            && query.nonce == check.nonce
        {
            check.came_back.insert((interface, arrival.road));
        }
    }

    /// Takes in that somebody sent back what was sent to it.
    pub(crate) fn echoed(&mut self, key: &PeerKey, took: Duration) {
        if let Some(asked) = self.0.as_mut().and_then(|check| check.asked.get_mut(key)) {
            asked.get_or_insert(took);
        }
    }
}

impl Membership {
    /// Tries the network; what came of it is told by [`Event::Checked`] after two seconds.
    ///
    /// While a check runs, that one counts.
    pub fn check_network(&mut self, now: Instant) {
        if self.checks.0.is_some() {
            return;
        }
        let nonce = self.rng.u64(..);
        let question = Query {
            nonce,
            tags: AtMost::first([Tag::from_bits(self.rng.u64(..))]),
            day: self.holdings.day(),
            enough: 1,
            spread: self.spread(),
            known_nodes: self.estimate(),
            exclude: AtMost::default(),
            round: 0,
        };
        let payload = self.identity.say(Body::Query(question), None);
        let roads: Vec<(u32, Road)> = self
            .surroundings
            .interfaces()
            .flat_map(|one| one.roads.iter().map(|road| (one.index, *road)))
            .collect();
        let mut sent = BTreeMap::new();
        for (interface, road) in roads {
            let destination = Destination::Everybody { interface, road };
            let was_sent = self.send(now, destination, Speech::Own, payload.clone());
            sent.insert((interface, road), was_sent);
        }
        let asked = self.neighbours();
        self.checks.0 = Some(Check {
            ends_at: now + CHECK_TIME,
            nonce,
            sent,
            came_back: BTreeSet::new(),
            asked: asked.iter().map(|key| (*key, None)).collect(),
        });
        for key in asked {
            self.prove_now(now, &key);
        }
    }

    /// Those to ask: peers first.
    fn neighbours(&self) -> Vec<PeerKey> {
        let of = |proven: bool| {
            let entries = self.peers.iter();
            entries
                .filter(move |(_, entry)| entry.is_proven() == proven && entry.unicast_port() != 0)
        };
        let keys = of(true).chain(of(false)).map(|(key, _)| *key);
        keys.take(MOST_NEIGHBOURS).collect()
    }

    /// Tells what a check found, once its time is over.
    pub(crate) fn end_check(&mut self, now: Instant) {
        let Some(check) = self.checks.0.take_if(|check| check.ends_at <= now) else {
            return;
        };
        let roads = check.sent.iter().map(|(at, sent)| RoadCheck {
            interface: at.0,
            road: at.1,
            sent: *sent,
            came_back: check.came_back.contains(at),
            peers: self.heard_by(*at),
        });
        let neighbours = check.asked.iter().filter_map(|(key, echo)| {
            let entry = self.peers.get(key)?;
            let store = entry.store_port();
            Some(NeighbourCheck {
                node: key.0,
                unicast: key.1.port(entry.unicast_port()),
                store: (store != 0).then(|| key.1.port(store)),
                roads: entry.roads().collect(),
                echo: *echo,
            })
        });
        let mut neighbours: Vec<NeighbourCheck> = neighbours.collect();
        neighbours.sort_by_key(|one| (one.echo.is_none(), one.node, one.unicast));
        let found = NetworkCheck {
            roads: roads.collect(),
            neighbours,
        };
        self.say(Event::Checked(Box::new(found)));
    }

    /// How many peers are heard by a road of an interface.
    fn heard_by(&self, (interface, road): (u32, Road)) -> usize {
        let is_heard = |entry: &Entry| {
            entry.is_proven()
                && entry.interface() == Some(interface)
                && entry.roads().any(|one| one == road)
        };
        let heard = self.peers.iter().filter(|(_, entry)| is_heard(entry));
        heard.map(|(key, _)| key.0).collect::<BTreeSet<_>>().len()
    }
}
