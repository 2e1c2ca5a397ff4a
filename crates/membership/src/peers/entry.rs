//! What is known of one id at one address.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_wire::datagram::{Day, FilterPart, Holding, Tag};

use super::PeerKey;
use crate::{filters::PeerFilters, surroundings::Road};

/// How long a road counts after the peer was heard on it, unless the peer itself lives longer without a beacon.
const ROAD_MEMORY: Duration = Duration::from_mins(10);

/// Nobody is forgotten sooner than this; several beacons may be lost.
const SHORTEST_LIFE: Duration = Duration::from_mins(2);

/// Nobody is kept longer than this without a sign of life, whatever they say.
const LONGEST_LIFE: Duration = Duration::from_hours(4);

/// How long what a peer said in an answer counts.
const STATED_MEMORY: Duration = Duration::from_mins(2);

/// How many such things are kept of one peer.
const MOST_STATED: usize = 16;

/// Beacons that may be lost, overtake each other or go to newcomers alone, without arousing suspicion.
const SEQUENCE_WINDOW: u64 = 1_024;

/// One run of a node, and how far it counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) incarnation: u64,
    pub(crate) sequence: u64,
}

/// What every datagram says of its sender, and how it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) key: PeerKey,
    pub(crate) run: Run,
    pub(crate) store_port: u16,
    pub(crate) unicast_port: u16,
    pub(crate) road: Road,
    /// The road that leads to it as well: from somewhere else than its interface's networks a group's road proves none.
    pub(crate) way_back: Road,
    pub(crate) interface: Option<u32>,
    /// The very socket that it came from.
    pub(crate) source: SocketAddr,
}

/// Something that a peer said it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stated {
    at: Instant,
    pub(crate) day: Day,
    pub(crate) holding: Holding,
}

/// One id at one address.
///
/// Ports and run are hearsay until the peer echoes, and what its echo said from then on.
#[derive(Debug)]
pub(crate) struct Entry {
    run: Run,
    store_port: u16,
    unicast_port: u16,
    interface: Option<u32>,
    first_heard: Instant,
    last_heard: Instant,
    expires: Instant,
    ttl: Duration,
    proven: bool,
    roads: BTreeMap<Road, Instant>,
    /// Where it stands in the table's list of those without proof.
    pub(super) unproven_at: Option<usize>,
    filters: PeerFilters,
    stated: VecDeque<Stated>,
    /// Somebody said that it leaves, or claims its id elsewhere.
    pub(crate) doubted: bool,
    pub(crate) probed_at: Option<Instant>,
    pub(crate) echo_asked_at: Option<Instant>,
    /// When it was asked at a port that it has not proven.
    pub(crate) newcomer_asked_at: Option<Instant>,
    /// How many claims to other ports came since then.
    pub(crate) newcomers: u32,
    /// The run that was told what this node holds.
    pub(crate) greeted: Option<u64>,
    /// How many nodes it knows, by its own word.
    pub(crate) claims_known: u32,
    /// When it replied last to what this node did not ask.
    pub(crate) replied_unasked_at: Option<Instant>,
    /// It was proven, and is where this node may not speak since its interfaces changed.
    pub(crate) away: bool,
}

impl Entry {
    pub(super) fn new(now: Instant, heard: &Heard) -> Self {
        Self {
            run: heard.run,
            store_port: heard.store_port,
            unicast_port: heard.unicast_port,
            interface: heard.interface,
            first_heard: now,
            last_heard: now,
            expires: now + SHORTEST_LIFE,
            ttl: SHORTEST_LIFE,
            proven: false,
            roads: BTreeMap::from([(heard.way_back, now)]),
            unproven_at: None,
            filters: PeerFilters::default(),
            stated: VecDeque::new(),
            doubted: false,
            probed_at: None,
            echo_asked_at: None,
            newcomer_asked_at: None,
            newcomers: 0,
            greeted: None,
            claims_known: 0,
            replied_unasked_at: None,
            away: false,
        }
    }

    pub(super) fn hear(&mut self, now: Instant, heard: &Heard, ttl: Duration) {
        self.last_heard = now;
        self.ttl = ttl.clamp(SHORTEST_LIFE, LONGEST_LIFE);
        // Only ever later: else a forged beacon with a short life would remove an honest peer.
        self.expires = self.expires.max(now + self.ttl);
        self.roads.insert(heard.way_back, now);
        if heard.interface.is_some() {
            self.interface = heard.interface;
        }
        if !self.proven {
            self.store_port = heard.store_port;
            self.unicast_port = heard.unicast_port;
            self.run = heard.run;
        } else if heard.run.incarnation == self.run.incarnation {
            self.run.sequence = self.run.sequence.max(heard.run.sequence);
        }
    }

    pub(super) fn prove(&mut self, now: Instant, heard: &Heard, asked_at: Instant) -> bool {
        let same = self.is_as_proven(heard);
        if self.run.incarnation == heard.run.incarnation {
            self.filters.drop_forged(heard.run.sequence, asked_at);
        } else {
            self.filters.clear();
            self.stated.clear();
        }
        self.proven = true;
        self.away = false;
        self.run = heard.run;
        self.store_port = heard.store_port;
        self.unicast_port = heard.unicast_port;
        self.last_heard = now;
        self.expires = self.expires.max(now + self.ttl);
        if heard.interface.is_some() {
            self.interface = heard.interface;
        }
        self.roads.entry(heard.way_back).or_insert(now);
        !same
    }

