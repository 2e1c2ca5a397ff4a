//! Saying that this node lives.
//!
//! The interval stretches with the number of nodes, so that all of them together say about [`LAN_BYTES_PER_SECOND`].
//! While the network is small, beacons carry filters over what is held, and newcomers get them at once by unicast.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_wire::datagram::{Alive, Body, FilterPart, MIN_BEACON_BYTES};

use crate::{
    chance::between,
    event::Destination,
    machine::Membership,
    peers::{Entry, PeerKey},
    place::Place,
    rates::Speech,
    settings::Presence,
};

/// What the beacons of all nodes on a LAN come to.
const LAN_BYTES_PER_SECOND: u64 = 1_000;

/// Alone, a node says on every road that it lives; it costs little and nobody is in a hurry: newcomers ask.
const INTERVAL_ALONE: Duration = Duration::from_mins(1);

/// In company it says so no more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(30);

/// A beacon in two hours is what ten thousand nodes with filters would come to.
const LONGEST_INTERVAL: Duration = Duration::from_hours(2);

/// After how many lost beacons a node is forgotten, and a little.
const LIVES: f64 = 3.5;

/// The first beacon comes within this time.
const ARRIVAL_SPREAD: Duration = Duration::from_millis(50);

/// The second beacon after an arrival comes about this much later: the first may get lost while links come up.
const SECOND_BEACON: Duration = Duration::from_secs(4);

/// Each other node that is heard arriving puts it off by up to this.
const ARRIVAL_STEP: Duration = Duration::from_millis(20);

/// … but in all by no more than this.
const LONGEST_ARRIVAL: Duration = Duration::from_secs(2);

/// Beacons about new holdings wait for more of them, and keep this distance.
const CHANGE_DELAY: Duration = Duration::from_secs(1);
const CHANGE_DISTANCE: Duration = Duration::from_secs(10);

/// Up to so many nodes beacons carry filters.
pub(crate) const SMALL_NETWORK: usize = 100;

/// For each node known, a greeting may come later by this: a newcomer is greeted by all of them.
const GREETING_STEP: Duration = Duration::from_millis(2);

/// What had no room among the greetings comes after this, all of it anew.
const GREETING_PAUSE: Duration = Duration::from_secs(1);

/// Greetings that wait.
const MOST_GREETINGS: usize = 256;

/// A neighbour heard for the first time so lately may be reached by a road to everybody without being heard on it yet: it was
/// greeted, and says itself what roads there are with its second beacon.
const NEW_NEIGHBOUR: Duration = Duration::from_secs(10);

/// About what a beacon takes beside its filter.
const BARE_BEACON_BYTES: u64 = MIN_BEACON_BYTES as u64;

/// Peers to which a beacon or a question goes by unicast because no road to everybody reaches them; of more each in turn.
const MOST_UNICAST_ONLY: usize = 64;

/// Which roads to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those by which the known peers are heard.
    Heard,
    /// All that there are.
    EveryRoad,
}

/// To whom something goes that is for everybody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Audience {
    /// By which roads.
    pub(crate) reach: Reach,
    /// Which of those whom no road reaches come first, when there are too many for one time.
    pub(crate) turn: u32,
}

/// When to speak.
#[derive(Debug, Default)]
pub(crate) struct Beacons {
    /// The next beacon to everybody; `None` until there is somewhere to say it.
    regular: Option<Instant>,
    /// The last beacon that was planned because of a change.
    last_change: Option<Instant>,
    /// The interval that followed from the last one.
    interval: Option<Duration>,
    /// In how long everybody's beacons come to their share, by the last one.
    fair: Duration,
    /// How many there were.
    turn: u32,
    /// The first beacon on new interfaces.
    arrival: Option<Arrival>,
    greetings: BTreeMap<PeerKey, Instant>,
}

#[derive(Debug)]
struct Arrival {
    at: Instant,
    latest: Instant,
    interfaces: BTreeSet<u32>,
}

