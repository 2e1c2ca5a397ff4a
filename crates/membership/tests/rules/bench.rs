//! One machine, and a test that plays everybody else.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_content::{BlobId, ContentId, HashKind};
use zeroshare_membership::{
    Arrival, Destination, Event, Interface, LookupId, Membership, Memory, Presence, Road, Settings,
};
use zeroshare_wire::{
    AtMost,
    datagram::{
        Alive, Answer, Bloom, Body, Datagram, Day, DayKey, Echo, FilterPart, GroupKey, Holding,
        HoldingState, NodeId, Query, SigningKey, Tag, decode, encode,
    },
};

pub(crate) const DAY: u32 = 20_000;
pub(crate) const LAN: u32 = 2;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A datagram that the machine sent.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) to: Destination,
    pub(crate) datagram: Datagram,
    pub(crate) len: usize,
}

/// Somebody else on the LAN, played by the test.
#[derive(Debug, Clone)]
pub(crate) struct Other {
    pub(crate) key: SigningKey,
    pub(crate) source: SocketAddr,
    pub(crate) incarnation: u64,
    pub(crate) sequence: u64,
    pub(crate) store_port: u16,
    pub(crate) group: GroupKey,
}

impl Other {
    /// One of the neighbours, by the last byte of its address.
    pub(crate) fn at(last: u8) -> Self {
        Self {
            key: SigningKey::from_seed(&[last; 32]),
            source: SocketAddr::from(([10, 0, 0, last], 38339)),
            incarnation: u64::from(last),
            sequence: 1,
            store_port: 4000 + u16::from(last),
            group: GroupKey::none(),
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.key.node_id()
    }

    pub(crate) fn store(&self) -> SocketAddr {
        SocketAddr::new(self.source.ip(), self.store_port)
    }

    pub(crate) fn bytes(&self, body: Body) -> Vec<u8> {
        encode(&self.datagram(body), &self.group, None)
    }

    pub(crate) fn signed_bytes(&self, body: Body) -> Vec<u8> {
        encode(&self.datagram(body), &self.group, Some(&self.key))
    }

    pub(crate) fn datagram(&self, body: Body) -> Datagram {
        Datagram {
            node: self.node(),
            incarnation: self.incarnation,
            sequence: self.sequence,
            store_port: self.store_port,
            unicast_port: self.source.port(),
            trace: None,
            body,
        }
    }
}

/// The machine under test.
pub(crate) struct Bench {
    pub(crate) machine: Membership,
    pub(crate) now: Instant,
    group: GroupKey,
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to get an `Instant`"
)]
fn start() -> Instant {
    Instant::now()
}

impl Bench {
    /// A machine on the LAN 10.0.0.0/24 whose first beacons are over.
    pub(crate) fn new() -> Self {
        Self::of(GroupKey::none())
    }

    /// The same of a group.
    pub(crate) fn of(group: GroupKey) -> Self {
        let mut bench = Self::fresh_of(Presence::Announced, group);
        bench.join_lan();
        bench.pass(SECOND);
        bench.said();
        bench
    }

    /// A machine that knows of no interface yet.
    pub(crate) fn fresh(presence: Presence) -> Self {
        Self::fresh_of(presence, GroupKey::none())
    }

    fn fresh_of(presence: Presence, group: GroupKey) -> Self {
        let settings = Settings {
            key: SigningKey::from_seed(&[255; 32]),
            incarnation: 7,
            unicast_port: 38339,
            group: group.clone(),
            presence,
            allowed: vec!["192.168.7.0/24".parse().expect("a network")],
            day: Day::from_number(DAY),
            memory: Memory::default(),
            assumed_nodes: 0,
        };
        let now = start();
        let machine = Membership::new(now, settings, fastrand::Rng::with_seed(1));
        Self {
            machine,
            now,
            group,
        }
    }

    pub(crate) fn join_lan(&mut self) {
        self.join("10.0.0.200/24");
    }

    /// Its only interface is in this network from now on.
    pub(crate) fn join(&mut self, network: &str) {
        let interface = Interface {
            index: LAN,
            subnets: [network.parse().expect("a network")].into(),
            roads: [Road::Multicast4, Road::Broadcast].into(),
        };
        self.machine.handle_interfaces(self.now, vec![interface]);
    }

