//! Finding out who holds something.
//!
//! In order: what filters and earlier answers say, at once and without a datagram; then a question to everybody, and by
//! unicast to the likeliest and to whoever no road reaches; then again every 30 to 50 ms while nobody usable answered,
//! more slowly later. Whoever answers is told to the edge once it echoed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_content::ContentId;
use zeroshare_wire::{
    AtMost,
    datagram::{
        Answer, Body, Day, DayKey, Holding, HoldingState, MAX_ROUND, Query, Tag, TraceContext,
    },
};

use crate::{
    beacons::Reach,
    chance::between,
    drops::DropReason,
    event::{Claim, Destination, Event, LookupId, Provider, Report, Verdict},
    holdings::WHOLE,
    machine::Membership,
    peers::{Entry, Heard, PeerKey},
    rates::Speech,
    surroundings::Road,
};

/// Lookups at a time; each asks at most [`MOST_ASKS`] times.
const MOST_LOOKUPS: usize = 256;

/// Questions of one lookup: more than fit into its first minute.
const MOST_ASKS: u32 = 40;

/// Repetitions come this close while an answer may just have been lost.
const REPETITION: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(50));

/// After so many repetitions each pause is twice the one before.
const QUICK_REPETITIONS: u32 = 6;

/// The longest pause between repetitions.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When filters matched, but fewer than [`ENOUGH`], others are asked after this.
const FILTERS_FIRST: Duration = Duration::from_millis(250);

/// How many answers are wanted.
const ENOUGH: u8 = 3;

/// Up to so many nodes answers need not be spread: 166 fit into a socket's default buffer.
const UNSPREAD_NODES: u32 = 32;

/// Answers are spread over at least this, where they are.
const SHORTEST_SPREAD: Duration = Duration::from_millis(20);

/// … and at most over this: Wi-Fi holds multicast back for 100 to 300 ms.
const LONGEST_SPREAD: Duration = Duration::from_millis(300);

/// Providers told of in one lookup.
const MOST_FOUND: usize = 64;

/// Peers that answered and whose echo one lookup waits for.
const MOST_AWAITED: usize = 8;

/// Peers asked by unicast beside the question to everybody.
const LIKELIEST: usize = 3;

/// Questions of this round or later take every road.
const EVERY_ROAD_FROM: u8 = 2;

/// All lookups that are open.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    open: BTreeMap<LookupId, Lookup>,
    by_nonce: BTreeMap<u64, LookupId>,
    last_id: u64,
    /// How long the first answer to a question takes, smoothed.
    answer_time: Option<Duration>,
}

#[derive(Debug)]
struct Lookup {
    tags: Tags,
    deadline: Instant,
    next_ask: Option<Instant>,
    asks: u32,
    asks_since_found: u32,
    round: u8,
    nonces: BTreeMap<u64, Instant>,
    trace: Option<TraceContext>,
    found: BTreeMap<(PeerKey, ContentId), Claim>,
    awaited: BTreeMap<PeerKey, Vec<Claimed>>,
}

/// Something that a peer is said to hold, and on what grounds.
type Claimed = (Holding, Claim);

/// The names of what is looked for, on each day whose names are accepted.
#[derive(Debug)]
struct Tags(BTreeMap<Day, BTreeMap<Tag, ContentId>>);

impl Tags {
    fn content(&self, tag: Tag) -> Option<ContentId> {
        self.0.values().find_map(|tags| tags.get(&tag)).copied()
    }

    fn of_day(&self, day: Day) -> impl Iterator<Item = (Tag, ContentId)> {
        let tags = self.0.get(&day).into_iter().flatten();
        tags.map(|(tag, content)| (*tag, *content))
    }
}

impl Lookup {
    fn nodes_found(&self) -> BTreeSet<PeerKey> {
        self.found.keys().map(|(key, _)| *key).collect()
    }
}

impl Lookups {
    pub(crate) fn next(&self) -> Option<Instant> {
        let times = |one: &Lookup| one.next_ask.map_or(one.deadline, |at| at.min(one.deadline));
        self.open.values().map(times).min()
    }

    fn close(&mut self, id: LookupId) {
        if let Some(lookup) = self.open.remove(&id) {
            for nonce in lookup.nonces.keys() {
                self.by_nonce.remove(nonce);
            }
        }
    }
}

