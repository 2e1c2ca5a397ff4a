//! One transfer among them: any of the things that run goes on next.

mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use zeroshare_content::GRAIN;
use zeroshare_proof::ListDigest;

use super::{ITEM, MOST_STEPS, World};
use crate::tests::start;
use crate::tests::world::{Behaviour, Kind, LargeFile, List, RIGHT, TORN, Version};
use crate::{
    Ask, Call, CallEnd, DropReason, Event, FileVerdict, Holding, Part, Probe, ProviderId, Settings,
    Standing, Transfer, Unit, UnitId, WrittenBefore,
};

pub(super) struct Simulation {
    file: LargeFile,
    transfer: Transfer,
    random: fastrand::Rng,
    now: Instant,
    people: Vec<Behaviour>,
    /// Those that join later.
    absent: Vec<Behaviour>,
    honest: Option<ProviderId>,
    honest_losses: u32,
    steps: u32,
    arrival: u32,
    salt: u32,
    disk: BTreeMap<u32, Version>,
    calls: Vec<OpenCall>,
    asks: Vec<Ask>,
    probes: Vec<Probe>,
    judging: Vec<UnitId>,
    proving: bool,
    is_proven: bool,
    named: Vec<(ProviderId, DropReason)>,
    /// Slices that were asked for once two were known that have the whole, and brought something that was of no use.
    wasted: BTreeMap<ProviderId, u32>,
    known: BTreeSet<ProviderId>,
    was_lossless: bool,
}

#[derive(Debug, Clone)]
struct OpenCall {
    call: Call,
    next: usize,
    /// Whether two were known that have the whole when it was made.
    counts: bool,
}

impl Simulation {
    pub(super) fn new(world: &World) -> Self {
        let units = units(world);
        let mut disk = BTreeMap::new();
        for (unit, before) in &units {
            if let (WrittenBefore::Yes, Part::Slice { .. }) = (before, &unit.part) {
                let version = world.before[&unit.piece];
                disk.extend(grains_of(world.file, unit.piece).map(|grain| (grain, version)));
            }
        }
        let mut transfer = Transfer::new(units, Settings::default(), world.seed);
        transfer.keep_lists(ITEM);
        let mut people = world.others.clone();
        people.insert(world.place, Behaviour::honest());
        people.reverse();
        Self {
            file: world.file,
            transfer,
            random: fastrand::Rng::with_seed(world.seed),
            now: start(),
            people: Vec::new(),
            absent: people,
            honest: None,
            honest_losses: world.honest_losses,
            steps: 0,
            arrival: world.arrival,
            salt: 0,
            disk,
            calls: Vec::new(),
            asks: Vec::new(),
            probes: Vec::new(),
            judging: Vec::new(),
            proving: false,
            is_proven: false,
            named: Vec::new(),
            wasted: BTreeMap::new(),
            known: BTreeSet::new(),
            was_lossless: world.honest_losses == 0,
        }
    }

    pub(super) fn run(mut self) -> Vec<(ProviderId, DropReason)> {
        for _ in 0..MOST_STEPS {
            self.steps += 1;
            if self.random.u8(0..4) == 0 {
                self.somebody_joins(false);
            }
            self.carry_out();
            if self.step() {
                continue;
            }
            match self.transfer.standing(self.now) {
                Standing::Done => return self.check_end(),
                Standing::Working => {}
                Standing::Waiting { until } => self.now = until.max(self.now),
                Standing::Starved if !self.absent.is_empty() => self.somebody_joins(true),
                Standing::Starved => panic!("gave up, and dropped {:?}", self.named),
            }
        }
        panic!("no end; dropped {:?}", self.named);
    }

