//! What somebody who overheard an hour of a LAN, and has a list of all public digests, can say of it.
//!
//! A group's secret keys tags, and hides nothing else: so the listener reads every field. It makes tags of all digests of its list
//! in every way that needs no secret, looks for them in every byte of every datagram, and for their bits in every filter.

#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use zeroshare_content::{BlobId, ContentId, Family, HashKind, TreeId};
use zeroshare_simulation::{DAY, Lan, Weather};
use zeroshare_wire::datagram::{Bloom, Body, Datagram, Day, GroupKey, NodeId, Tag, decode, tag};

const NODES: usize = 8;

/// What each node holds: each something else.
const HELD_BY_EACH: usize = 120;

/// What is looked for in the hour, and whether somebody has it.
const LOOKUPS: usize = 100;

/// Of how many of these everybody is asked at least: of the others filters tell.
const ASKED: usize = LOOKUPS / 2;

/// Public digests that nobody here holds or wants.
const OTHERS: usize = 1_000;

const WAIT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(35);

/// Chance strays so far once in millions.
const MOST_SIGMAS: f64 = 5.0;

fn secret() -> GroupKey {
    GroupKey::from_keys([7; 32], [9; 32])
}

/// Public digests by their numbers: trees and single files in turn.
fn digests(first: usize, count: usize) -> Vec<ContentId> {
    let digest = |number: usize| {
        if number.is_multiple_of(2) {
            return ContentId::Blob(BlobId::of(HashKind::Sha256, &number.to_be_bytes()));
        }
        ContentId::Tree(TreeId::of_manifest(Family::Sha256, &number.to_be_bytes()))
    };
    (first..first + count).map(digest).collect()
}

/// An hour as it was overheard, and what the listener must not find in it.
struct Hour {
    day: Day,
    datagrams: Vec<Box<[u8]>>,
    /// The same, read.
    said: Vec<Datagram>,
    held: BTreeMap<NodeId, Vec<ContentId>>,
    wanted: Vec<ContentId>,
}

impl Hour {
    fn of(group: &GroupKey) -> Self {
        let mut lan = Lan::new(21, Weather::fair()).in_group(group.clone());
        lan.listen_in();
        let mut held = BTreeMap::new();
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let holds = digests(number * HELD_BY_EACH, HELD_BY_EACH);
            let node = lan.start_many(1, &holds)[0];
            held.insert(lan.machine(node).node_id(), holds);
            nodes.push(node);
        }
        // One after the other from each node, half of it held by somebody.
        let some = digests(0, NODES * HELD_BY_EACH).into_iter().step_by(19);
        let none = digests(100_000, LOOKUPS / 2);
        let wanted: Vec<_> = some.take(LOOKUPS / 2).chain(none).collect();
        let mut found = 0;
        for (number, content) in wanted.iter().enumerate() {
            let lookup = lan.find(nodes[number % NODES], &[*content], WAIT);
            found += usize::from(!lookup.providers.is_empty());
            lan.run(PAUSE);
        }
        assert!(found >= LOOKUPS / 3, "members find: {found}");
        let datagrams = lan.take_captured();
        // Nothing is encrypted: the key only lets our own reader pass the MAC.
        let read = |bytes: &[u8]| decode(bytes, group).expect("it was sent by a member");
        Self {
            day: Day::from_number(DAY),
            said: datagrams.iter().map(|bytes| read(bytes)).collect(),
            datagrams,
            held,
            wanted,
        }
    }

    /// Every run of 8 bytes, in either order.
    fn windows(&self) -> HashSet<[u8; 8]> {
        let windows = self.datagrams.iter().flat_map(|bytes| bytes.windows(8));
        windows
            .filter_map(|window| <[u8; 8]>::try_from(window).ok())
            .collect()
    }

    /// The tags that questions and answers name.
    fn tags(&self) -> BTreeSet<Tag> {
        let mut tags = BTreeSet::new();
        for datagram in &self.said {
            match &datagram.body {
                Body::Query(query) => tags.extend(query.tags.iter().copied()),
                Body::Answer(answer) => tags.extend(answer.holdings.iter().map(|one| one.tag)),
                Body::Alive(_)
                | Body::Leaving
                | Body::PeersRequest(_)
                | Body::Peers(_)
                | Body::Echo(_) => {}
            }
        }
        tags
    }

    /// Who sent which filter; each once.
    fn filters(&self) -> Vec<(NodeId, Bloom)> {
        let mut filters: Vec<(NodeId, Bloom)> = Vec::new();
        for datagram in &self.said {
            if let Body::Alive(alive) = &datagram.body
                && let Some(part) = &alive.filter
                && !part.bloom.as_bytes().is_empty()
                && !filters.contains(&(datagram.node, part.bloom.clone()))
            {
                filters.push((datagram.node, part.bloom.clone()));
            }
        }
        filters
    }

    /// What the list has: all that is held or wanted, and much else.
    fn list(&self) -> BTreeSet<ContentId> {
        let mut list: BTreeSet<_> = self.wanted.iter().copied().collect();
        list.extend(self.held.values().flatten());
        list.extend(digests(200_000, OTHERS));
        list
    }

    /// Of how many digests of the list something is found in some datagram.
    fn recognised(&self) -> usize {
        let windows = self.windows();
        let is_seen = |bytes: &[u8]| {
            let mut backwards = bytes.to_vec();
            backwards.reverse();
            let seen = |bytes: &[u8]| bytes.windows(8).any(|window| windows.contains(window));
            seen(bytes) || seen(&backwards)
        };
        let keys = keys_without_secret();
        let days = self.day.accepted();
        let list = self.list();
        let recognised = list.iter().filter(|content| {
            let made = keys
                .iter()
                .flat_map(|key| days.map(|day| tag(day, content, key)));
            let mut made = made.map(|tag| tag.bits().to_be_bytes());
            is_seen(&content.tag_input())
                || is_seen(content.to_string().as_bytes())
                || made.any(|tag| is_seen(&tag))
        });
        recognised.count()
    }

    /// By how much more often than by chance the bits of what a node holds are set in its filters, in standard deviations; and how
    /// many of its things its filters name, of how many.
    fn betrayed(&self, key: &GroupKey) -> (f64, usize, usize) {
        let (mut above, mut variance) = (0.0, 0.0);
        let (mut named, mut all) = (0, 0);
        for (node, bloom) in self.filters() {
            let fill = bloom.fill_ratio();
            for content in &self.held[&node] {
                let tag = tag(self.day, content, key);
                for is_set in bits(tag, &bloom) {
                    above += if is_set { 1.0 - fill } else { -fill };
                    variance += fill * (1.0 - fill);
                }
                named += usize::from(bloom.contains(tag));
                all += 1;
            }
        }
        (above / f64::sqrt(variance), named, all)
    }
}

