//! When and whom to ask.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_wire::{
    AtMost,
    datagram::{Body, MAX_ASKED, MAX_ROUND, Query, Tag, TraceContext},
};

use super::{ENOUGH, Lookup, Tags, claims_of};
use crate::{
    answers::LONGEST_SPREAD,
    beacons::{Audience, Reach, SMALL_NETWORK},
    chance::between,
    event::{Claim, Destination, Event, LookupId},
    machine::Membership,
    place::Place,
    rates::Speech,
    steps::{Step, Unasked},
};

/// Questions of one lookup: more than fit into its first minute.
const MOST_ASKS: u32 = 40;

/// Questions of others that make one lookup ask again before its time.
const MOST_PROMPTED: u32 = 16;

/// Repetitions come this close while an answer may just have been lost.
const REPETITION: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(50));

/// … where answers are spread longer, after so many times that: before, most of those who could answer have yet to.
const SPREADS_TO_REPETITION: (f64, f64) = (1.5, 2.5);

/// After so many repetitions each pause is twice the one before.
const QUICK_REPETITIONS: u32 = 6;

/// The longest pause between repetitions.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When filters matched, but fewer than are wanted, others are asked after this.
const FILTERS_FIRST: Duration = Duration::from_millis(250);

/// A question wants no more answers than this, whatever the lookup wants.
const MOST_ENOUGH: u8 = 8;

/// Up to so many nodes answers need not be spread: 166 fit into a socket's default buffer.
const UNSPREAD_NODES: u32 = 32;

/// Answers are spread over at least this, where they are.
const SHORTEST_SPREAD: Duration = Duration::from_millis(20);

/// Each so manyth question, the first with it, excuses nobody who holds nothing yet: by now it may.
const OPEN_TO_ALL: u32 = 3;

/// Peers asked by unicast beside the question to everybody.
const LIKELIEST: usize = 3;

/// Questions after so many that nobody answered take every road.
const EVERY_ROAD_AFTER: u32 = 2;

/// A question that is about to be asked.
#[derive(Debug)]
struct Planned {
    lookups: Vec<LookupId>,
    tags: Vec<Tag>,
    enough: u8,
    exclude: BTreeSet<u64>,
    round: u8,
    trace: Option<TraceContext>,
}

impl Planned {
    /// Takes in what another one asks, if one datagram can ask both. Says whether it does.
    ///
    /// Whoever is excused from the one may hold the other.
    fn take_in(&mut self, other: &Self) -> bool {
        let fits = self.tags.len() + other.tags.len() <= MAX_ASKED;
        let is_alike = self.exclude == other.exclude && self.round == other.round;
        if !fits || !is_alike {
            return false;
        }
        self.lookups.extend(&other.lookups);
        self.tags.extend(&other.tags);
        self.enough = self.enough.max(other.enough);
        self.trace = self.trace.or(other.trace);
        true
    }
}

impl Membership {
    pub(super) fn plan_first_ask(&mut self, now: Instant, id: LookupId, wait: Duration) {
        let filters_tell_all = self.filters_tell_all(now);
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        let later = FILTERS_FIRST.min(wait / 2);
        let unasked = match lookup.nodes_found().len() {
            _ if wait.is_zero() => Some(Unasked::NoWait),
            0 => None,
            found if found >= usize::from(lookup.enough) => Some(Unasked::Enough),
            // Whoever wants many knows that it has some.
            _ if lookup.enough > ENOUGH => None,
            // Nobody else would answer.
            _ if filters_tell_all => Some(Unasked::SummariesTellAll),
            _ => Some(Unasked::Later(later)),
        };
        lookup.next_ask = match unasked {
            None => Some(now),
            Some(Unasked::Later(later)) => Some(now + later),
            Some(Unasked::NoWait | Unasked::Enough | Unasked::SummariesTellAll) => None,
        };
        if let Some(unasked) = unasked {
            self.note(now, id, Step::NotAsked(unasked));
        }
    }

