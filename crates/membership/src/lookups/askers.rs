//! Who else looks for the same, and who of them goes first.
//!
//! Where nobody has what many look for at once, one of them should get it from elsewhere, and the others wait for that one.
//! Nobody is elected: everybody heard the questions of everybody, and puts the askers in the same order. What was heard
//! is a hint, that anybody can forge; who waits must have a connection to whom it waits for, which is not decided here.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use zeroshare_content::{BlobId, HashKind};
use zeroshare_wire::datagram::{HoldingState, NodeId, Query, Tag};

use crate::{
    event::{Claim, Event, LookupId, Provider},
    machine::Membership,
    peers::{Entry, Heard, PeerKey},
};

/// How long it counts that somebody asked: lookups that go on ask again within five seconds.
const MEMORY: Duration = Duration::from_secs(6);

/// Names whose askers are remembered, and askers of each: those that go first.
const MOST_NAMES: usize = 256;
const MOST_ASKERS: usize = 64;

/// A lookup is told of an asker while it knows of fewer than so many that go before that one: some may have been forged.
const MOST_BEFORE: usize = 3;

/// The place of a node among those that look for one thing: SHA-256(node id ‖ tag), the smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(BlobId);

impl Order {
    pub(super) fn of(node: &NodeId, tag: Tag) -> Self {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(node.as_bytes());
        bytes[16..].copy_from_slice(&tag.bits().to_be_bytes());
        Self(BlobId::of(HashKind::Sha256, &bytes))
    }
}

/// Who asked for what lately.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    by_name: BTreeMap<Tag, BTreeMap<(Order, PeerKey), Instant>>,
}

impl Askers {
    fn note(&mut self, now: Instant, tag: Tag, key: PeerKey) {
        if self.by_name.len() >= MOST_NAMES && !self.by_name.contains_key(&tag) {
            self.forget_old(now);
            if self.by_name.len() >= MOST_NAMES {
                return;
            }
        }
        let askers = self.by_name.entry(tag).or_default();
        askers.insert((Order::of(&key.0, tag), key), now);
        if askers.len() > MOST_ASKERS {
            askers.retain(|_, at| is_fresh(now, *at));
        }
        if askers.len() > MOST_ASKERS {
            askers.pop_last();
        }
    }

    /// Those who asked for it lately, the first first.
    fn of(&self, now: Instant, tag: Tag) -> impl Iterator<Item = (Order, PeerKey)> {
        let askers = self.by_name.get(&tag).into_iter().flatten();
        let fresh = askers.filter(move |(_, at)| is_fresh(now, **at));
        fresh.map(|(asker, _)| *asker)
    }

    fn forget_old(&mut self, now: Instant) {
        self.by_name.retain(|_, askers| {
            askers.retain(|_, at| is_fresh(now, *at));
            !askers.is_empty()
        });
    }
}

fn is_fresh(now: Instant, at: Instant) -> bool {
    now.saturating_duration_since(at) < MEMORY
}

impl Membership {
    /// Takes in that somebody looks for something, and tells the lookups that want to know.
    pub(crate) fn hear_asker(&mut self, now: Instant, heard: &Heard, query: &Query) {
        let is_same = |id: &LookupId| {
            let mut tags = query.tags.iter();
            tags.any(|tag| self.lookups.looks_for(*id, query.day, *tag))
        };
        let waiting: Vec<LookupId> = self.waiting_for_askers().filter(is_same).collect();
        let is_proven = self.peers.get(&heard.key).is_some_and(Entry::is_proven);
        // Strangers are many, and invented in no time.
        if waiting.is_empty() && !is_proven {
            return;
        }
        for tag in &query.tags {
            self.askers.note(now, *tag, heard.key);
        }
        for id in waiting {
            // There may be no room for it; then nobody waits for it.
            let is_known = self.peers.add(now, &mut self.rng, heard).is_ok();
            if is_known && !is_proven && self.lookups.may_be_urgent(id) {
                self.reprove_now(now, heard, true);
            }
            self.tell_askers(now, id);
        }
    }

    pub(super) fn tell_all_askers(&mut self, now: Instant) {
        let waiting: Vec<LookupId> = self.waiting_for_askers().collect();
        for id in waiting {
            self.tell_askers(now, id);
        }
    }

