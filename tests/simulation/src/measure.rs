//! What lookups cost and how long they take, on LANs of all sizes.

use std::time::Duration;

use zeroshare_content::{BlobId, ContentId, HashKind};
use zeroshare_membership::Membership;

use crate::{Found, Lan, NodeOptions, Quantiles, Weather};

/// Nodes that ask in turn, and hold nothing.
const ASKERS: usize = 4;

/// Up to so many nodes all have full tables; on larger LANs only those that ask.
const MOST_FULL: usize = 100;

/// After the arrival of the last, its second beacon, and what follows from it.
const SETTLED: Duration = Duration::from_secs(20);

/// Between two lookups.
const PAUSE: Duration = Duration::from_millis(200);

/// What a node knows of the size of its LAN right after everybody started.
const KNOWN_AFTER_MASS_START: u32 = 50;

/// Who holds what is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holders {
    /// Everybody but those who ask.
    All,
    /// One node, another one for each lookup.
    One,
    /// Nobody.
    Nobody,
}

/// What the nodes know of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// As much as after a while.
    Settled,
    /// Everybody started just now, and heard of 50 others.
    MassStart,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Scene {
    /// How many nodes there are.
    pub nodes: usize,
    /// Who holds what is looked for.
    pub holders: Holders,
    /// What they know of each other.
    pub knowledge: Knowledge,
    /// How the network behaves.
    pub weather: Weather,
    /// How many lookups are made.
    pub lookups: usize,
    /// For how long each stays open.
    pub wait: Duration,
    /// The same seed gives the same run.
    pub seed: u64,
}

impl Scene {
    /// A cable, a second, and everybody settled.
    pub fn of(nodes: usize, holders: Holders) -> Self {
        Self {
            nodes,
            holders,
            knowledge: Knowledge::Settled,
            weather: Weather::fair(),
            lookups: 100,
            wait: Duration::from_secs(1),
            seed: 1,
        }
    }
}

/// What the lookups of a scene came to.
#[derive(Debug)]
pub struct Lookups {
    /// Datagrams to everybody: questions and answers.
    pub to_all: Quantiles<u64>,
    /// Datagrams to one: questions, answers and echoes.
    pub to_one: Quantiles<u64>,
    /// Until the first provider; a lookup that found none counts as having taken for ever.
    pub first: Quantiles<Duration>,
    /// Until the third.
    pub third: Quantiles<Duration>,
}

/// Something to look for.
pub fn content(number: usize) -> ContentId {
    ContentId::Blob(BlobId::of(HashKind::Sha256, &number.to_be_bytes()))
}

/// Makes the LAN of a scene and looks things up on it.
pub fn lookups(scene: &Scene) -> Lookups {
    let mut lan = Lan::new(scene.seed, scene.weather.clone());
    let askers = populate(&mut lan, scene);
    lan.run(SETTLED);
    let (mut to_all, mut to_one) = (Vec::new(), Vec::new());
    let (mut first, mut third) = (Vec::new(), Vec::new());
    for number in 0..scene.lookups {
        lan.run(PAUSE);
        lan.take_all_traffic();
        let found = lan.find(
            askers[number % askers.len()],
            &[content(number)],
            scene.wait,
        );
        let traffic = lan.take_all_traffic();
        to_all.push(traffic.lookups_to_all);
        to_one.push(traffic.lookups_to_one);
        first.push(time_of(&found, 1));
        third.push(time_of(&found, 3));
    }
    Lookups {
        to_all: Quantiles::of(to_all),
        to_one: Quantiles::of(to_one),
        first: Quantiles::of(first),
        third: Quantiles::of(third),
    }
}