    /// Notes that it is known for longer without another word.
    pub(crate) fn live_until(&mut self, at: Instant) {
        self.expires = self.expires.max(at);
    }

    pub(super) fn disprove(&mut self) -> bool {
        std::mem::take(&mut self.proven)
    }

    pub(super) fn take_filter(&mut self, now: Instant, sequence: u64, part: FilterPart) {
        self.filters.take(now, sequence, part);
    }

    /// Whether a beacon is the next of a run as far as this machine knows it, or one that came twice.
    pub(crate) fn order_of(&self, run: Run, part: Option<&FilterPart>) -> Order {
        if !self.proven {
            // No order to keep: what came before may be forged, and must not mute what is true.
            let is_same = run == self.run;
            return if is_same {
                Order::Repeated
            } else {
                Order::Next
            };
        }
        if run.incarnation != self.run.incarnation {
            return Order::Surprising;
        }
        let ahead = run.sequence.checked_sub(self.run.sequence);
        match (ahead, part) {
            (Some(0), None) => Order::Repeated,
            (Some(1..=SEQUENCE_WINDOW), _) => Order::Next,
            (Some(1..), _) => Order::Surprising,
            (Some(0) | None, _) => self.order_of_late(run.sequence, part),
        }
    }

    /// Parts of one summary may overtake each other, and an echo may overtake them all.
    fn order_of_late(&self, sequence: u64, part: Option<&FilterPart>) -> Order {
        let before = part.and_then(|part| self.filters.sequence_of(part.index));
        if before == Some(sequence) {
            let is_other = part.is_some_and(|part| self.filters.contradicts(sequence, part));
            return if is_other {
                Order::Surprising
            } else {
                Order::Repeated
            };
        }
        let is_near = self.run.sequence - sequence <= SEQUENCE_WINDOW;
        let is_newer = part.is_some() && before.is_none_or(|before| before < sequence);
        if is_near && is_newer {
            Order::Next
        } else {
            Order::Surprising
        }
    }

    /// Notes what the peer said it holds.
    pub(crate) fn state(&mut self, now: Instant, day: Day, holding: Holding) {
        self.stated.retain(|one| {
            one.holding.tag != holding.tag && now.saturating_duration_since(one.at) < STATED_MEMORY
        });
        if self.stated.len() == MOST_STATED {
            self.stated.pop_front();
        }
        self.stated.push_back(Stated {
            at: now,
            day,
            holding,
        });
    }

    /// What the peer said lately of content, given its tag of a day.
    pub(crate) fn stated(
        &self,
        now: Instant,
        tag_of: impl Fn(Day) -> Option<Tag>,
    ) -> Option<Holding> {
        self.stated
            .iter()
            .rev()
            .find(|one| {
                tag_of(one.day) == Some(one.holding.tag)
                    && now.saturating_duration_since(one.at) < STATED_MEMORY
            })
            .map(|one| one.holding)
    }

    /// The first road to everybody on which the peer was heard lately, and its interface.
    pub(crate) fn first_road(&self, now: Instant) -> Option<(u32, Road)> {
        let memory = ROAD_MEMORY.max(self.ttl);
        let fresh = |(_, at): &(&Road, &Instant)| now.saturating_duration_since(**at) < memory;
        let (road, _) = self.roads.iter().find(fresh)?;
        (*road != Road::Unicast).then_some((self.interface?, *road))
    }

    /// Whether it echoed, and said the same of its run and ports then.
    pub(crate) fn is_as_proven(&self, heard: &Heard) -> bool {
        self.proven
            && self.run.incarnation == heard.run.incarnation
            && (self.store_port, self.unicast_port) == (heard.store_port, heard.unicast_port)
    }

    pub(crate) fn run(&self) -> Run {
        self.run
    }

    /// The interface on which it was heard last.
    pub(crate) fn interface(&self) -> Option<u32> {
        self.interface
    }

    pub(crate) fn store_port(&self) -> u16 {
        self.store_port
    }

    pub(crate) fn unicast_port(&self) -> u16 {
        self.unicast_port
    }

    pub(crate) fn first_heard(&self) -> Instant {
        self.first_heard
    }

    pub(crate) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    pub(crate) fn expires(&self) -> Instant {
        self.expires
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    pub(crate) fn filters(&self) -> &PeerFilters {
        &self.filters
    }

    /// Whether its filters sum up all that it holds, as far as anybody can know who only listens.
    pub(crate) fn said_all(&self, now: Instant) -> bool {
        // A life is as long as several of its beacons take.
        self.filters.held_ids().is_some() && self.filters.are_settled(now, self.ttl)
    }

    /// Notes that somebody speaks in its name.
    pub(crate) fn dispute(&mut self, now: Instant) {
        self.filters.dispute(now);
    }

    /// The roads by which it was ever heard.
    pub(crate) fn roads(&self) -> impl Iterator<Item = Road> {
        self.roads.keys().copied()
    }
}

/// How a beacon stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// It is newer.
    Next,
    /// It was here before.
    Repeated,
    /// It cannot follow what is proven: the peer must say itself where it stands.
    Surprising,
}
