//! Many machines, one upstream, virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use zeroshare_content::{BlobId, HashKind, Layout};

use super::start;
use crate::cold::*;

const PIECE: u64 = 128 * 1024;
const ONE_WAY: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_mins(10);

/// How a node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Honest,
    /// Goes away then, in milliseconds after its start.
    Dies(u64),
    /// Claims all, reads nothing, and says once a second that it claims all and has the first piece.
    Hoards,
    /// Has all of it, and gives one piece in 20 s: the truth, or something else.
    Trickles {
        lies: bool,
    },
    /// Says of every so many pieces something that upstream does not say, and sends just that.
    Poisons(u32),
    /// Sends other bytes than it states.
    Contradicts,
    /// Passes on other bytes than it got.
    SpoilsRelayed,
}

#[derive(Debug, Clone)]
struct Plan {
    pieces: u32,
    /// When each starts, in milliseconds, and what it is like.
    nodes: Vec<(u64, Nature)>,
    origin: Origin,
    /// Milliseconds until a node that starts is found by those there, at most.
    discovery: u64,
}

#[derive(Debug)]
enum Happens {
    Start(usize),
    Kill(usize),
    Found {
        who: usize,
        whom: usize,
    },
    Gone {
        who: usize,
        whom: usize,
    },
    Told {
        to: usize,
        from: usize,
        word: Word,
    },
    Read {
        node: usize,
        request: RequestId,
        piece: u32,
        end: u32,
    },
    Took {
        node: usize,
        take: TakeId,
        from: usize,
        left: Vec<u32>,
    },
    Hung {
        node: usize,
        take: TakeId,
    },
    Tick(usize),
}

#[derive(Debug, Clone)]
enum Word {
    Member,
    Claimed(std::ops::Range<u32>),
    /// Digest, and whether it is the sender's own.
    Stated(u32, PieceDigest, bool),
    Proven,
    Known,
}

struct Node {
    nature: Nature,
    machine: Option<ColdStart>,
    is_alive: bool,
    disk: Vec<Option<PieceDigest>>,
    said: Vec<Word>,
    own: BTreeSet<u32>,
    ids: BTreeMap<usize, MemberId>,
    cancelled: BTreeSet<TakeId>,
    /// Who writes which pieces: calls, and ranges of upstream.
    taking: BTreeMap<TakeId, Vec<u32>>,
    reading: BTreeMap<RequestId, std::ops::Range<u32>>,
    is_done: bool,
    hoarded: Option<Instant>,
    uplink_free: Instant,
}

struct World {
    plan: Plan,
    layout: Layout,
    blob: BlobId,
    now: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happens>,
    count: u64,
    nodes: Vec<Node>,
    upstream_free: Instant,
    upstream_bytes: u64,
    dropped: Vec<(usize, usize, ColdDrop)>,
}

/// What came of it.
struct Outcome {
    /// Bytes that upstream sent, in percent of the size of the content.
    percent: u64,
    dropped: Vec<(usize, usize, ColdDrop)>,
    took: Duration,
}

fn truth(piece: u32) -> PieceDigest {
    let mut digest = [7; 32];
    digest[..4].copy_from_slice(&piece.to_be_bytes());
    digest
}

fn fake(piece: u32, node: usize) -> PieceDigest {
    let mut digest = truth(piece);
    digest[31] = 100 + u8::try_from(node).unwrap();
    digest
}

fn run(plan: Plan) -> Outcome {
    let size = u64::from(plan.pieces) * PIECE;
    let blob = BlobId::of(HashKind::Sha256, b"blob");
    let layout = Layout::of_blob(blob, size).unwrap();
    assert_eq!(layout.piece_count(), plan.pieces);
    let now = start();
    let nodes = plan.nodes.iter().map(|(_, nature)| Node {
        nature: *nature,
        machine: None,
        is_alive: false,
        disk: vec![None; plan.pieces as usize],
        said: vec![Word::Member],
        own: BTreeSet::new(),
        ids: BTreeMap::new(),
        cancelled: BTreeSet::new(),
        taking: BTreeMap::new(),
        reading: BTreeMap::new(),
        is_done: false,
        hoarded: None,
        uplink_free: now,
    });
    let mut world = World {
        nodes: nodes.collect(),
        layout,
        blob,
        now,
        queue: BinaryHeap::new(),
        happenings: BTreeMap::new(),
        count: 0,
        upstream_free: now,
        upstream_bytes: 0,
        dropped: Vec::new(),
        plan,
    };
    for (index, (at, nature)) in world.plan.nodes.clone().into_iter().enumerate() {
        let at = now + Duration::from_millis(at);
        world.at(at, Happens::Start(index));
        if let Nature::Dies(after) = nature {
            world.at(at + Duration::from_millis(after), Happens::Kill(index));
        }
    }
    world.run()
}