impl Membership {
    /// Begins a lookup: who holds any of `contents` (one tree under all its ids, at most 16)?
    ///
    /// Providers come as [`Event::Found`], those known already before this returns; [`Event::LookupEnded`] comes when
    /// `wait` is over. `None`: too many lookups are open.
    pub fn find(
        &mut self,
        now: Instant,
        contents: &[ContentId],
        wait: Duration,
        trace: Option<TraceContext>,
    ) -> Option<LookupId> {
        if self.lookups.open.len() >= MOST_LOOKUPS {
            return None;
        }
        self.lookups.last_id += 1;
        let id = LookupId(self.lookups.last_id);
        let names = |day| {
            let key = DayKey::new(day, self.identity.group());
            (
                day,
                contents
                    .iter()
                    .map(|content| (key.tag(content), *content))
                    .collect(),
            )
        };
        let lookup = Lookup {
            tags: Tags(
                self.holdings
                    .day()
                    .accepted()
                    .into_iter()
                    .map(names)
                    .collect(),
            ),
            deadline: now + wait,
            next_ask: None,
            asks: 0,
            asks_since_found: 0,
            round: 0,
            nonces: BTreeMap::new(),
            trace,
            found: BTreeMap::new(),
            awaited: BTreeMap::new(),
        };
        self.lookups.open.insert(id, lookup);
        self.find_known(now, id);
        self.plan_first_ask(now, id, wait);
        self.ask_lookups(now);
        Some(id)
    }

    /// Ends a lookup before its time; nothing more is said of it.
    pub fn cancel(&mut self, lookup: LookupId) {
        self.lookups.close(lookup);
    }

    fn find_known(&mut self, now: Instant, id: LookupId) {
        let Some(lookup) = self.lookups.open.get(&id) else {
            return;
        };
        let mut known: Vec<_> = self
            .peers
            .iter()
            .flat_map(|(key, entry)| claims_of(now, &lookup.tags, entry).map(|one| (*key, one)))
            .collect();
        known.sort_by_key(|(key, (_, claim))| {
            let entry = self.peers.get(key);
            let port = entry.map_or(0, Entry::store_port);
            let doubted = entry.is_none_or(|entry| entry.doubted);
            let last_heard = entry.map(Entry::last_heard);
            (
                doubted,
                self.badness(now, key.1.port(port)),
                *claim != Claim::Stated,
                std::cmp::Reverse(last_heard),
            )
        });
        for (key, (holding, claim)) in known {
            self.hear_claim(now, id, &key, (holding, claim));
        }
    }

    fn plan_first_ask(&mut self, now: Instant, id: LookupId, wait: Duration) {
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        lookup.next_ask = match lookup.nodes_found().len() {
            _ if wait.is_zero() => None,
            0 => Some(now),
            found if found < usize::from(ENOUGH) => Some(now + FILTERS_FIRST.min(wait / 2)),
            _ => None,
        };
    }

    /// Asks for what is due, and ends what is over.
    pub(crate) fn ask_lookups(&mut self, now: Instant) {
        let due: Vec<LookupId> = self
            .lookups
            .open
            .iter()
            .filter(|(_, one)| one.deadline <= now || one.next_ask.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if self
                .lookups
                .open
                .get(&id)
                .is_some_and(|one| one.deadline <= now)
            {
                self.lookups.close(id);
                self.say(Event::LookupEnded(id));
            } else {
                self.ask(now, id);
            }
        }
    }

    fn ask(&mut self, now: Instant, id: LookupId) {
        let known = self.estimate();
        let (day, spread) = (self.holdings.day(), self.spread());
        let nonce = self.rng.u64(..);
        let pause = between(&mut self.rng, REPETITION.0, REPETITION.1);
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        let nodes = lookup.nodes_found();
        // One repetition tells whether an answer of somebody else was lost.
        let is_satisfied = nodes.len() >= usize::from(ENOUGH)
            || (!nodes.is_empty()
                && (lookup.asks_since_found > 0 || nodes.len() as u64 >= u64::from(known)));
        if lookup.asks >= MOST_ASKS || (is_satisfied && lookup.asks > 0) {
            lookup.next_ask = None;
            return;
        }
        let excused = lookup
            .found
            .iter()
            .filter(|(_, claim)| **claim == Claim::Stated)
            .map(|((key, _), _)| key.0.first_half());
        let query = Query {
            nonce,
            tags: AtMost::first(lookup.tags.of_day(day).map(|(tag, _)| tag)),
            day,
            enough: ENOUGH,
            spread,
            known_nodes: known,
            exclude: AtMost::first(excused.collect::<BTreeSet<u64>>()),
            round: if nodes.is_empty() { lookup.round } else { 0 },
        };
        lookup.asks += 1;
        if nodes.is_empty() {
            lookup.round = (lookup.round + 1).min(MAX_ROUND);
        } else {
            lookup.asks_since_found += 1;
        }
        let doublings = lookup.asks.saturating_sub(QUICK_REPETITIONS).min(10);
        lookup.next_ask = Some(now + (pause * 2_u32.pow(doublings)).min(LONGEST_PAUSE));
        lookup.nonces.insert(nonce, now);
        self.lookups.by_nonce.insert(nonce, id);
        let reach = if query.round >= EVERY_ROAD_FROM {
            Reach::EveryRoad
        } else {
            Reach::Heard
        };
        self.send_query(now, id, query, reach);
    }