/// Starts everybody, and gives those who ask.
fn populate(lan: &mut Lan, scene: &Scene) -> Vec<usize> {
    let everything: Vec<ContentId> = (0..scene.lookups).map(content).collect();
    let held: &[ContentId] = match scene.holders {
        Holders::All => &everything,
        Holders::One | Holders::Nobody => &[],
    };
    let asker = match scene.knowledge {
        Knowledge::Settled => NodeOptions::default(),
        Knowledge::MassStart => NodeOptions {
            assumed_nodes: KNOWN_AFTER_MASS_START,
            hears_beacons: false,
            ..NodeOptions::default()
        },
    };
    let count = match scene.knowledge {
        Knowledge::Settled => ASKERS,
        // Whoever asks twice has learnt from the first time.
        Knowledge::MassStart => scene.lookups,
    };
    let askers: Vec<usize> = (0..count).map(|_| lan.start(&[], asker)).collect();
    let others = scene.nodes.saturating_sub(ASKERS).max(1);
    match scene.knowledge {
        Knowledge::MassStart => lan.start_light(others, held, KNOWN_AFTER_MASS_START),
        Knowledge::Settled if scene.nodes <= MOST_FULL => drop(lan.start_many(others, held)),
        Knowledge::Settled => {
            let all = u32::try_from(scene.nodes - 1).unwrap_or(u32::MAX);
            lan.start_light(others, held, all);
        }
    }
    if scene.holders == Holders::One {
        for (number, content) in everything.into_iter().enumerate() {
            // Spread over all of them; none twice, as far as there are so many.
            let holder = askers.len() + number * 7919 % others;
            lan.with(holder, |machine, now| {
                machine.handle_holding(now, content, u8::MAX);
            });
        }
    }
    askers
}

/// When the n-th machine was found.
fn time_of(found: &Found, number: usize) -> Duration {
    let mut machines = Vec::new();
    for (took, provider) in &found.providers {
        if !machines.contains(&provider.peer.node) {
            machines.push(provider.peer.node);
        }
        if machines.len() == number {
            return *took;
        }
    }
    Duration::MAX
}

/// Bytes a minute of the whole LAN while nobody wants anything, each node holding 300 things.
pub fn idle_bytes_per_minute(nodes: usize, seed: u64) -> u64 {
    const MINUTES: u32 = 60;
    let held: Vec<ContentId> = (0..300).map(content).collect();
    let mut lan = Lan::new(seed, Weather::fair());
    if nodes <= MOST_FULL {
        lan.start_many(nodes, &held);
    } else {
        // Beacons on so large a LAN do not say what is held.
        let others = u32::try_from(nodes - 1).unwrap_or(u32::MAX);
        lan.start_light(nodes, &[], others);
    }
    lan.run(Duration::from_mins(5));
    lan.take_all_traffic();
    lan.run(Duration::from_mins(MINUTES.into()));
    lan.take_all_traffic().bytes / u64::from(MINUTES)
}

/// How long it takes until others have heard of a newcomer.
pub fn newcomer_known(nodes: usize, seed: u64) -> Quantiles<Duration> {
    const NEWCOMERS: usize = 20;
    const OBSERVERS: usize = 20;
    const STEP: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_secs(10);
    let mut lan = Lan::new(seed, Weather::fair());
    let observers = lan.start_many(nodes.min(OBSERVERS), &[]);
    let light = nodes.saturating_sub(OBSERVERS);
    lan.start_light(light, &[], u32::try_from(nodes - 1).unwrap_or(u32::MAX));
    lan.run(SETTLED);
    let mut times = Vec::new();
    for _ in 0..NEWCOMERS {
        let newcomer = lan.start(&[], NodeOptions::default());
        let id = lan.machine(newcomer).node_id();
        let mut waiting = observers.clone();
        let mut passed = Duration::ZERO;
        while !waiting.is_empty() && passed < LONGEST {
            lan.run(STEP);
            passed += STEP;
            let before = waiting.len();
            waiting.retain(|one| !Membership::has_heard_of(lan.machine(*one), id));
            times.extend(vec![passed; before - waiting.len()]);
        }
        times.extend(vec![Duration::MAX; waiting.len()]);
        lan.run(PAUSE);
    }
    Quantiles::of(times)
}