impl World {
    fn at(&mut self, at: Instant, what: Happens) {
        self.count += 1;
        self.queue.push(Reverse((at, self.count)));
        self.happenings.insert(self.count, what);
    }

    fn run(mut self) -> Outcome {
        let begin = self.now;
        while !self.is_over() {
            let Some(Reverse((at, key))) = self.queue.pop() else {
                panic!("nothing happens any more");
            };
            self.now = at;
            assert!(at < begin + LIMIT, "it takes too long: {:?}", self.stuck());
            let what = self.happenings.remove(&key).unwrap();
            self.happen(what);
        }
        for node in self.nodes.iter().filter(|node| node.is_done) {
            let right = (0_u32..)
                .zip(&node.disk)
                .all(|(piece, held)| *held == Some(truth(piece)));
            assert!(right, "something wrong is taken for proven");
        }
        Outcome {
            percent: self.upstream_bytes * 100 / self.layout.content_size(),
            dropped: self.dropped,
            took: self.now - begin,
        }
    }

    fn stuck(&self) -> Vec<String> {
        let open = self
            .nodes
            .iter()
            .filter(|node| node.is_alive && !node.is_done);
        open.map(|node| format!("{:?}", node.machine))
            .take(1)
            .collect()
    }

    fn is_over(&self) -> bool {
        let honest = |node: &&Node| node.nature == Nature::Honest;
        self.nodes.iter().filter(honest).all(|node| node.is_done)
    }

    fn happen(&mut self, what: Happens) {
        let now = self.now;
        match what {
            Happens::Start(index) => self.start(index),
            Happens::Kill(index) => {
                self.nodes[index].is_alive = false;
                for who in 0..self.nodes.len() {
                    self.at(now + ONE_WAY, Happens::Gone { who, whom: index });
                }
            }
            Happens::Found { who, whom } => self.find(who, whom),
            Happens::Gone { who, whom } => {
                if let Some(id) = self.nodes[who].ids.get(&whom).copied() {
                    self.machine(who, |machine| machine.handle_gone(id));
                }
            }
            Happens::Told { to, from, word } => self.tell(to, from, word),
            Happens::Read {
                node,
                request,
                piece,
                end,
            } => self.read(node, request, piece, end),
            Happens::Took {
                node,
                take,
                from,
                left,
            } => self.took(node, take, from, left),
            Happens::Hung { node, take } => {
                if self.nodes[node].taking.remove(&take).is_some() {
                    let end = TakeEnd::Cancelled;
                    self.machine(node, |machine| machine.handle_take_end(now, take, end));
                }
            }
            Happens::Tick(index) => {
                self.poll(index);
                self.hoard(index);
                self.at(now + Duration::from_millis(50), Happens::Tick(index));
            }
        }
    }

    fn machine(&mut self, index: usize, act: impl FnOnce(&mut ColdStart)) {
        let node = &mut self.nodes[index];
        if let Some(machine) = node.machine.as_mut().filter(|_| node.is_alive) {
            act(machine);
            self.poll(index);
        }
    }