    /// Tells a lookup of those who look for the same and go before this node, if it wants to know.
    pub(super) fn tell_askers(&mut self, now: Instant, id: LookupId) {
        let Some(lookup) = self.lookups.open.get(&id) else {
            return;
        };
        let Some(told) = &lookup.askers else {
            return;
        };
        let mut found = Vec::new();
        for (_, tag) in lookup.tags.all() {
            let Some(content) = lookup.tags.content(tag) else {
                continue;
            };
            let own = Order::of(&self.identity.node, tag);
            let before = self.askers.of(now, tag);
            let before = before.take_while(|(order, _)| *order < own);
            found.extend(before.map(|(order, key)| (order, key, content)));
        }
        let mut told = told.clone();
        for (order, key, content) in found {
            let is_proven = self.peers.get(&key).is_some_and(Entry::is_proven);
            if !is_proven || told.contains(&order) || told.range(..order).count() >= MOST_BEFORE {
                continue;
            }
            let Ok(peer) = self.usable(now, &key, &content) else {
                continue;
            };
            told.insert(order);
            let provider = Provider {
                peer,
                content,
                part: 0,
                state: HoldingState::OnItsWay,
                claim: Claim::Asks,
            };
            self.say(Event::Found(id, Box::new(provider)));
        }
        if let Some(lookup) = self.lookups.open.get_mut(&id) {
            lookup.askers = Some(told);
        }
    }

    fn waiting_for_askers(&self) -> impl Iterator<Item = LookupId> {
        let open = self.lookups.open.iter();
        open.filter(|(_, one)| one.askers.is_some())
            .map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroshare_content::ContentId;
    use zeroshare_wire::datagram::{Day, DayKey, GroupKey};

    use super::*;
    use crate::{place::Place, testing::start};

    fn tag(name: &str) -> Tag {
        let key = DayKey::new(Day::from_number(20_000), &GroupKey::none());
        key.tag(&ContentId::Blob(BlobId::of(
            HashKind::Sha256,
            name.as_bytes(),
        )))
    }

    fn node(number: u16) -> PeerKey {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let place = Place::of(([10, 0, 0, 1], 1).into());
        (NodeId::from_bytes(id), place)
    }

    #[test]
    fn an_asker_counts_for_seconds() {
        let (mut askers, now) = (Askers::default(), start());
        askers.note(now, tag("it"), node(1));
        assert_eq!(askers.of(now, tag("it")).count(), 1);
        assert_eq!(askers.of(now, tag("other")).count(), 0);
        assert_eq!(askers.of(now + MEMORY, tag("it")).count(), 0);
    }

    #[test]
    fn those_who_ask_for_much_are_not_remembered_without_bound() {
        let (mut askers, now) = (Askers::default(), start());
        for number in 0..1000 {
            askers.note(now, tag(&number.to_string()), node(1));
            askers.note(now, tag("0"), node(number));
        }
        assert_eq!(askers.by_name.len(), MOST_NAMES);
        assert_eq!(askers.of(now, tag("0")).count(), MOST_ASKERS);
        let mut all: Vec<_> = (0..1000)
            .map(|number| (Order::of(&node(number).0, tag("0")), node(number)))
            .collect();
        all.sort_unstable();
        assert!(
            askers
                .of(now, tag("0"))
                .eq(all.into_iter().take(MOST_ASKERS))
        );
        askers.note(now + MEMORY, tag("new"), node(1));
        assert_eq!(askers.by_name.len(), 1, "the old ones made room");
    }

    proptest! {
        #[test]
        fn whoever_asks_in_whatever_order_the_same_one_goes_first(
            mut numbers in prop::collection::vec(any::<u16>(), 1..40),
            name in "[a-z]{1,8}",
        ) {
            let (tag, now) = (tag(&name), start());
            let first = |numbers: &[u16]| {
                let mut askers = Askers::default();
                for number in numbers {
                    askers.note(now, tag, node(*number));
                }
                askers.of(now, tag).next()
            };
            let one = first(&numbers);
            numbers.reverse();
            prop_assert_eq!(one, first(&numbers));
        }
    }
}