    fn somebody_joins(&mut self, is_urgent: bool) {
        let Some(next) = self.absent.last() else {
            return;
        };
        if next.kind == Kind::Honest && !is_urgent && self.steps < self.arrival {
            // Whoever comes after it does not wait for it.
            let other = self.absent.len().checked_sub(2);
            if let Some(other) = other {
                self.absent.swap(other, other + 1);
            }
            return;
        }
        let Some(next) = self.absent.pop() else {
            return;
        };
        let holding = if next.seems_whole {
            Holding::Complete
        } else {
            let pieces = (0..self.file.slices).filter(|piece| self.has(&next, *piece));
            Holding::Partial(pieces.map(|piece| piece..piece + 1).collect())
        };
        let id = self.transfer.add_provider(holding);
        if next.kind == Kind::Honest {
            self.honest = Some(id);
        }
        self.people.push(next);
    }

    /// Whether somebody can send a slice that holds by its own list; liars say so of all.
    fn has(&self, who: &Behaviour, piece: u32) -> bool {
        match (who.kind, self.file.list(who.list, 0)) {
            (Kind::Relay, Some(list)) => grains_of(self.file, piece).all(|grain| {
                self.file
                    .holds(&list, grain, self.file.version_under(who.list, grain))
            }),
            (Kind::Relay, None) => piece.is_multiple_of(2),
            (Kind::Honest | Kind::BadDisk | Kind::Liar, _) => true,
        }
    }