    fn start(&mut self, index: usize) {
        let name = NodeName::new([u8::try_from(index).unwrap(); 16]);
        let origin = self.plan.origin;
        let machine = ColdStart::new(
            (name, self.blob),
            &self.layout,
            origin,
            ColdSettings::default(),
            self.now,
        );
        let node = &mut self.nodes[index];
        (node.machine, node.is_alive) = (Some(machine), true);
        for other in 0..self.nodes.len() {
            if other != index && self.nodes[other].is_alive {
                // The later one asks, and is answered; the earlier one finds it when it asks again.
                let apart = (index * 7 + other * 3) as u64 % (self.plan.discovery + 1);
                self.at(
                    self.now + ONE_WAY,
                    Happens::Found {
                        who: index,
                        whom: other,
                    },
                );
                let later = self.now + Duration::from_millis(apart);
                self.at(
                    later,
                    Happens::Found {
                        who: other,
                        whom: index,
                    },
                );
            }
        }
        self.at(self.now, Happens::Tick(index));
        self.hoard(index);
        if let Nature::Trickles { .. } = self.nodes[index].nature {
            self.nodes[index].disk = (0..self.plan.pieces)
                .map(|piece| Some(truth(piece)))
                .collect();
            self.nodes[index].said.clear();
            self.announce(index, &Word::Proven);
        }
    }

    fn hoard(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let is_due = node
            .hoarded
            .is_none_or(|last| self.now >= last + Duration::from_secs(1));
        if node.nature == Nature::Hoards && node.is_alive && is_due {
            node.hoarded = Some(self.now);
            let all = 0..self.plan.pieces;
            self.announce(index, &Word::Claimed(all));
            self.announce(index, &Word::Stated(0, truth(0), true));
        }
    }

    fn find(&mut self, who: usize, whom: usize) {
        if self.nodes[who].ids.contains_key(&whom) || !self.nodes[whom].is_alive {
            return;
        }
        let now = self.now;
        let name = NodeName::new([u8::try_from(whom).unwrap(); 16]);
        let Some(machine) = self.nodes[who].machine.as_mut() else {
            return;
        };
        let id = machine.add_member(now, name).unwrap();
        self.nodes[who].ids.insert(whom, id);
        for word in self.nodes[whom]
            .said
            .clone()
            .into_iter()
            .chain([Word::Known])
        {
            self.at(
                now + 2 * ONE_WAY,
                Happens::Told {
                    to: who,
                    from: whom,
                    word,
                },
            );
        }
    }

    fn announce(&mut self, index: usize, word: &Word) {
        self.nodes[index].said.push(word.clone());
        for to in 0..self.nodes.len() {
            if self.nodes[to].ids.contains_key(&index) {
                let later = self.now + ONE_WAY + Duration::from_millis(20);
                self.at(
                    later,
                    Happens::Told {
                        to,
                        from: index,
                        word: word.clone(),
                    },
                );
            }
        }
    }

    fn tell(&mut self, to: usize, from: usize, word: Word) {
        let (now, count) = (self.now, self.plan.pieces);
        let Some(id) = self.nodes[to].ids.get(&from).copied() else {
            return;
        };
        self.machine(to, |machine| match word {
            Word::Member => machine.handle_takes_part(id),
            Word::Claimed(pieces) => machine.handle_claimed(now, id, pieces),
            Word::Stated(piece, digest, true) => machine.handle_stated(now, id, piece, digest),
            Word::Stated(piece, _, false) => machine.handle_held(id, piece..piece + 1, false),
            Word::Proven => machine.handle_held(id, 0..count, true),
            Word::Known => machine.handle_known(id),
        });
    }

    /// Upstream sends one piece after the other, to whoever asked first.
    fn next_read(&mut self, node: usize, request: RequestId, piece: u32, end: u32) {
        let sent = Duration::from_millis(10);
        self.upstream_free = self.upstream_free.max(self.now) + sent;
        self.at(
            self.upstream_free + ONE_WAY,
            Happens::Read {
                node,
                request,
                piece,
                end,
            },
        );
    }

    fn read(&mut self, index: usize, request: RequestId, piece: u32, end: u32) {
        self.upstream_bytes += PIECE;
        if !self.nodes[index].is_alive {
            return;
        }
        let digest = match self.nodes[index].nature {
            Nature::Poisons(each) if piece.is_multiple_of(each) => fake(piece, index),
            Nature::Honest
            | Nature::Dies(_)
            | Nature::Hoards
            | Nature::Trickles { .. }
            | Nature::Poisons(_)
            | Nature::Contradicts
            | Nature::SpoilsRelayed => truth(piece),
        };
        self.nodes[index].disk[piece as usize] = Some(digest);
        self.nodes[index].own.insert(piece);
        let now = self.now;
        if let Some(left) = self.nodes[index].reading.get_mut(&request) {
            left.start = piece + 1;
        }
        self.machine(index, |machine| {
            machine.handle_read_piece(now, request, piece, digest);
        });
        if piece + 1 < end {
            self.next_read(index, request, piece + 1, end);
        } else {
            self.nodes[index].reading.remove(&request);
            self.machine(index, |machine| machine.handle_read_end(now, request));
        }
    }

