//! With one honest provider that has everything, any schedule of lies, stalls and losses ends well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::start;
use crate::{
    Call, CallEnd, DropReason, Event, FileVerdict, Holding, Part, ProviderId, Settings, Standing,
    Transfer, Unit, UnitId, UnitOutcome, WrittenBefore,
};
use proptest::prelude::*;

const ITEMS_IN_RUN: u32 = 3;
const ITEM_BYTES: u64 = 100_000;

/// Steps after which a transfer counts as endless.
const MOST_STEPS: usize = 20_000;

/// How often the honest provider may be lost, below what makes a transfer give it up.
const HONEST_LOSSES: u32 = 2;

#[derive(Debug, Clone)]
struct World {
    runs: u32,
    /// Slices of each large file.
    files: Vec<u32>,
    /// Slices that lay there before, wrong ones too, by piece.
    before: BTreeMap<u32, Bytes>,
    liars: Vec<Liar>,
    seed: u64,
}

/// What lies in a slice: right, or one of several wrong versions.
type Bytes = u8;
const RIGHT: Bytes = 0;

/// The pieces of each large file.
type FilePieces = BTreeMap<u32, Vec<u32>>;

#[derive(Debug, Clone)]
struct Liar {
    /// How likely each deed is, of 8.
    wrong: u8,
    lost: u8,
    holds: Option<u32>,
    /// Liars with the same version agree.
    version: Bytes,
}

fn world() -> impl Strategy<Value = World> {
    let liar = (0..8_u8, 0..4_u8, proptest::option::of(1..10_u32), 1..4_u8).prop_map(
        |(wrong, lost, holds, version)| Liar {
            wrong,
            lost,
            holds,
            version,
        },
    );
    (
        0..20_u32,
        proptest::collection::vec(1..30_u32, 0..4),
        proptest::collection::btree_map(0..60_u32, 0..3_u8, 0..10),
        proptest::collection::vec(liar, 0..6),
        any::<u64>(),
    )
        .prop_map(|(runs, files, before, liars, seed)| World {
            runs,
            files,
            before,
            liars,
            seed,
        })
}

proptest! {
    #[test]
    fn one_honest_provider_is_enough(world in world()) {
        Simulation::new(&world).run();
    }
}

struct Simulation {
    transfer: Transfer,
    random: fastrand::Rng,
    now: Instant,
    liars: Vec<Liar>,
    honest: ProviderId,
    honest_losses: u32,
    /// What lies on the disk.
    slices: BTreeMap<u32, Bytes>,
    file_pieces: FilePieces,
    proven_items: BTreeSet<u32>,
    proven_pieces: BTreeSet<u32>,
    open: Vec<(Call, usize)>,
    named: Vec<(ProviderId, DropReason)>,
}

impl Simulation {
    fn new(world: &World) -> Self {
        let (units, file_pieces) = units(world);
        let slices = units
            .iter()
            .filter(|(_, before)| *before == WrittenBefore::Yes)
            .map(|(unit, _)| (unit.piece, world.before[&unit.piece]))
            .collect();
        let mut transfer = Transfer::new(units, Settings::default(), world.seed);
        let mut random = fastrand::Rng::with_seed(world.seed);
        let place = random.usize(0..=world.liars.len());
        let mut liars = world.liars.clone();
        let mut honest = None;
        for index in 0..=liars.len() {
            if index == place {
                honest = Some(transfer.add_provider(Holding::Complete));
            } else {
                let liar = &world.liars[index - usize::from(index > place)];
                transfer.add_provider(liar.holds.map_or(Holding::Complete, |end| {
                    Holding::Partial(vec![0..end, end + 20..90])
                }));
            }
        }
        liars.insert(
            place,
            Liar {
                wrong: 0,
                lost: 1,
                holds: None,
                version: RIGHT,
            },
        );
        Self {
            transfer,
            random,
            now: start(),
            liars,
            honest: honest.unwrap(),
            honest_losses: 0,
            slices,
            file_pieces,
            proven_items: BTreeSet::new(),
            proven_pieces: BTreeSet::new(),
            open: Vec::new(),
            named: Vec::new(),
        }
    }

