//! Finding out who holds something.
//!
//! In order: what filters and earlier answers say, at once and without a datagram; then a question to everybody, and by
//! unicast to the likeliest and to whoever no road reaches; then again every 30 to 50 ms while nobody usable answered,
//! more slowly later. Whoever answers is told to the edge once it echoed.

mod absences;
mod askers;
mod asking;
mod claims;
mod refreshing;
mod story;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use zeroshare_content::ContentId;
use zeroshare_wire::datagram::{Day, DayKey, Holding, HoldingState, Tag, TraceContext};

pub(crate) use self::{absences::Absences, askers::Askers};
use self::{askers::Order, story::Story};
use crate::{
    event::{Claim, LookupId},
    holdings::WHOLE,
    machine::Membership,
    peers::{Entry, Heard, PeerKey},
    steps::Step,
};

/// Lookups at a time; each asks a bounded number of times.
const MOST_LOOKUPS: usize = 256;

/// How many providers are wanted unless somebody wants more.
pub(crate) const ENOUGH: u8 = 3;

/// Lookups at a time whose stories are told.
const MOST_EXPLAINED: usize = 8;

/// Peers that one lookup asks for their echo in haste.
const MOST_URGENT: u32 = 8;

/// What nobody had a moment ago is looked for no longer than this: it may have come since, without a word.
const SECOND_LOOK: Duration = Duration::from_millis(150);

/// A lookup whose end is noticed so late has not looked: nobody let this machine run, and answers may still wait to be read.
const LATE: Duration = Duration::from_millis(100);

/// It goes on for so long then, and may so often.
const GRACE: Duration = Duration::from_millis(300);
const MOST_GRACES: u32 = 3;

/// All lookups that are open.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    open: BTreeMap<LookupId, Lookup>,
    /// One question may be for several lookups.
    by_nonce: BTreeMap<u64, Vec<LookupId>>,
    last_id: u64,
}

/// What to look for.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// One tree under all its ids, at most 16.
    pub contents: &'a [ContentId],
    /// For how long.
    pub wait: Duration,
    /// The trace of the fetch that it is for.
    pub trace: Option<TraceContext>,
    /// How many providers are wanted: while fewer are known, everybody is asked. `None`: three.
    pub enough: Option<u8>,
    /// Whether its story is told, by [`crate::Event::Step`]: of at most eight lookups at a time, at most 256 steps and the end of each.
    pub explained: bool,
    /// Whether those are told of who look for the same and go first ([`Claim::Asks`]).
    pub askers: bool,
}

#[derive(Debug)]
struct Lookup {
    tags: Tags,
    enough: u8,
    deadline: Instant,
    /// How often its end was put off.
    graces: u32,
    next_ask: Option<Instant>,
    asks: u32,
    asks_since_found: u32,
    /// How often somebody else's question made it ask again.
    prompted: u32,
    round: u8,
    /// Whether anybody answered, usable or not.
    heard_answers: bool,
    /// Peers that were asked for their echo in haste.
    urgent_echoes: u32,
    nonces: BTreeSet<u64>,
    trace: Option<TraceContext>,
    found: BTreeMap<(PeerKey, ContentId), Told>,
    awaited: BTreeMap<PeerKey, Awaited>,
    /// What was told of it, if that is wanted.
    story: Option<Story>,
    /// Who else looks for it and was told of, if that is wanted.
    askers: Option<BTreeSet<Order>>,
}

/// What somebody without proof claims to hold, until it echoes or stays silent.
#[derive(Debug, Default)]
struct Awaited {
    claims: Vec<Claimed>,
    /// How it was heard last; `None`: as it is on record.
    heard: Option<Heard>,
}

/// Something that a peer is said to hold, and on what grounds.
type Claimed = (Holding, Claim);

/// The names of what is looked for, on each day whose names are accepted.
#[derive(Debug)]
pub(crate) struct Tags(BTreeMap<Day, BTreeMap<Tag, ContentId>>);

impl Tags {
    fn all(&self) -> impl Iterator<Item = (Day, Tag)> {
        let days = self.0.iter();
        days.flat_map(|(day, tags)| tags.keys().map(|tag| (*day, *tag)))
    }

    fn content(&self, tag: Tag) -> Option<ContentId> {
        self.0.values().find_map(|tags| tags.get(&tag)).copied()
    }

    fn of_day(&self, day: Day) -> impl Iterator<Item = (Tag, ContentId)> {
        let tags = self.0.get(&day).into_iter().flatten();
        tags.map(|(tag, content)| (*tag, *content))
    }
}

/// What the edge was told of a provider; the larger counts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    claim: Claim,
    /// Whether it holds something, and does not only take part in getting it.
    holds: bool,
}

impl Lookup {
    /// Puts its end off if nobody was found, and it comes later than meant. Says whether it did.
    fn put_off(&mut self, now: Instant) -> bool {
        let has_asked = self.asks > 0 || self.next_ask.is_some();
        let is_late = now >= self.deadline + LATE;
        if !self.found.is_empty() || !has_asked || !is_late || self.graces >= MOST_GRACES {
            return false;
        }
        self.graces += 1;
        self.deadline = now + GRACE;
        self.next_ask = Some(now);
        true
    }

    /// Those who hold it: while others only get it as well, somebody else is looked for.
    fn nodes_found(&self) -> BTreeSet<PeerKey> {
        let holding = self.found.iter().filter(|(_, told)| told.holds);
        holding.map(|((key, _), _)| *key).collect()
    }
}