    fn took(&mut self, index: usize, take: TakeId, from: usize, mut left: Vec<u32>) {
        let now = self.now;
        if self.nodes[index].cancelled.contains(&take) {
            return;
        }
        if left.is_empty() || !self.nodes[from].is_alive {
            let end = if left.is_empty() {
                TakeEnd::Finished
            } else {
                TakeEnd::Lost
            };
            self.nodes[index].taking.remove(&take);
            self.machine(index, |machine| machine.handle_take_end(now, take, end));
            return;
        }
        let piece = left.remove(0);
        self.nodes[index].taking.insert(take, left.clone());
        let giver = &self.nodes[from];
        let Some(held) = giver.disk[piece as usize] else {
            let end = TakeEnd::NotHeld { piece: Some(piece) };
            self.nodes[index].taking.remove(&take);
            self.machine(index, |machine| machine.handle_take_end(now, take, end));
            return;
        };
        let is_spoilt = match giver.nature {
            Nature::Contradicts => giver.own.contains(&piece),
            Nature::SpoilsRelayed => !giver.own.contains(&piece),
            Nature::Trickles { lies } => lies,
            Nature::Honest | Nature::Dies(_) | Nature::Hoards | Nature::Poisons(_) => false,
        };
        let digest = if is_spoilt { fake(piece, from) } else { held };
        self.nodes[index].disk[piece as usize] = Some(digest);
        self.machine(index, |machine| {
            machine.handle_taken(now, take, piece, digest);
        });
        self.send(index, take, from, left);
    }

    /// A node sends at the rate of upstream.
    fn send(&mut self, index: usize, take: TakeId, from: usize, left: Vec<u32>) {
        let sent = if left.is_empty() {
            Duration::ZERO
        } else if let Nature::Trickles { .. } = self.nodes[from].nature {
            Duration::from_secs(20)
        } else {
            Duration::from_millis(10)
        };
        let free = self.nodes[from].uplink_free.max(self.now) + sent;
        self.nodes[from].uplink_free = free;
        self.at(
            free + ONE_WAY,
            Happens::Took {
                node: index,
                take,
                from,
                left,
            },
        );
    }

    fn poll(&mut self, index: usize) {
        if let Nature::Hoards | Nature::Trickles { .. } = self.nodes[index].nature {
            return;
        }
        let now = self.now;
        loop {
            let node = &mut self.nodes[index];
            let Some(machine) = node.machine.as_mut().filter(|_| node.is_alive) else {
                return;
            };
            let Some(action) = machine.poll_action(now) else {
                break;
            };
            self.act(index, action);
        }
        let machine = self.nodes[index].machine.as_ref().unwrap();
        if machine.standing(now) == ColdStanding::Done && !self.nodes[index].is_done {
            self.nodes[index].is_done = true;
            self.announce(index, &Word::Proven);
        }
        let is_honest = !matches!(self.nodes[index].nature, Nature::Poisons(_));
        assert!(
            !is_honest || machine_is_fine(&self.nodes[index], now),
            "an honest node gives up"
        );
    }

