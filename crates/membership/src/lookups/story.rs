//! Telling what happens in a lookup, where that is wanted, and why nobody was found.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::Lookup;
use crate::{
    drops::DropReason,
    event::{Destination, Event, LookupId},
    machine::Membership,
    peers::{Entry, PeerKey},
    steps::{Beginning, Ending, Reason, Refusal, Step, Told},
};

/// Steps told of one lookup; further ones are counted.
const MOST_STEPS: u32 = 256;

/// What was told of a lookup so far.
#[derive(Debug, Default)]
pub(super) struct Story {
    told: u32,
    /// Claimants that were passed over: each is told of once.
    passed_over: BTreeSet<(PeerKey, Refusal)>,
    received_before: u64,
    drops_before: BTreeMap<DropReason, u64>,
    ending: Ending,
}

impl Story {
    /// Counts what happened. Says whether there is room to tell it.
    fn take_in(&mut self, step: &Step) -> bool {
        let ending = &mut self.ending;
        match step {
            Step::Asked { sent: true, .. } => ending.asked += 1,
            Step::Asked { sent: false, .. } => ending.held_back += 1,
            Step::Unsent { .. } => ending.unsent += 1,
            Step::Answered { .. } => ending.answers += 1,
            Step::Silent { .. } => ending.silent += 1,
            Step::PassedOver { .. } => ending.passed_over += 1,
            Step::Began(_)
            | Step::OnRecord { .. }
            | Step::NotAsked(_)
            | Step::EchoAsked { .. }
            | Step::Echoed { .. }
            | Step::Ended(_) => {}
        }
        self.told += 1;
        let has_room = self.told <= MOST_STEPS;
        ending.untold += u32::from(!has_room);
        has_room
    }
}

impl Membership {
    /// Tells of a lookup's beginning, if its story is wanted.
    pub(super) fn begin_story(
        &mut self,
        now: Instant,
        id: LookupId,
        (wait, absent_since): (Duration, Option<Duration>),
    ) {
        let counters = self.counters();
        let Some(story) = self.story_of(id) else {
            return;
        };
        story.received_before = counters.received;
        story.drops_before = counters.drops;
        let proven = || self.peers.iter().filter(|(_, entry)| entry.is_proven());
        let sums_up = |entry: &Entry| entry.filters().held_ids().is_some();
        let roads = self.surroundings.interfaces().map(|one| one.roads.len());
        let beginning = Beginning {
            peers: self.peers.proven(),
            summed_up: proven().filter(|(_, entry)| sums_up(entry)).count(),
            interfaces: self.surroundings.interfaces().count(),
            roads: roads.sum(),
            static_peers: self.paging.static_peers().len(),
            absent_since,
            wait,
        };
        self.note(now, id, Step::Began(beginning));
    }