    /// Lets time pass, with all that is due in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.machine.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// What it sent since this was last asked.
    pub(crate) fn said(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        while let Some(transmit) = self.machine.poll_transmit() {
            assert!(transmit.payload.len() <= 1_200);
            said.push(Said {
                to: transmit.destination,
                datagram: decode(&transmit.payload, &self.group).expect("our own format"),
                len: transmit.payload.len(),
            });
        }
        said
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.poll_event()).collect()
    }

    /// It hears bytes from a neighbour.
    pub(crate) fn hear_bytes(&mut self, source: SocketAddr, road: Road, bytes: &[u8]) {
        let arrival = Arrival {
            source,
            interface: (road != Road::Unicast).then_some(LAN),
            road,
            ttl: Some(255),
        };
        self.machine.handle_datagram(self.now, &arrival, bytes);
    }

    /// It hears what somebody says to everybody.
    pub(crate) fn hear(&mut self, other: &Other, body: Body) {
        self.hear_bytes(other.source, Road::Multicast4, &other.bytes(body));
    }

    /// Sends back every echo that it asked of these; gives what else it said.
    pub(crate) fn echo(&mut self, others: &[&Other]) -> Vec<Said> {
        let mut rest = Vec::new();
        for said in self.said() {
            let asked = others
                .iter()
                .find(|one| said.to == Destination::One(one.source));
            match (&said.datagram.body, asked) {
                (
                    Body::Echo(Echo {
                        nonce,
                        reply: false,
                    }),
                    Some(other),
                ) => {
                    let reply = Body::Echo(Echo {
                        nonce: *nonce,
                        reply: true,
                    });
                    self.hear_bytes(other.source, Road::Unicast, &other.bytes(reply));
                }
                _ => rest.push(said),
            }
        }
        rest
    }

    /// Lets time pass, in which these send back every echo that it asks; gives what else it said.
    pub(crate) fn pass_echoing(&mut self, time: Duration, others: &[&Other]) -> Vec<Said> {
        let end = self.now + time;
        let mut said = Vec::new();
        while self.now < end {
            self.pass(Duration::from_millis(20));
            said.extend(self.echo(others));
        }
        said
    }

    /// Somebody arrives, echoes and is greeted.
    pub(crate) fn meet(&mut self, other: &Other) {
        self.hear(other, alive());
        self.echo(&[other]);
        self.pass(SECOND);
        self.said();
        self.events();
    }

    /// It looks for one thing, for so long.
    pub(crate) fn find(&mut self, name: &str, wait: Duration) -> LookupId {
        let lookup = self.machine.find(self.now, &[content(name)], wait, None);
        lookup.expect("there is room")
    }

    /// Its count of drops for a reason.
    pub(crate) fn drops(&self, name: &str) -> u64 {
        let drops = self.machine.counters().drops;
        let found = drops.iter().find(|(reason, _)| reason.name() == name);
        found.map_or(0, |(_, count)| *count)
    }
}

pub(crate) fn alive() -> Body {
    Body::Alive(Alive {
        ttl: Duration::from_mins(4),
        known_nodes: 1,
        filter: None,
    })
}

/// A beacon whose filter names one thing.
pub(crate) fn alive_with(name: &str) -> Body {
    Body::Alive(Alive {
        ttl: Duration::from_mins(4),
        known_nodes: 1,
        filter: Some(FilterPart {
            day: Day::from_number(DAY),
            index: 0,
            count: 1,
            bloom: Bloom::summaries([tag(name)]).remove(0),
        }),
    })
}

pub(crate) fn content(name: &str) -> ContentId {
    ContentId::Blob(BlobId::of(HashKind::Sha256, name.as_bytes()))
}

pub(crate) fn tag(name: &str) -> Tag {
    DayKey::new(Day::from_number(DAY), &GroupKey::none()).tag(&content(name))
}

pub(crate) fn query(nonce: u64, name: &str) -> Query {
    Query {
        nonce,
        tags: AtMost::first([tag(name)]),
        day: Day::from_number(DAY),
        enough: 3,
        spread: Duration::ZERO,
        known_nodes: 1,
        exclude: AtMost::default(),
        round: 0,
    }
}

pub(crate) fn answer(nonce: u64, name: &str) -> Body {
    answer_of(nonce, name, (255, HoldingState::Held))
}

/// An answer of somebody who is getting it, and has nothing of it yet.
pub(crate) fn waiting_answer(nonce: u64, name: &str) -> Body {
    answer_of(nonce, name, (0, HoldingState::OnItsWay))
}

fn answer_of(nonce: u64, name: &str, (part, state): (u8, HoldingState)) -> Body {
    let tag = tag(name);
    Body::Answer(Answer {
        nonce,
        day: Day::from_number(DAY),
        holdings: AtMost::first([Holding { tag, part, state }]),
        held_back: None,
    })
}