    fn carry_out(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(event) = self.transfer.poll_event() {
                is_idle = false;
                self.handle(event);
            }
            while let Some(ask) = self.transfer.poll_ask(self.now) {
                is_idle = false;
                self.asks.push(ask);
            }
            while let Some(probe) = self.transfer.poll_probe(self.now) {
                is_idle = false;
                self.probes.push(probe);
            }
            while let Some(call) = self.transfer.poll_call(self.now) {
                is_idle = false;
                self.make(call);
            }
            if is_idle {
                return;
            }
        }
    }

    fn make(&mut self, call: Call) {
        assert!(
            self.probes
                .iter()
                .all(|probe| !probe.recheck || probe.provider != call.provider),
            "nothing else is asked before it explained itself"
        );
        // The honest one was heard, with its list.
        let list = self.file.list(List::True, 0).unwrap();
        let is_heard = self
            .honest
            .is_some_and(|honest| self.known.contains(&honest));
        let counts = is_heard && self.knows(list.digest());
        self.calls.push(OpenCall {
            call,
            next: 0,
            counts,
        });
    }

    /// Lets one of the things that run go on; `false` if nothing runs.
    fn step(&mut self) -> bool {
        let counts = [
            self.calls.len(),
            self.asks.len(),
            self.probes.len(),
            self.judging.len(),
            usize::from(self.proving),
        ];
        let mut at = match counts.iter().sum() {
            0 => return false,
            sum => self.random.usize(0..sum),
        };
        for (kind, count) in counts.into_iter().enumerate() {
            if at >= count {
                at -= count;
                continue;
            }
            match kind {
                0 => self.step_call(at),
                1 => self.answer(at),
                2 => self.probe(at),
                3 => self.judge(at),
                _ => self.prove(),
            }
            break;
        }
        true
    }

    fn who(&self, provider: ProviderId) -> Behaviour {
        self.people[provider.number() as usize].clone()
    }

    fn fails(&mut self, provider: ProviderId, chance: u8) -> bool {
        if self.random.u8(0..8) >= chance {
            return false;
        }
        if Some(provider) != self.honest {
            return true;
        }
        let may = self.honest_losses > 0;
        self.honest_losses = self.honest_losses.saturating_sub(1);
        may
    }

    fn bad_end(&mut self) -> CallEnd {
        let ends = [
            CallEnd::Lost,
            CallEnd::Stalled,
            CallEnd::Busy { retry_after: None },
            CallEnd::Finished,
        ];
        ends[self.random.usize(0..ends.len())]
    }

    fn knows(&self, list: &ListDigest) -> bool {
        self.transfer
            .lists(ITEM)
            .iter()
            .any(|known| known.digest() == list)
    }

    fn end(&mut self, at: usize, end: CallEnd) {
        let OpenCall { call, next, .. } = self.calls.swap_remove(at);
        // A call that breaks off may have written a part of the slice it was at, if nobody could judge it.
        if let Some(unit) = call.units.get(next).and_then(|id| self.transfer.unit(*id))
            && self.transfer.lists(ITEM).is_empty()
            && self.random.bool()
        {
            let grains = asked_grains(unit);
            self.disk.insert(grains.start, TORN);
        }
        self.transfer.handle_call_end(self.now, call.id, end);
    }

    fn judge(&mut self, at: usize) {
        let id = self.judging.swap_remove(at);
        let Some(list) = self.transfer.lead(ITEM).cloned() else {
            // It was proven as a whole meanwhile.
            return;
        };
        let piece = self.transfer.unit(id).unwrap().piece;
        let linked: Vec<_> = grains_of(self.file, piece)
            .filter(|grain| {
                let version = self.disk.get(grain);
                version.is_some_and(|version| self.file.holds(&list, *grain, *version))
            })
            .map(|grain| grain..grain + 1)
            .collect();
        self.transfer
            .handle_judged_on_disk(id, *list.digest(), &linked);
    }

    fn prove(&mut self) {
        self.proving = false;
        self.transfer.handle_file(ITEM, FileVerdict::Proven);
    }

    fn is_right(&self) -> bool {
        (0..self.file.grains()).all(|grain| self.disk.get(&grain) == Some(&RIGHT))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::CheckFile { item } => {
                let verdict = if self.is_right() {
                    self.is_proven = true;
                    FileVerdict::Proven
                } else {
                    FileVerdict::Mismatch
                };
                self.transfer.handle_file(item, verdict);
            }
            Event::ProveFile { .. } => {
                assert!(self.is_right(), "wrong bytes would have been committed");
                self.is_proven = true;
                self.proving = true;
            }
            Event::Lead { .. } => {}
            Event::Judge { unit } => self.judging.push(unit),
            Event::Cancel { call } => {
                if let Some(at) = self.calls.iter().position(|open| open.call.id == call) {
                    self.end(at, CallEnd::Cancelled);
                }
            }
            Event::Dropped { provider, reason } => self.named.push((provider, reason)),
        }
    }

    fn check_end(self) -> Vec<(ProviderId, DropReason)> {
        assert!(self.is_proven && self.is_right(), "{:?}", self.disk);
        for (provider, reason) in &self.named {
            let who = self.who(*provider);
            assert!(
                who.kind != Kind::Honest,
                "the honest one was dropped: {reason:?}"
            );
            let convicts = matches!(
                reason,
                DropReason::WrongTwice | DropReason::LostDispute | DropReason::Renamed
            );
            assert!(
                !convicts || who.kind == Kind::Liar,
                "{who:?} was named: {reason:?}"
            );
        }
        if self.was_lossless {
            for (provider, wasted) in &self.wasted {
                let who = self.who(*provider);
                assert!(*wasted <= 1, "{wasted} slices were wasted on {who:?}");
            }
        }
        self.named
    }
}

fn grains_of(file: LargeFile, piece: u32) -> std::ops::Range<u32> {
    piece * file.grains_in_slice..(piece + 1) * file.grains_in_slice
}

fn asked_grains(unit: &Unit) -> std::ops::Range<u32> {
    let Part::Slice { offset, .. } = unit.part else {
        panic!("only slices here")
    };
    let grain = |at: u64| u32::try_from(at / GRAIN).unwrap();
    grain(offset + unit.offset)..grain(offset + unit.offset + unit.len)
}

fn units(world: &World) -> Vec<(Unit, WrittenBefore)> {
    let len = u64::from(world.file.grains_in_slice) * GRAIN;
    let unit = |piece: u32| {
        let before = if world.before.contains_key(&piece) {
            WrittenBefore::Yes
        } else {
            WrittenBefore::No
        };
        let part = Part::Slice {
            item: ITEM,
            offset: u64::from(piece) * len,
        };
        let unit = Unit {
            piece,
            offset: 0,
            len,
            whole: true,
            part,
        };
        (unit, before)
    };
    (0..world.file.slices).map(unit).collect()
}
