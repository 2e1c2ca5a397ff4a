//! Machines that read one blob, what they tell each other, and the order in which it happens.

mod traffic;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use zeroshare_content::{BlobId, HashKind, Layout};

use crate::cold::*;
use crate::tests::start;

const PIECE: u64 = 128 * 1024;
const ONE_WAY: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_mins(10);

/// How a node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
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
pub(super) struct Plan {
    pub(super) pieces: u32,
    /// When each starts, in milliseconds, and what it is like.
    pub(super) nodes: Vec<(u64, Nature)>,
    pub(super) origin: Origin,
    /// Milliseconds until a node that starts is found by those there, at most.
    pub(super) discovery: u64,
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
pub(super) struct Outcome {
    /// Bytes that upstream sent, in percent of the size of the content.
    pub(super) percent: u64,
    pub(super) dropped: Vec<(usize, usize, ColdDrop)>,
    pub(super) took: Duration,
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

pub(super) fn run(plan: Plan) -> Outcome {
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
}

fn machine_is_fine(node: &Node, now: Instant) -> bool {
    let standing = node.machine.as_ref().unwrap().standing(now);
    matches!(standing, ColdStanding::Done | ColdStanding::Working)
}