    fn act(&mut self, index: usize, action: ColdAction) {
        let now = self.now;
        match action {
            ColdAction::Claim { pieces } => self.announce(index, &Word::Claimed(pieces)),
            ColdAction::Read { request, pieces } => {
                self.check_alone(index, pieces.clone());
                self.nodes[index].reading.insert(request, pieces.clone());
                self.next_read(index, request, pieces.start, pieces.end);
            }
            ColdAction::Take {
                take,
                member,
                pieces,
            } => {
                let from = self.of(index, member);
                for piece in &pieces {
                    self.check_alone(index, *piece..*piece + 1);
                }
                self.nodes[index].taking.insert(take, pieces.clone());
                if let Nature::Trickles { .. } = self.nodes[from].nature {
                    self.send(index, take, from, pieces);
                    return;
                }
                self.at(
                    now + ONE_WAY,
                    Happens::Took {
                        node: index,
                        take,
                        from,
                        left: pieces,
                    },
                );
            }
            ColdAction::CancelTake { take } => {
                self.nodes[index].cancelled.insert(take);
                let at = now + ONE_WAY;
                self.at(at, Happens::Hung { node: index, take });
            }
            ColdAction::State {
                piece,
                digest,
                origin,
            } => {
                self.announce(index, &Word::Stated(piece, digest, origin.is_none()));
            }
            ColdAction::Check => {
                let node = &mut self.nodes[index];
                let right = (0_u32..)
                    .zip(&node.disk)
                    .all(|(piece, held)| *held == Some(truth(piece)));
                node.machine.as_mut().unwrap().handle_check(now, right);
            }
            ColdAction::Drop { member, reason } => self.drop_member(index, member, reason),
        }
    }

    fn drop_member(&mut self, index: usize, member: MemberId, reason: ColdDrop) {
        let whom = self.of(index, member);
        let is_honest = matches!(self.nodes[index].nature, Nature::Honest);
        if is_honest && reason.is_wrong_bytes() {
            let honest = matches!(
                self.nodes[whom].nature,
                Nature::Honest | Nature::Dies(_) | Nature::Trickles { lies: false }
            );
            assert!(!honest, "an honest node is blamed: {reason}");
        }
        self.dropped.push((index, whom, reason));
    }

    /// Two that write one piece would leave bytes of which nobody knows whose they are.
    fn check_alone(&self, index: usize, pieces: std::ops::Range<u32>) {
        let node = &self.nodes[index];
        let taken = node.taking.values().flatten();
        let read = node.reading.values().cloned().flatten();
        let twice: Vec<u32> = taken
            .copied()
            .chain(read)
            .filter(|piece| pieces.contains(piece))
            .collect();
        assert!(
            twice.is_empty(),
            "{index} writes pieces {twice:?} twice at once"
        );
    }

    fn of(&self, index: usize, member: MemberId) -> usize {
        let mut ids = self.nodes[index].ids.iter();
        ids.find(|(_, id)| **id == member)
            .map(|(whom, _)| *whom)
            .unwrap()
    }
}

fn machine_is_fine(node: &Node, now: Instant) -> bool {
    let standing = node.machine.as_ref().unwrap().standing(now);
    matches!(standing, ColdStanding::Done | ColdStanding::Working)
}

fn plan(pieces: u32, natures: &[Nature], origin: Origin) -> Plan {
    Plan {
        pieces,
        nodes: natures.iter().map(|nature| (0, *nature)).collect(),
        origin,
        discovery: 50,
    }
}

const H: Nature = Nature::Honest;

#[test]
fn one_alone_reads_all_of_it_once() {
    let outcome = run(plan(200, &[H], Origin::Ranges));
    assert_eq!(outcome.percent, 100);
    assert!(outcome.took < Duration::from_secs(3), "{:?}", outcome.took);
}

#[test]
fn sixteen_that_start_together_read_it_once_and_as_fast_as_upstream_sends() {
    let outcome = run(plan(1024, &[H; 16], Origin::Ranges));
    assert!(outcome.percent <= 102, "{}", outcome.percent);
    assert!(outcome.dropped.is_empty());
    assert!(
        outcome.took < Duration::from_millis(1024 * 10 * 5 / 4),
        "{:?}",
        outcome.took
    );
}

#[test]
fn those_that_come_one_after_the_other_read_little_twice() {
    let mut staggered = plan(512, &[H; 8], Origin::Ranges);
    for (index, (at, _)) in (0_u64..).zip(&mut staggered.nodes) {
        *at = index * 230;
    }
    staggered.discovery = 1000;
    let outcome = run(staggered);
    assert!(outcome.percent <= 105, "{}", outcome.percent);
}

#[test]
fn a_member_that_dies_is_replaced() {
    let natures = [H, H, H, H, Nature::Dies(1500), Nature::Dies(2000)];
    let outcome = run(plan(400, &natures, Origin::Ranges));
    assert!(outcome.percent <= 110, "{}", outcome.percent);
}