    fn run(mut self) {
        for _ in 0..MOST_STEPS {
            while let Some(event) = self.transfer.poll_event() {
                self.handle(event);
            }
            while let Some(call) = self.transfer.poll_call(self.now) {
                self.check_call(&call);
                self.open.push((call, 0));
            }
            if !self.open.is_empty() {
                self.step();
                continue;
            }
            match self.transfer.standing(self.now) {
                Standing::Done => return self.check_end(),
                Standing::Working => {}
                Standing::Waiting { until } => self.now = until,
                Standing::Starved => panic!("gave up, and dropped {:?}", self.named),
            }
        }
        panic!("no end");
    }

    fn check_call(&self, call: &Call) {
        for id in &call.units {
            let unit = self.transfer.unit(*id).unwrap();
            assert!(
                !self.proven_pieces.contains(&unit.piece),
                "asked for what was proven"
            );
            if let Part::Items(items) = &unit.part {
                assert!(items.clone().all(|item| !self.proven_items.contains(&item)));
                assert_eq!(unit.len, u64::from(items.end - items.start) * ITEM_BYTES);
            }
            let mut others = self
                .open
                .iter()
                .flat_map(|(other, next)| &other.units[*next..]);
            assert!(others.all(|other| other != id), "asked for twice at once");
        }
    }

    /// Moves one of the running calls by one unit, or ends it.
    fn step(&mut self) {
        let index = self.random.usize(0..self.open.len());
        let (call, next) = self.open[index].clone();
        let liar = self.liars[call.provider.number() as usize].clone();
        let Some(unit) = call.units.get(next).copied() else {
            return self.end(index, CallEnd::Finished);
        };
        if self.random.u8(0..8) < liar.lost && self.may_lose(call.provider) {
            let end = self.bad_end(call.provider);
            return self.end(index, end);
        }
        self.open[index].1 += 1;
        let is_right = self.random.u8(0..8) >= liar.wrong;
        let version = if is_right { RIGHT } else { liar.version };
        self.deliver(index, &call, unit, version);
    }

    fn may_lose(&mut self, provider: ProviderId) -> bool {
        if provider != self.honest {
            return true;
        }
        self.honest_losses += 1;
        self.honest_losses <= HONEST_LOSSES
    }

    fn bad_end(&mut self, provider: ProviderId) -> CallEnd {
        let ends = [
            CallEnd::Lost,
            CallEnd::Stalled,
            CallEnd::Busy { retry_after: None },
            CallEnd::Finished,
            CallEnd::NotHeld {
                piece: Some(self.random.u32(0..40)),
            },
            CallEnd::Violation,
        ];
        let most = if provider == self.honest {
            4
        } else {
            ends.len()
        };
        ends[self.random.usize(0..most)]
    }

    fn deliver(&mut self, index: usize, call: &Call, id: UnitId, version: Bytes) {
        let unit = self.transfer.unit(id).unwrap().clone();
        match unit.part {
            Part::Items(items) if version == RIGHT => {
                self.proven_items.extend(items);
                self.proven_pieces.insert(unit.piece);
                self.transfer
                    .handle_unit(self.now, call.id, id, UnitOutcome::Proven);
            }
            Part::Items(items) => {
                let proven_items = self.random.u32(0..items.end - items.start);
                self.proven_items
                    .extend(items.start..items.start + proven_items);
                let proven_bytes = u64::from(proven_items) * ITEM_BYTES;
                let outcome = UnitOutcome::Wrong {
                    proven_items,
                    proven_bytes,
                };
                self.transfer.handle_unit(self.now, call.id, id, outcome);
                self.end(index, CallEnd::Wrong);
            }
            Part::Slice { .. } => {
                let is_reread = self.transfer.is_reread(id);
                let old = self.slices.insert(unit.piece, version);
                let differs = is_reread && old.unwrap() != version;
                self.transfer
                    .handle_unit(self.now, call.id, id, UnitOutcome::Written { differs });
            }
        }
    }