impl Lookups {
    pub(crate) fn next(&self) -> Option<Instant> {
        let times = |one: &Lookup| one.next_ask.map_or(one.deadline, |at| at.min(one.deadline));
        self.open.values().map(times).min()
    }

    /// Whether a lookup looks for what has this name on that day.
    fn looks_for(&self, id: LookupId, day: Day, tag: Tag) -> bool {
        let lookup = self.open.get(&id);
        lookup.is_some_and(|one| one.tags.of_day(day).any(|(named, _)| named == tag))
    }

    /// Whether one more peer is asked for its echo in haste: for each lookup a few, for many may be bystanders.
    fn may_be_urgent(&mut self, id: LookupId) -> bool {
        let Some(lookup) = self.open.get_mut(&id) else {
            return false;
        };
        lookup.urgent_echoes += 1;
        lookup.urgent_echoes <= MOST_URGENT
    }

    fn close(&mut self, id: LookupId) {
        if let Some(lookup) = self.open.remove(&id) {
            for nonce in &lookup.nonces {
                let Some(lookups) = self.by_nonce.get_mut(nonce) else {
                    continue;
                };
                lookups.retain(|one| *one != id);
                if lookups.is_empty() {
                    self.by_nonce.remove(nonce);
                }
            }
        }
    }
}

impl Membership {
    /// Begins a lookup: who holds any of `contents` (one tree under all its ids, at most 16)?
    ///
    /// As [`Self::search`] for as many as are usually wanted.
    pub fn find(
        &mut self,
        now: Instant,
        contents: &[ContentId],
        wait: Duration,
        trace: Option<TraceContext>,
    ) -> Option<LookupId> {
        let search = Search {
            contents,
            wait,
            trace,
            enough: None,
            explained: false,
            askers: false,
        };
        self.search(now, &search)
    }

    /// Begins a lookup.
    ///
    /// Providers come as [`crate::Event::Found`], those known already before this returns; [`crate::Event::LookupEnded`] comes when
    /// its time is over. `None`: too many lookups are open.
    pub fn search(&mut self, now: Instant, search: &Search<'_>) -> Option<LookupId> {
        let id = self.begin(now, search);
        self.ask_lookups(now);
        id
    }

    /// Begins several lookups at once: as many as fit are asked for in one question.
    pub fn search_all(&mut self, now: Instant, searches: &[Search<'_>]) -> Vec<Option<LookupId>> {
        let ids = searches.iter().map(|search| self.begin(now, search));
        let ids = ids.collect();
        self.ask_lookups(now);
        ids
    }

    fn begin(&mut self, now: Instant, search: &Search<'_>) -> Option<LookupId> {
        let explained = self.lookups.open.values().filter(|one| one.story.is_some());
        let is_untold = search.explained && explained.count() >= MOST_EXPLAINED;
        if self.lookups.open.len() >= MOST_LOOKUPS || is_untold {
            return None;
        }
        self.lookups.last_id += 1;
        let id = LookupId(self.lookups.last_id);
        let tags = self.tags_of(search.contents);
        // Whoever says how many it wants knows that they are about to come.
        let absent_since = self.absences.since(now, &tags);
        let absent_since = absent_since.filter(|_| search.enough.is_none());
        let wait = if absent_since.is_some() {
            search.wait.min(SECOND_LOOK.max(self.spread() * 3))
        } else {
            search.wait
        };
        let mut lookup = Lookup {
            tags,
            enough: search.enough.unwrap_or(ENOUGH).max(1),
            deadline: now + wait,
            graces: 0,
            next_ask: None,
            asks: 0,
            asks_since_found: 0,
            prompted: 0,
            round: 0,
            heard_answers: false,
            urgent_echoes: 0,
            nonces: BTreeSet::new(),
            trace: search.trace,
            found: BTreeMap::new(),
            awaited: BTreeMap::new(),
            story: None,
            askers: search.askers.then(BTreeSet::new),
        };
        if search.explained {
            lookup.explain();
        }
        self.lookups.open.insert(id, lookup);
        self.begin_story(now, id, (wait, absent_since));
        self.find_known(now, id);
        self.tell_askers(now, id);
        self.plan_first_ask(now, id, wait);
        Some(id)
    }

    fn tags_of(&self, contents: &[ContentId]) -> Tags {
        let names = |day| {
            let key = DayKey::new(day, self.identity.group());
            let named = contents.iter().map(|content| (key.tag(content), *content));
            (day, named.collect())
        };
        let days = self.holdings.day().accepted().into_iter();
        Tags(days.map(names).collect())
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
            let port = self.peers.get(&key).map_or(0, Entry::store_port);
            let step = Step::OnRecord {
                node: key.0,
                store: key.1.port(port),
                claim,
            };
            self.note(now, id, step);
            self.hear_claim(now, id, &key, (holding, claim));
        }
    }
}

/// What a peer is known to claim of what is looked for: by its own words lately, else by its filters.
///
/// Words that it only waits for it count less than its filter: the filter may be newer, and the words anybody's.
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
        let stated = entry.stated(now, tag_of);
        let stated = stated.map(|holding| (holding, Claim::Stated));
        if stated.is_some_and(|(holding, _)| holding.part > 0) {
            return stated;
        }
        let tag = tags.0.keys().find_map(|day| tag_of(*day))?;
        let probable = Holding {
            tag,
            part: WHOLE,
            state: HoldingState::Held,
        };
        let may_hold = entry.filters().may_hold(tag_of);
        may_hold.then_some((probable, Claim::Probable)).or(stated)
    })
}