    /// Takes in that the edge could not send a datagram: whoever wants a lookup's story is told.
    pub fn handle_unsent(&mut self, now: Instant, destination: Destination) {
        let explained = self.lookups.open.iter();
        let explained: Vec<LookupId> = explained
            .filter(|(_, lookup)| lookup.story.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in explained {
            self.note(now, id, Step::Unsent { destination });
        }
    }

    /// Notes that something happened in a lookup, if its story is wanted.
    pub(super) fn note(&mut self, now: Instant, id: LookupId, step: Step) {
        let Some(story) = self.story_of(id) else {
            return;
        };
        if story.take_in(&step) {
            self.say(Event::Step(id, Box::new(Told { at: now, step })));
        }
    }

    /// Notes that somebody who claims to hold it is not told of.
    pub(super) fn note_refusal(
        &mut self,
        now: Instant,
        id: LookupId,
        key: &PeerKey,
        refusal: Refusal,
    ) {
        let port = self.peers.get(key).map_or(0, Entry::store_port);
        let Some(story) = self.story_of(id) else {
            return;
        };
        let has_room = story.told <= MOST_STEPS;
        if !has_room || !story.passed_over.insert((*key, refusal)) {
            return;
        }
        let step = Step::PassedOver {
            node: key.0,
            store: key.1.port(port),
            refusal,
        };
        self.note(now, id, step);
    }

    /// Tells how a lookup ended, and why nobody was found.
    pub(super) fn end_story(&mut self, now: Instant, id: LookupId) {
        let counters = self.counters();
        let peers = self.peers.proven();
        let is_anywhere = self.surroundings.interfaces().next().is_some()
            || !self.paging.static_peers().is_empty();
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        let was_asked = lookup.asks > 0;
        let nodes: BTreeSet<_> = lookup.found.keys().map(|(key, _)| key.0).collect();
        let found = nodes.len();
        let Some(mut story) = lookup.story.take() else {
            return;
        };
        let before = |reason| story.drops_before.get(reason).copied().unwrap_or(0);
        let drops: BTreeMap<DropReason, u64> = counters
            .drops
            .iter()
            .map(|(reason, count)| (*reason, count - before(reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let heard_own = drops.get(&DropReason::Own).copied().unwrap_or(0);
        let heard = counters.received - story.received_before - heard_own;
        story.ending = Ending {
            found,
            peers,
            heard,
            heard_own,
            drops,
            ..story.ending
        };
        if found == 0 {
            let since_start = |reason| counters.drops.get(&reason).copied().unwrap_or(0);
            story.ending.reasons = reasons(
                &story.ending,
                (is_anywhere, self.has_roads(), was_asked),
                since_start,
            );
        }
        let step = Step::Ended(Box::new(story.ending));
        self.say(Event::Step(id, Box::new(Told { at: now, step })));
    }

    fn has_roads(&self) -> bool {
        let mut interfaces = self.surroundings.interfaces();
        interfaces.any(|one| !one.roads.is_empty())
    }

    fn story_of(&mut self, id: LookupId) -> Option<&mut Story> {
        self.lookups.open.get_mut(&id)?.story.as_mut()
    }
}

impl Lookup {
    /// Has its story told.
    pub(super) fn explain(&mut self) {
        self.story = Some(Story::default());
    }
}

/// Why nobody was found, the likeliest cause first.
fn reasons(
    ending: &Ending,
    (is_anywhere, has_roads, was_asked): (bool, bool, bool),
    since_start: impl Fn(DropReason) -> u64,
) -> Vec<Reason> {
    let silent = Reason::Silent {
        claimants: ending.silent,
    };
    let passed_over = Reason::PassedOver {
        claimants: ending.passed_over,
    };
    let (group, day) = (
        since_start(DropReason::OtherGroup),
        since_start(DropReason::OtherDay),
    );
    let version = since_start(DropReason::OtherVersion);
    let peers = ending.peers;
    let is_asked_in_vain = was_asked && ending.asked == 0;
    let all_refused = ending.unsent > 0 && ending.unsent >= ending.asked;
    let is_unheard = has_roads && ending.asked > 0 && ending.heard_own == 0;
    let is_alone = peers == 0 && ending.heard == 0 && ending.answers == 0;
    let causes = [
        (!is_anywhere, Reason::NoInterface),
        (is_anywhere && !has_roads && peers == 0, Reason::NoRoad),
        (is_asked_in_vain || all_refused, Reason::NothingSent),
        (is_unheard && !all_refused, Reason::OwnUnheard),
        (ending.passed_over > 0, passed_over),
        (ending.silent > 0, silent),
        (group > 0, Reason::OtherGroup { datagrams: group }),
        (day > 0, Reason::OtherDay { datagrams: day }),
        (version > 0, Reason::OtherVersion { datagrams: version }),
        (is_anywhere && is_alone, Reason::NobodyHeard),
        (!was_asked, Reason::NotAsked),
        (peers > 0, Reason::NoneHolds { peers }),
    ];
    let applies = causes.into_iter().filter(|(applies, _)| *applies);
    applies.map(|(_, reason)| reason).collect()
}