    /// Whether every peer said all that it holds.
    fn filters_tell_all(&self, now: Instant) -> bool {
        let mut proven = self.peers.iter().filter(|(_, entry)| entry.is_proven());
        self.peers.counted() <= SMALL_NETWORK && proven.all(|(_, entry)| entry.said_all(now))
    }

    /// Somebody looks for the same, and may soon be getting it: a lookup that goes on asks again soon, instead of after its pause.
    pub(crate) fn hear_question(&mut self, now: Instant, query: &Query) {
        let soon = now + REPETITION.1;
        for lookup in self.lookups.open.values_mut() {
            let is_same = lookup
                .tags
                .of_day(query.day)
                .any(|(tag, _)| query.tags.contains(&tag));
            let is_pausing = lookup.next_ask.is_some_and(|at| at > soon);
            if is_same && is_pausing && lookup.prompted < MOST_PROMPTED {
                lookup.prompted += 1;
                lookup.next_ask = Some(soon);
            }
        }
    }

    /// Asks for what is due, and ends what is over. One question is for as many lookups as fit.
    pub(crate) fn ask_lookups(&mut self, now: Instant) {
        let due: Vec<LookupId> = self
            .lookups
            .open
            .iter()
            .filter(|(_, one)| one.deadline <= now || one.next_ask.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        let mut planned: VecDeque<Planned> = VecDeque::new();
        for id in due {
            let is_over = |one: &mut Lookup| one.deadline <= now && !one.put_off(now);
            if self.lookups.open.get_mut(&id).is_some_and(is_over) {
                self.end(now, id);
            } else {
                planned.extend(self.plan_question(now, id));
            }
        }
        while let Some(mut first) = planned.pop_front() {
            planned.retain(|other| !first.take_in(other));
            self.ask(now, &first);
        }
    }

    /// What a lookup asks now, if anything; and when it does so again.
    fn plan_question(&mut self, now: Instant, id: LookupId) -> Option<Planned> {
        let known = self.estimate();
        let day = self.holdings.day();
        let pause = self.repetition();
        let lookup = self.lookups.open.get_mut(&id)?;
        let nodes = lookup.nodes_found();
        // One repetition tells whether an answer of somebody else was lost.
        let is_satisfied = nodes.len() >= usize::from(lookup.enough)
            || (!nodes.is_empty()
                && (lookup.asks_since_found > 0 || nodes.len() as u64 >= u64::from(known)));
        if lookup.asks >= MOST_ASKS || (is_satisfied && lookup.asks > 0) {
            lookup.next_ask = None;
            return None;
        }
        // Anybody can say in a holder's name that it has nothing yet.
        let is_for_all = lookup.asks.is_multiple_of(OPEN_TO_ALL);
        let excused = lookup
            .found
            .iter()
            .filter(|(_, told)| told.claim == Claim::Stated && (told.holds || !is_for_all))
            .map(|((key, _), _)| key.0.first_half());
        let planned = Planned {
            lookups: vec![id],
            tags: lookup.tags.of_day(day).map(|(tag, _)| tag).collect(),
            enough: lookup.enough.min(MOST_ENOUGH),
            exclude: excused.collect(),
            round: if nodes.is_empty() { lookup.round } else { 0 },
            trace: lookup.trace,
        };
        lookup.asks += 1;
        if !nodes.is_empty() {
            lookup.asks_since_found += 1;
        } else if lookup.asks > QUICK_REPETITIONS || lookup.heard_answers {
            // Silence is loss or nobody at first; those who listen to each other may also be silenced by lies.
            lookup.round = (lookup.round + 1).min(MAX_ROUND);
        }
        let doublings = lookup.asks.saturating_sub(QUICK_REPETITIONS).min(10);
        lookup.next_ask = Some(now + (pause * 2_u32.pow(doublings)).min(LONGEST_PAUSE));
        Some(planned)
    }

    /// How long to wait for answers before a question is repeated.
    fn repetition(&mut self) -> Duration {
        let spread = self.spread();
        let (least, most) = SPREADS_TO_REPETITION;
        let least = REPETITION.0.max(spread.mul_f64(least));
        let most = REPETITION.1.max(spread.mul_f64(most));
        between(&mut self.rng, least, most)
    }

    fn ask(&mut self, now: Instant, planned: &Planned) {
        let nonce = self.rng.u64(..);
        self.questions.note(now, nonce);
        let query = Query {
            nonce,
            tags: AtMost::first(planned.tags.iter().copied()),
            day: self.holdings.day(),
            enough: planned.enough,
            spread: self.spread(),
            known_nodes: self.estimate(),
            exclude: AtMost::first(planned.exclude.iter().copied()),
            round: planned.round,
        };
        for id in &planned.lookups {
            if let Some(lookup) = self.lookups.open.get_mut(id) {
                lookup.nonces.insert(nonce);
            }
        }
        self.lookups.by_nonce.insert(nonce, planned.lookups.clone());
        let is_late = planned.lookups.iter().any(|id| {
            let lookup = self.lookups.open.get(id);
            lookup.is_some_and(|one| one.nodes_found().is_empty() && one.asks > EVERY_ROAD_AFTER)
        });
        let reach = if is_late || query.round > 0 {
            Reach::EveryRoad
        } else {
            Reach::Heard
        };
        let asks = planned.lookups.iter().filter_map(|id| {
            let lookup = self.lookups.open.get(id);
            lookup.map(|one| one.asks)
        });
        let turn = asks.max().unwrap_or(0).saturating_sub(1);
        self.send_query(now, planned, query, Audience { reach, turn });
    }

    /// Ends a lookup whose time is over.
    fn end(&mut self, now: Instant, id: LookupId) {
        if let Some(lookup) = self.lookups.open.get(&id) {
            let is_nobody = lookup.found.is_empty() && lookup.asks > 0;
            if is_nobody {
                self.absences.note(now, &lookup.tags);
            }
        }
        self.end_story(now, id);
        self.lookups.close(id);
        self.say(Event::LookupEnded(id));
    }

    fn send_query(&mut self, now: Instant, planned: &Planned, query: Query, audience: Audience) {
        let mut destinations = self.everybody(now, audience);
        let banned = self.banned_unicast(now);
        destinations.extend(
            planned
                .lookups
                .iter()
                .filter_map(|id| self.lookups.open.get(id))
                .flat_map(|lookup| self.likeliest(now, &lookup.tags))
                .map(Destination::One),
        );
        destinations.extend(
            self.paging
                .unproven_static(&self.peers)
                .map(Destination::One),
        );
        destinations.sort_unstable();
        destinations.dedup();
        destinations.retain(|destination| !banned.contains(destination));
        let round = query.round;
        let payload = self.identity.say(Body::Query(query), planned.trace);
        for destination in destinations {
            let sent = self.send(now, destination, Speech::Own, payload.clone());
            for id in &planned.lookups {
                let number = self.lookups.open.get(id).map_or(0, |lookup| lookup.asks);
                let step = Step::Asked {
                    destination,
                    number,
                    round,
                    sent,
                };
                self.note(now, *id, step);
            }
        }
    }

    /// Where those are asked by unicast whose store is not to be read: not at all.
    fn banned_unicast(&self, now: Instant) -> BTreeSet<Destination> {
        let bans = self.standings.running_bans(now);
        let entries = bans.flat_map(|(store, ..)| {
            let here = self.peers.of_place(Place::of(store));
            here.filter(move |(_, entry)| entry.store_port() == store.port())
        });
        let nodes = self.standings.banned_nodes(now);
        entries
            .chain(nodes.flat_map(|node| self.peers.of_id(node)))
            .map(|(key, entry)| Destination::One(key.1.port(entry.unicast_port())))
            .collect()
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
        let echoed = self.echoes.network_time().unwrap_or_default();
        // An echo is never held back, and what goes to all may be: by Wi-Fi, for stations that sleep.
        let answered = self.answers.took().unwrap_or_default();
        let measured = echoed.max(answered).saturating_mul(10);
        measured.clamp(SHORTEST_SPREAD, LONGEST_SPREAD)
    }
}