    fn send_query(&mut self, now: Instant, id: LookupId, query: Query, reach: Reach) {
        let Some(lookup) = self.lookups.open.get(&id) else {
            return;
        };
        let trace = lookup.trace;
        let mut destinations = self.everybody(now, reach);
        destinations.extend(
            self.likeliest(now, &lookup.tags)
                .into_iter()
                .map(Destination::One),
        );
        destinations.extend(
            self.paging
                .unproven_static(&self.peers)
                .map(Destination::One),
        );
        destinations.sort_unstable();
        destinations.dedup();
        let payload = self.identity.say(Body::Query(query), trace);
        for destination in destinations {
            self.send(now, destination, Speech::Own, payload.clone());
        }
    }

    /// Peers that have a claim to the content on record and are not asked by another way for sure.
    fn likeliest(&self, now: Instant, tags: &Tags) -> Vec<SocketAddr> {
        let mut likely: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, entry)| entry.is_proven() && entry.unicast_port() != 0)
            .filter(|(_, entry)| claims_of(now, tags, entry).next().is_some())
            .map(|(key, entry)| {
                (
                    key.1.port(entry.store_port()),
                    key.1.port(entry.unicast_port()),
                )
            })
            .collect();
        likely.sort_by_key(|(store, _)| self.badness(now, *store));
        likely
            .into_iter()
            .map(|(_, unicast)| unicast)
            .take(LIKELIEST)
            .collect()
    }

    /// Over which time answers are to be spread.
    pub(crate) fn spread(&self) -> Duration {
        if self.estimate() <= UNSPREAD_NODES {
            return Duration::ZERO;
        }
        let measured = self
            .lookups
            .answer_time
            .map_or(Duration::ZERO, |time| time * 10);
        measured.clamp(SHORTEST_SPREAD, LONGEST_SPREAD)
    }

    pub(crate) fn handle_answer(
        &mut self,
        now: Instant,
        heard: &Heard,
        answer: &Answer,
    ) -> Result<(), DropReason> {
        self.answers.hear(answer.nonce, heard.key.1);
        let id = self.lookups.by_nonce.get(&answer.nonce).copied();
        let Some(id) = id else {
            self.overhear(now, heard, answer);
            return if heard.road == Road::Unicast {
                Err(DropReason::Unsolicited)
            } else {
                Ok(())
            };
        };
        self.peers
            .add(now, heard)
            .map_err(|_| DropReason::TableFull)?;
        self.measure_answer(now, id, answer.nonce);
        // Else it restarted, or its store came up since: its echo says so.
        let is_current = self
            .peers
            .get(&heard.key)
            .is_some_and(|entry| entry.is_as_proven(heard));
        let mut is_awaited = false;
        for holding in &answer.holdings {
            if let Some(entry) = self.peers.get_mut(&heard.key) {
                entry.state(now, self.holdings.day(), *holding);
            }
            let claimed = (*holding, Claim::Stated);
            if is_current {
                self.tell(now, id, &heard.key, claimed);
            } else {
                is_awaited |= self.await_proof(id, &heard.key, claimed);
            }
        }
        if is_awaited {
            self.reprove_now(now, heard);
        }
        Ok(())
    }

    /// Somebody else's answer is worth remembering, if its sender is known.
    fn overhear(&mut self, now: Instant, heard: &Heard, answer: &Answer) {
        let day = self.holdings.day();
        let entry = self
            .peers
            .get_mut(&heard.key)
            .filter(|entry| entry.is_proven());
        if let Some(entry) = entry.filter(|entry| entry.run().incarnation == heard.run.incarnation)
        {
            for holding in &answer.holdings {
                entry.state(now, day, *holding);
            }
        }
    }

    fn measure_answer(&mut self, now: Instant, id: LookupId, nonce: u64) {
        let asked_at = self
            .lookups
            .open
            .get(&id)
            .and_then(|one| one.nonces.get(&nonce))
            .copied();
        let Some(took) = asked_at.map(|at| now.saturating_duration_since(at)) else {
            return;
        };
        let before = self.lookups.answer_time.unwrap_or(took);
        self.lookups.answer_time = Some(before.mul_f64(0.8) + took.mul_f64(0.2));
    }

    /// Takes in that a peer claims to hold something: tells of it, or has it echo first.
    fn hear_claim(&mut self, now: Instant, id: LookupId, key: &PeerKey, claimed: Claimed) {
        let is_proven = self.peers.get(key).is_some_and(Entry::is_proven);
        if is_proven {
            self.tell(now, id, key, claimed);
            return;
        }
        if self.await_proof(id, key, claimed) {
            self.prove_now(now, key);
        }
    }

    /// Notes a claim to be told once the peer echoed. Says whether there was room for it.
    fn await_proof(&mut self, id: LookupId, key: &PeerKey, claimed: Claimed) -> bool {
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return false;
        };
        let is_wanted = lookup.tags.content(claimed.0.tag).is_some();
        let has_room = lookup.awaited.len() < MOST_AWAITED || lookup.awaited.contains_key(key);
        if !is_wanted || !has_room {
            return false;
        }
        let claims = lookup.awaited.entry(*key).or_default();
        claims.retain(|(other, _)| other.tag != claimed.0.tag);
        claims.push(claimed);
        true
    }

    /// Tells of whoever a lookup waited for, now that it echoed.
    pub(crate) fn found_proven(&mut self, now: Instant, key: &PeerKey) {
        let waiting: Vec<_> = self
            .lookups
            .open
            .iter_mut()
            .filter_map(|(id, lookup)| Some((*id, lookup.awaited.remove(key)?)))
            .collect();
        for (id, claims) in waiting {
            for claimed in claims {
                self.tell(now, id, key, claimed);
            }
        }
    }

    fn tell(&mut self, now: Instant, id: LookupId, key: &PeerKey, claimed: Claimed) {
        let (holding, claim) = claimed;
        let Some(content) = self
            .lookups
            .open
            .get(&id)
            .and_then(|one| one.tags.content(holding.tag))
        else {
            return;
        };
        let Some(peer) = self.usable(now, key, &content) else {
            return;
        };
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        let before = lookup.found.get(&(*key, content)).copied();
        if before >= Some(claim) || (before.is_none() && lookup.found.len() >= MOST_FOUND) {
            return;
        }
        lookup.found.insert((*key, content), claim);
        self.say(Event::Found(
            id,
            Box::new(Provider {
                peer,
                content,
                part: holding.part,
                state: holding.state,
                claim,
            }),
        ));
    }

    /// The peer as a provider, if it has a store that may be read.
    fn usable(
        &self,
        now: Instant,
        key: &PeerKey,
        content: &ContentId,
    ) -> Option<crate::event::PeerView> {
        let entry = self.peers.get(key)?;
        let store = key.1.port(entry.store_port());
        let standing = self.standings.of(store);
        let refused = standing.is_some_and(|one| one.ban(now).is_some() || one.lacks(now, content));
        if refused || entry.store_port() == 0 || !self.surroundings.may_speak_with(&key.1) {
            return None;
        }
        let run = entry.run().incarnation;
        let same_run = self
            .peers
            .of_id(key.0)
            .filter(|(_, one)| one.run().incarnation == run);
        let keys: Vec<PeerKey> = same_run.map(|(key, _)| key).collect();
        self.view(now, *key, &keys)
    }

    /// A provider failed: lookups that relied on it ask again.
    pub(crate) fn look_further(&mut self, now: Instant, report: &Report) {
        for lookup in self.lookups.open.values_mut() {
            let at_fault = |key: &PeerKey| {
                let port = self.peers.get(key).map(Entry::store_port);
                port.map(|port| key.1.port(port)) == Some(report.address)
            };
            let is_about = |content: &ContentId| {
                report.verdict != Verdict::NotHolding || report.content == Some(*content)
            };
            let before = lookup.found.len();
            lookup
                .found
                .retain(|(key, content), _| !(at_fault(key) && is_about(content)));
            if lookup.found.is_empty() && before > 0 {
                lookup.asks_since_found = 0;
                lookup.next_ask = Some(now);
            }
        }
    }
}

/// What a peer is known to claim of what is looked for: by its own words lately, else by its filters.
fn claims_of<'a>(
    now: Instant,
    tags: &'a Tags,
    entry: &'a Entry,
) -> impl Iterator<Item = (Holding, Claim)> + 'a {
    let contents = tags
        .0
        .values()
        .next()
        .into_iter()
        .flat_map(BTreeMap::values);
    contents.filter_map(move |content| {
        let tag_of = |day: Day| {
            let mut names = tags.of_day(day);
            names.find_map(|(tag, named)| (named == *content).then_some(tag))
        };
        if let Some(holding) = entry.stated(now, tag_of) {
            return Some((holding, Claim::Stated));
        }
        let tag = tags.0.keys().find_map(|day| tag_of(*day))?;
        let probable = Holding {
            tag,
            part: WHOLE,
            state: HoldingState::Held,
        };
        entry
            .filters()
            .may_hold(tag_of)
            .then_some((probable, Claim::Probable))
    })
}