#[test]
fn who_claims_all_and_reads_nothing_holds_nobody_up_for_long() {
    for (origin, most) in [(Origin::Ranges, 110), (Origin::Whole, 300)] {
        let outcome = run(plan(200, &[H, H, H, Nature::Hoards], origin));
        assert!(outcome.percent <= most, "{}", outcome.percent);
        assert!(outcome.took < Duration::from_secs(20), "{:?}", outcome.took);
    }
}

#[test]
fn a_server_without_ranges_is_read_by_one() {
    let outcome = run(plan(200, &[H; 5], Origin::Whole));
    assert_eq!(outcome.percent, 100);
}

#[test]
fn who_comes_later_waits_for_who_reads_a_server_without_ranges() {
    let mut staggered = plan(200, &[H; 6], Origin::Whole);
    for (index, (at, _)) in (0_u64..).zip(&mut staggered.nodes) {
        *at = index * 400;
    }
    assert_eq!(run(staggered).percent, 100);
}

#[test]
fn when_the_one_dies_the_next_reads_a_server_without_ranges() {
    for dying in 0..4 {
        let mut natures = [H; 4];
        natures[dying] = Nature::Dies(1200);
        let outcome = run(plan(200, &natures, Origin::Whole));
        assert!(outcome.percent <= 200, "{}", outcome.percent);
    }
}

#[test]
fn a_poisoner_is_found_out_against_upstream() {
    for each in [1, 3, 10] {
        let outcome = run(plan(
            300,
            &[H, H, H, H, H, Nature::Poisons(each)],
            Origin::Ranges,
        ));
        for who in 0..5 {
            let found = outcome.dropped.contains(&(who, 5, ColdDrop::WrongWord));
            assert!(
                found || outcome.dropped.iter().all(|drop| drop.0 != who),
                "{:?}",
                outcome.dropped
            );
        }
        assert!(!outcome.dropped.is_empty());
        assert!(outcome.percent <= 250, "each {each}: {}", outcome.percent);
    }
}

#[test]
fn who_sends_other_bytes_than_it_states_is_dropped_for_that() {
    let outcome = run(plan(300, &[H, H, H, Nature::Contradicts], Origin::Ranges));
    assert!(
        outcome
            .dropped
            .iter()
            .any(|(_, whom, why)| *whom == 3 && *why == ColdDrop::BrokeItsWord)
    );
    assert!(outcome.percent <= 160, "{}", outcome.percent);
}

#[test]
fn who_gives_too_slowly_does_not_keep_upstream_unread() {
    for lies in [false, true] {
        for origin in [Origin::Ranges, Origin::Whole] {
            let outcome = run(plan(200, &[H, H, H, Nature::Trickles { lies }], origin));
            assert!(outcome.percent <= 400, "{}", outcome.percent);
            assert!(outcome.took < Duration::from_secs(40), "{:?}", outcome.took);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// With at least one honest node everybody honest ends with the right bytes, nobody honest is blamed, and upstream sends
    /// the content a small number of times.
    #[test]
    fn every_schedule_ends_in_success(
        pieces in 1_u32..100,
        honest in proptest::collection::vec(0_u64..3000, 1..6),
        others in proptest::collection::vec((0_u64..3000, nature()), 0..4),
        is_whole in any::<bool>(),
        discovery in 0_u64..1500,
    ) {
        let nodes: Vec<(u64, Nature)> = honest.iter().map(|at| (*at, H)).chain(others.iter().copied()).collect();
        let (count, liars) = (nodes.len(), others.len());
        let origin = if is_whole { Origin::Whole } else { Origin::Ranges };
        let outcome = run(Plan { pieces, nodes, origin, discovery });
        // Each liar may cost a round, and who is alone with liars reads all itself.
        let shared = if is_whole { count * (1 + liars) } else { 2 + 2 * liars + count.min(liars * count) };
        let most = 100 * shared as u64;
        prop_assert!(outcome.percent <= most, "{} of {most}", outcome.percent);
    }
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        (0_u64..4000).prop_map(Nature::Dies),
        Just(Nature::Hoards),
        any::<bool>().prop_map(|lies| Nature::Trickles { lies }),
        (1_u32..30).prop_map(Nature::Poisons),
        Just(Nature::Contradicts),
        Just(Nature::SpoilsRelayed),
    ]
}