    fn end(&mut self, index: usize, end: CallEnd) {
        let (call, next) = self.open.swap_remove(index);
        // A call that breaks off may have brought the first entries of a run.
        if let Some(id) = call.units.get(next).copied()
            && let Some(Part::Items(items)) = self.transfer.unit(id).map(|unit| unit.part.clone())
            && end != CallEnd::Wrong
        {
            let proven_items = self.random.u32(0..items.end - items.start);
            self.proven_items
                .extend(items.start..items.start + proven_items);
            let proven_bytes = u64::from(proven_items) * ITEM_BYTES;
            let outcome = UnitOutcome::Part {
                proven_items,
                proven_bytes,
            };
            self.transfer.handle_unit(self.now, call.id, id, outcome);
        }
        // A call that breaks off may have written a part of the slice it was at.
        if let Some(unit) = call.units.get(next).and_then(|id| self.transfer.unit(*id))
            && matches!(unit.part, Part::Slice { .. })
            && self.random.bool()
        {
            self.slices.insert(unit.piece, 77);
        }
        self.transfer.handle_call_end(self.now, call.id, end);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::CheckFile { item } => {
                let pieces = &self.file_pieces[&item];
                let is_right = pieces
                    .iter()
                    .all(|piece| self.slices.get(piece) == Some(&RIGHT));
                if is_right {
                    self.proven_pieces.extend(pieces);
                }
                let verdict = if is_right {
                    FileVerdict::Proven
                } else {
                    FileVerdict::Mismatch
                };
                self.transfer.handle_file(item, verdict);
            }
            Event::Cancel { call } => {
                if let Some(index) = self.open.iter().position(|(open, _)| open.id == call) {
                    self.end(index, CallEnd::Cancelled);
                }
            }
            Event::ProveFile { .. } | Event::Lead { .. } | Event::Judge { .. } => {
                panic!("nobody has lists here")
            }
            Event::Dropped { provider, reason } => self.named.push((provider, reason)),
        }
    }

    fn check_end(&self) {
        assert_eq!(self.transfer.unproven_units(), 0);
        for pieces in self.file_pieces.values() {
            assert!(pieces.iter().all(|piece| self.slices[piece] == RIGHT));
        }
        let of_honest: Vec<_> = self
            .named
            .iter()
            .filter(|(provider, _)| *provider == self.honest)
            .collect();
        assert!(
            of_honest.is_empty(),
            "the honest provider was dropped: {of_honest:?}"
        );
        for (provider, reason) in &self.named {
            let liar = &self.liars[provider.number() as usize];
            if matches!(reason, DropReason::WrongSlices | DropReason::WrongTwice) {
                assert!(liar.wrong > 0, "named, and never sent anything wrong");
            }
        }
    }
}

fn units(world: &World) -> (Vec<(Unit, WrittenBefore)>, FilePieces) {
    let mut units = Vec::new();
    for piece in 0..world.runs {
        let part = Part::Items(piece * ITEMS_IN_RUN..(piece + 1) * ITEMS_IN_RUN);
        let len = u64::from(ITEMS_IN_RUN) * ITEM_BYTES;
        units.push((
            Unit {
                piece,
                offset: 0,
                len,
                whole: true,
                part,
            },
            WrittenBefore::No,
        ));
    }
    let mut file_pieces = BTreeMap::new();
    let mut piece = world.runs;
    for (file, count) in world.files.iter().enumerate() {
        let item = world.runs * ITEMS_IN_RUN + u32::try_from(file).unwrap();
        for slice in 0..*count {
            let is_there = world.before.contains_key(&piece);
            let before = if is_there {
                WrittenBefore::Yes
            } else {
                WrittenBefore::No
            };
            let len = 2 * ITEM_BYTES;
            let part = Part::Slice {
                item,
                offset: u64::from(slice) * len,
            };
            units.push((
                Unit {
                    piece,
                    offset: 0,
                    len,
                    whole: true,
                    part,
                },
                before,
            ));
            file_pieces.entry(item).or_insert_with(Vec::new).push(piece);
            piece += 1;
        }
    }
    (units, file_pieces)
}

/// Keeps the simulated clock within what `Instant` can add.
#[test]
fn resting_takes_minutes_at_most() {
    let settings = Settings::default();
    assert!(settings.longest_rest * settings.busies < Duration::from_mins(10));
}