/// What a listener may try in place of the secret.
fn keys_without_secret() -> Vec<GroupKey> {
    let guesses = [[0; 32], [0xff; 32]];
    let guesses = guesses.map(|guess| GroupKey::from_keys(guess, guess));
    [GroupKey::none()].into_iter().chain(guesses).collect()
}

/// A tag's bits in a filter, from the format's description.
fn bits(tag: Tag, bloom: &Bloom) -> impl Iterator<Item = bool> {
    let bytes = bloom.as_bytes();
    let (a, b) = (tag.bits() >> 32, tag.bits() & 0xffff_ffff);
    (0..11_u64).map(move |i| {
        let bit = (a + i * b + (i * i * i - i) / 6) % (8 * bytes.len() as u64);
        let byte = bytes[usize::try_from(bit / 8).expect("a filter is short")];
        byte & (1 << (bit % 8)) != 0
    })
}

#[test]
fn an_hour_of_a_group_tells_nothing_to_who_has_a_list_of_all_public_digests() {
    let hour = Hour::of(&secret());
    println!(
        "{} datagrams, {} filters",
        hour.datagrams.len(),
        hour.filters().len()
    );
    assert!(hour.filters().len() >= NODES && hour.tags().len() >= ASKED);
    assert_eq!(hour.recognised(), 0, "no tag, no digest, in no byte");
    for key in keys_without_secret() {
        let (sigmas, named, all) = hour.betrayed(&key);
        println!("{sigmas:.2} standard deviations, {named} of {all} named");
        assert!(all >= NODES * HELD_BY_EACH);
        assert!(sigmas.abs() < MOST_SIGMAS, "{sigmas}");
        assert!(
            named * 100 < all,
            "{named} of {all}: one in 2,000 by chance"
        );
    }
}

#[test]
fn who_has_the_secret_recognises_all_of_it() {
    let hour = Hour::of(&secret());
    let tags = hour.tags();
    let seen = |content: &&ContentId| tags.contains(&tag(hour.day, content, &secret()));
    assert!(tags.len() >= ASKED);
    assert_eq!(hour.wanted.iter().filter(seen).count(), tags.len());
    let (sigmas, named, all) = hour.betrayed(&secret());
    assert!(sigmas > MOST_SIGMAS && named == all, "{named} of {all}");
}

#[test]
fn the_same_hour_without_a_secret_tells_all_of_it() {
    let hour = Hour::of(&GroupKey::none());
    let asked = hour.tags().len();
    assert!(asked >= ASKED);
    assert_eq!(
        hour.recognised(),
        asked,
        "all that was asked for, and nothing else"
    );
    let (sigmas, named, all) = hour.betrayed(&GroupKey::none());
    assert!(
        sigmas > MOST_SIGMAS && named == all,
        "{sigmas}, {named} of {all}"
    );
}