impl Beacons {
    pub(crate) fn next(&self) -> Option<Instant> {
        let arrival = self.arrival.as_ref().map(|arrival| arrival.at);
        let greeting = self.greetings.values().min().copied();
        [self.regular, arrival, greeting]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Membership {
    /// Plans the first beacon on interfaces that came up or changed.
    pub(crate) fn announce_soon(&mut self, now: Instant, interfaces: &[u32]) {
        if self.presence == Presence::Hidden || interfaces.is_empty() {
            return;
        }
        let at = now + between(&mut self.rng, Duration::ZERO, ARRIVAL_SPREAD);
        let arrival = self.beacons.arrival.get_or_insert_with(|| Arrival {
            at,
            latest: now + LONGEST_ARRIVAL,
            interfaces: BTreeSet::new(),
        });
        arrival.interfaces.extend(interfaces);
        self.plan_regular(now, SECOND_BEACON);
    }

    /// Plans a beacon because its filter would say something new; on a large network it has none.
    pub(crate) fn announce_holdings(&mut self, now: Instant) {
        if self.peers.counted() <= SMALL_NETWORK {
            self.announce_change(now);
        }
    }

    /// Plans a beacon because it would say something new.
    ///
    /// The same may be new at many nodes at once, and again soon: the more there are, the longer it may take, and the
    /// beacons about changes come to no more than the others.
    pub(crate) fn announce_change(&mut self, now: Instant) {
        let Some(regular) = self.beacons.regular else {
            return;
        };
        let fair = self.beacons.fair;
        let last = self.beacons.last_change;
        let distance = last.map_or(now, |last| last + fair.max(CHANGE_DISTANCE));
        let longest = CHANGE_DELAY + CHANGE_DELAY.max(fair / 4);
        let at = distance.max(now + between(&mut self.rng, CHANGE_DELAY, longest));
        if at < regular {
            self.beacons.regular = Some(at);
            self.beacons.last_change = Some(at);
        }
    }

    fn plan_regular(&mut self, now: Instant, interval: Duration) {
        let at = now + between(&mut self.rng, interval * 3 / 4, interval * 5 / 4);
        self.beacons.regular = Some(
            self.beacons
                .regular
                .filter(|at| *at > now)
                .map_or(at, |old| old.min(at)),
        );
    }

    /// Says that this node lives, where that is due.
    pub(crate) fn speak_beacons(&mut self, now: Instant) {
        if let Some(arrival) = self.beacons.arrival.take_if(|arrival| arrival.at <= now) {
            self.beacon(now, |index| arrival.interfaces.contains(&index));
        }
        if self.beacons.regular.is_some_and(|at| at <= now) {
            let interval = self.next_interval(now);
            // Before it is said, because it says for how long it counts.
            self.beacons.interval = Some(interval);
            self.beacon(now, |_| true);
            self.plan_regular(now, interval);
        }
    }

    /// After how long everybody's beacons of today's size have come to their share.
    fn next_interval(&mut self, now: Instant) -> Duration {
        let destinations = self.beacon_destinations(now).len() as u64;
        let each: u64 = self
            .summed_up()
            .iter()
            .map(|part| {
                let filter = part.as_ref().map_or(0, |part| part.bloom.as_bytes().len());
                BARE_BEACON_BYTES + filter as u64
            })
            .sum();
        let nodes = u64::from(self.estimate()) + 1;
        let fair =
            Duration::from_millis(nodes * destinations * each * 1_000 / LAN_BYTES_PER_SECOND);
        self.beacons.fair = fair;
        fair.clamp(self.shortest_interval(), LONGEST_INTERVAL)
    }

    /// Says on some interfaces that this node lives.
    fn beacon(&mut self, now: Instant, speaks_on: impl Fn(u32) -> bool) {
        let mut destinations = self.beacon_destinations(now);
        self.beacons.turn = self.beacons.turn.wrapping_add(1);
        destinations.retain(|destination| match destination {
            Destination::Everybody { interface, .. } => speaks_on(*interface),
            Destination::One(_) => true,
        });
        for payload in self.alive(now) {
            for destination in &destinations {
                self.send(now, *destination, Speech::Own, payload.clone());
            }
        }
    }

    /// Where beacons go: as [`Self::everybody`], but for those who may yet turn out to hear what goes to all.
    fn beacon_destinations(&self, now: Instant) -> Vec<Destination> {
        let audience = Audience {
            reach: Reach::Heard,
            turn: self.beacons.turn,
        };
        let mut destinations = self.everybody(now, audience);
        destinations.retain(|destination| match destination {
            Destination::Everybody { .. } => true,
            Destination::One(address) => !self.is_new_neighbour(now, &Place::of(*address)),
        });
        destinations
    }

    fn is_new_neighbour(&self, now: Instant, place: &Place) -> bool {
        let is_new =
            |entry: &Entry| now.saturating_duration_since(entry.first_heard()) < NEW_NEIGHBOUR;
        self.surroundings.interface_of(place).is_some()
            && !self.paging.is_static(place)
            && self.peers.of_place(*place).all(|(_, entry)| is_new(entry))
    }

    /// What is held in sum, in as many parts as are needed; nothing on large networks.
    fn summed_up(&mut self) -> Vec<Option<FilterPart>> {
        if self.peers.counted() <= SMALL_NETWORK {
            self.holdings.summary().into_iter().map(Some).collect()
        } else {
            vec![None]
        }
    }

    /// One beacon, or as many as filters are needed.
    fn alive(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let parts = self.summed_up();
        let interval = self
            .beacons
            .interval
            .unwrap_or(INTERVAL_ALONE)
            .max(INTERVAL_ALONE);
        // Of very many whom no road reaches each hears only every so manyth beacon.
        let alone = self.unicast_only(now).count().div_ceil(MOST_UNICAST_ONLY);
        let turns = u32::try_from(alone).unwrap_or(u32::MAX).max(1);
        let ttl = interval.saturating_mul(turns).mul_f64(LIVES);
        let known_nodes = self.estimate();
        let say = |filter| {
            let body = Body::Alive(Alive {
                ttl,
                known_nodes,
                filter,
            });
            self.identity.say(body, None)
        };
        parts.into_iter().map(say).collect()
    }

    fn shortest_interval(&self) -> Duration {
        if self.peers.proven() == 0 {
            INTERVAL_ALONE
        } else {
            SHORTEST_INTERVAL
        }
    }

    /// How many other nodes there are.
    ///
    /// What peers say of it counts up to four times what this node sees itself: they may hear more, or lie.
    pub fn estimate(&self) -> u32 {
        let known = u32::try_from(self.peers.counted()).unwrap_or(u32::MAX);
        let claimed = self.peers.most_claimed();
        known.max(claimed.min(known.saturating_mul(4)))
    }

    /// Where to send so that everybody hears it, in order.
    pub(crate) fn everybody(&self, now: Instant, audience: Audience) -> Vec<Destination> {
        let needed = match audience.reach {
            Reach::Heard => self.peers.needed_roads(now),
            Reach::EveryRoad => BTreeSet::new(),
        };
        let mut destinations = Vec::new();
        for interface in self.surroundings.interfaces() {
            let roads = interface.roads_in_use(&needed).into_iter();
            destinations.extend(roads.map(|road| Destination::Everybody {
                interface: interface.index,
                road,
            }));
        }
        let alone = self.unicast_only(now);
        let alone = alone.filter(|(key, _)| self.surroundings.may_speak_with(&key.1));
        let (named, others): (Vec<_>, Vec<_>) =
            alone.partition(|(key, _)| self.paging.is_static(&key.1));
        let room = MOST_UNICAST_ONLY.min(others.len());
        let before = (audience.turn as usize).saturating_mul(MOST_UNICAST_ONLY);
        let first = before.checked_rem(others.len()).unwrap_or(0);
        let others = others.iter().cycle().skip(first).take(room);
        let alone = named.iter().chain(others);
        destinations.extend(alone.map(|(_, address)| Destination::One(*address)));
        destinations
    }

    /// Peers that no road to everybody reaches, and where they take unicast.
    ///
    /// Static peers are always among them: a road by which somebody speaks in their name may not lead to them.
    pub(crate) fn unicast_only(&self, now: Instant) -> impl Iterator<Item = (PeerKey, SocketAddr)> {
        self.peers
            .iter()
            .filter(move |(key, entry)| {
                let is_alone = || entry.first_road(now).is_none() || self.paging.is_static(&key.1);
                entry.is_proven() && is_alone()
            })
            .filter(|(_, entry)| entry.unicast_port() != 0)
            .map(|(key, entry)| (*key, key.1.port(entry.unicast_port())))
    }

    /// Others are arriving too: this node's own arrival waits.
    pub(crate) fn make_way(&mut self, now: Instant) {
        let step = between(&mut self.rng, Duration::ZERO, ARRIVAL_STEP);
        if let Some(arrival) = &mut self.beacons.arrival {
            arrival.at = (arrival.at.max(now) + step).min(arrival.latest);
        }
    }

    /// Plans to tell a peer that just echoed what is held here, once for each of its runs.
    pub(crate) fn greet_soon(&mut self, now: Instant, key: &PeerKey) {
        let known = self.peers.counted();
        let is_small = known <= SMALL_NETWORK && self.beacons.greetings.len() < MOST_GREETINGS;
        if self.presence == Presence::Hidden || !is_small {
            return;
        }
        let Some(entry) = self.peers.get_mut(key) else {
            return;
        };
        if entry.unicast_port() != 0
            && entry.greeted.replace(entry.run().incarnation) != Some(entry.run().incarnation)
        {
            let known = u32::try_from(known).unwrap_or(u32::MAX);
            let delay = between(&mut self.rng, Duration::ZERO, GREETING_STEP * known);
            self.beacons.greetings.insert(*key, now + delay);
        }
    }

    /// Tells newcomers what is held here, where that is due.
    pub(crate) fn greet(&mut self, now: Instant) {
        let due: Vec<PeerKey> = self
            .beacons
            .greetings
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            self.beacons.greetings.remove(&key);
            let port = self
                .peers
                .get(&key)
                .filter(|entry| entry.is_proven())
                .map(Entry::unicast_port);
            let Some(port) = port else {
                continue;
            };
            let to = Destination::One(key.1.port(port));
            let mut said = self.alive(now).into_iter();
            let all_sent = said.all(|payload| self.send(now, to, Speech::Greeting, payload));
            if !all_sent && self.surroundings.may_speak_with(&key.1) {
                let later = now + between(&mut self.rng, GREETING_PAUSE, GREETING_PAUSE * 2);
                self.beacons.greetings.insert(key, later);
            }
        }
    }

    /// Says that this node goes. Signed, so that others may believe it.
    pub fn leave(&mut self, now: Instant) {
        if self.presence == Presence::Hidden {
            return;
        }
        self.beacons = Beacons::default();
        let audience = Audience {
            reach: Reach::Heard,
            turn: 0,
        };
        let destinations = self.everybody(now, audience);
        let payload = self.identity.say(Body::Leaving, None);
        for destination in destinations {
            self.send(now, destination, Speech::Own, payload.clone());
        }
    }
}
