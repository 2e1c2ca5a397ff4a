//! The network and the members of a swarm, in virtual time.

mod uplinks;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::plan::{Outcome, PIECE, Plan};
use crate::tests::start;
use crate::{
    Call, CallEnd, CallId, Event, Holding, Part, ProviderId, Transfer, Unit, UnitId, UnitOutcome,
    WrittenBefore,
};

const CHUNK: u32 = 16 * 1024;

/// Chunks of a piece.
pub(super) const CHUNKS: u32 = PIECE / CHUNK;

/// One way.
const LATENCY: Duration = Duration::from_millis(2);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Start(usize),
    Meet(usize),
    Wake(usize),
    Request(usize, Request),
    Sent(usize),
    Delivered(usize, CallId, UnitId),
    Ended(usize, CallId, Ending),
    Tell(usize),
    Told {
        to: usize,
        from: usize,
        pieces: Vec<u32>,
        claims: Vec<u32>,
    },
    Cancel {
        at: usize,
        reader: usize,
        call: CallId,
    },
    Die(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Finished,
    Lost,
    Busy,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    reader: usize,
    call: CallId,
    units: VecDeque<UnitId>,
    /// Of the first unit.
    sent: u32,
}

#[derive(Debug, Default)]
struct Uplink {
    served: VecDeque<Request>,
    waiting: VecDeque<Request>,
    is_busy: bool,
    sent_chunks: u32,
}

struct Member {
    transfer: Option<Transfer>,
    /// Whom each of its providers is.
    providers: Vec<usize>,
    ids: BTreeMap<usize, ProviderId>,
    held: Vec<bool>,
    fresh: Vec<u32>,
    claimed: Vec<u32>,
    is_telling: bool,
    watchers: Vec<usize>,
    calls: BTreeMap<CallId, Call>,
    uplink: Uplink,
    done: Option<Instant>,
    is_dead: bool,
    wake: Option<Instant>,
}

struct Swarm {
    plan: Plan,
    now: Instant,
    began: Instant,
    agenda: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    sequence: u64,
    members: Vec<Member>,
    random: fastrand::Rng,
    outcome: Outcome,
}

/// Lets everybody fetch until all are done that live.
pub(super) fn run(plan: Plan) -> Outcome {
    let mut swarm = Swarm::new(plan);
    swarm.play();
    swarm.outcome
}

impl Swarm {
    fn new(plan: Plan) -> Self {
        let began = start();
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let members = (0..=plan.leechers as usize)
            .map(|index| Member {
                transfer: None,
                providers: Vec::new(),
                ids: BTreeMap::new(),
                held: vec![index == 0; plan.pieces as usize],
                fresh: Vec::new(),
                claimed: Vec::new(),
                is_telling: false,
                watchers: Vec::new(),
                calls: BTreeMap::new(),
                uplink: Uplink::default(),
                done: None,
                is_dead: false,
                wake: None,
            })
            .collect();
        let outcome = Outcome {
            last: Duration::ZERO,
            sent_chunks: 0,
            calls: 0,
            events: 0,
        };
        let mut swarm = Self {
            now: began,
            began,
            agenda: BinaryHeap::new(),
            sequence: 0,
            members,
            random: random.fork(),
            outcome,
            plan,
        };
        for member in 1..=swarm.plan.leechers as usize {
            let late = swarm.plan.late.iter().find(|(who, _)| *who == member);
            let delay = late.map_or(Duration::from_millis(random.u64(0..50)), |(_, delay)| {
                *delay
            });
            swarm.plan(delay, Happening::Start(member));
            let meeting = swarm.plan.meeting + Duration::from_millis(random.u64(0..50));
            swarm.plan(delay + meeting, Happening::Meet(member));
        }
        for (member, at) in swarm.plan.dying.clone() {
            swarm.plan(at, Happening::Die(member));
        }
        swarm
    }

    fn play(&mut self) {
        while let Some(Reverse((at, _, happening))) = self.agenda.pop() {
            self.now = at;
            assert!(
                self.now < self.began + Duration::from_mins(10),
                "it does not end"
            );
            self.happen(happening);
            let is_over = |member: &Member| member.done.is_some() || member.is_dead;
            if self.members[1..].iter().all(is_over) {
                break;
            }
        }
        let ends = self.members[1..].iter().filter_map(|member| member.done);
        self.outcome.last = ends.max().unwrap() - self.began;
        let sent: u32 = self
            .members
            .iter()
            .map(|member| member.uplink.sent_chunks)
            .sum();
        self.outcome.sent_chunks = sent;
        let mut living = self.members[1..].iter().filter(|member| !member.is_dead);
        assert!(
            living.all(|member| member.done.is_some()),
            "somebody never got it all"
        );
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start(member) => self.start(member),
            Happening::Meet(member) => self.meet(member),
            Happening::Wake(member) => {
                self.members[member].wake = None;
                self.pump(member);
            }
            Happening::Request(at, request) => self.take_request(at, request),
            Happening::Sent(at) => self.sent(at),
            Happening::Delivered(member, call, unit) => self.delivered(member, call, unit),
            Happening::Ended(member, call, ending) => {
                let end = match ending {
                    Ending::Finished => CallEnd::Finished,
                    Ending::Lost => CallEnd::Lost,
                    Ending::Busy => CallEnd::Busy {
                        retry_after: Some(self.plan.retry),
                    },
                };
                self.end_call(member, call, end);
            }
            Happening::Tell(member) => self.tell(member),
            Happening::Told {
                to,
                from,
                pieces,
                claims,
            } => self.told(to, from, &pieces, &claims),
            Happening::Cancel { at, reader, call } => {
                let is_other = |request: &Request| request.reader != reader || request.call != call;
                let uplink = &mut self.members[at].uplink;
                uplink.served.retain(is_other);
                uplink.waiting.retain(is_other);
                self.serve(at);
            }
            Happening::Die(member) => self.die(member),
        }
    }

    fn start(&mut self, member: usize) {
        let units = (0..self.plan.pieces)
            .map(|piece| {
                let unit = Unit {
                    piece,
                    offset: 0,
                    len: PIECE.into(),
                    whole: true,
                    part: Part::Items(piece..piece + 1),
                };
                (unit, WrittenBefore::No)
            })
            .collect();
        let seed = self.random.u64(..);
        let transfer = Transfer::new(units, self.plan.settings.clone(), seed);
        self.members[member].transfer = Some(transfer);
        self.follow(member, 0);
        self.pump(member);
    }

    fn meet(&mut self, member: usize) {
        let mut others: Vec<usize> = (1..self.members.len())
            .filter(|other| *other != member && self.members[*other].transfer.is_some())
            .filter(|other| !self.plan.free_riders.contains(other))
            .collect();
        self.random.shuffle(&mut others);
        others.truncate(self.plan.followed);
        for other in others {
            self.follow(member, other);
        }
        self.pump(member);
        // Those who come later are found later.
        if self.members[member].providers.len()
            <= self.plan.followed.min(self.plan.leechers as usize - 1)
        {
            self.plan(Duration::from_secs(1), Happening::Meet(member));
        }
    }

    fn follow(&mut self, member: usize, other: usize) {
        if self.members[member].ids.contains_key(&other) || self.members[other].is_dead {
            return;
        }
        let holding = if other == 0 {
            Holding::Complete
        } else {
            Holding::Partial(Vec::new())
        };
        let Some(transfer) = &mut self.members[member].transfer else {
            return;
        };
        let id = transfer.add_provider(holding);
        self.members[member].providers.push(other);
        self.members[member].ids.insert(other, id);
        if other != 0 {
            self.members[other].watchers.push(member);
            let held = &self.members[other].held;
            let pieces = (0..self.plan.pieces).filter(|piece| held[*piece as usize]);
            let told = Happening::Told {
                to: member,
                from: other,
                pieces: pieces.collect(),
                claims: Vec::new(),
            };
            self.plan(LATENCY * 3, told);
        }
    }

    fn told(&mut self, to: usize, from: usize, pieces: &[u32], claims: &[u32]) {
        self.outcome.events += 1;
        let member = &mut self.members[to];
        let (Some(transfer), Some(id)) = (&mut member.transfer, member.ids.get(&from)) else {
            return;
        };
        let ranges = |pieces: &[u32]| {
            pieces
                .iter()
                .map(|piece| *piece..piece + 1)
                .collect::<Vec<_>>()
        };
        transfer.handle_claim(*id, &ranges(claims));
        transfer.handle_holding(*id, Holding::Partial(ranges(pieces)));
        self.pump(to);
    }

    /// Makes the calls that a member's machine wants.
    fn pump(&mut self, index: usize) {
        let now = self.now;
        let member = &mut self.members[index];
        if member.is_dead {
            return;
        }
        let Some(transfer) = &mut member.transfer else {
            return;
        };
        let mut made = Vec::new();
        loop {
            while let Some(event) = transfer.poll_event() {
                if let Event::Cancel { call } = event {
                    made.push(Err(call));
                }
            }
            let Some(call) = transfer.poll_call(now) else {
                break;
            };
            if self.plan.claims {
                let rare = call.units.iter().filter(|unit| transfer.is_rarest(**unit));
                member.claimed.extend(rare.map(|unit| unit.0));
            }
            made.push(Ok(call));
        }
        if transfer.unproven_units() == 0 && member.done.is_none() {
            member.done = Some(now);
        }
        let wake = transfer.poll_timeout(now);
        for step in made {
            match step {
                Ok(call) => self.ask(index, call),
                Err(call) => self.cancel(index, call),
            }
        }
        if let Some(wake) = wake
            && self.members[index]
                .wake
                .is_none_or(|planned| planned > wake)
        {
            self.members[index].wake = Some(wake);
            self.plan(wake - now, Happening::Wake(index));
        }
        self.plan_telling(index);
    }

    fn ask(&mut self, member: usize, call: Call) {
        self.outcome.calls += 1;
        let at = self.members[member].providers[call.provider.number() as usize];
        let request = Request {
            reader: member,
            call: call.id,
            units: call.units.iter().copied().collect(),
            sent: 0,
        };
        self.members[member].calls.insert(call.id, call);
        self.plan(LATENCY, Happening::Request(at, request));
    }

    fn cancel(&mut self, member: usize, call: CallId) {
        let Some(open) = self.members[member].calls.get(&call) else {
            return;
        };
        let at = self.members[member].providers[open.provider.number() as usize];
        self.plan(
            LATENCY,
            Happening::Cancel {
                at,
                reader: member,
                call,
            },
        );
        self.end_call(member, call, CallEnd::Cancelled);
    }

    fn delivered(&mut self, index: usize, call: CallId, unit: UnitId) {
        let now = self.now;
        let member = &mut self.members[index];
        if member.is_dead || !member.calls.contains_key(&call) {
            return;
        }
        let Some(transfer) = &mut member.transfer else {
            return;
        };
        transfer.handle_unit(now, call, unit, UnitOutcome::Proven);
        if !std::mem::replace(&mut member.held[unit.index()], true) {
            member.fresh.push(unit.0);
        }
        self.pump(index);
    }

    fn end_call(&mut self, index: usize, call: CallId, end: CallEnd) {
        let now = self.now;
        let member = &mut self.members[index];
        if member.calls.remove(&call).is_none() {
            return;
        }
        let Some(transfer) = &mut member.transfer else {
            return;
        };
        transfer.handle_call_end(now, call, end);
        self.pump(index);
    }

    fn plan_telling(&mut self, index: usize) {
        let member = &mut self.members[index];
        let is_news = !member.fresh.is_empty() || !member.claimed.is_empty();
        if is_news && !member.is_telling {
            member.is_telling = true;
            self.plan(self.plan.event_delay, Happening::Tell(index));
        }
    }

    fn tell(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.is_telling = false;
        let pieces = std::mem::take(&mut member.fresh);
        let claims = std::mem::take(&mut member.claimed);
        if member.is_dead || self.plan.free_riders.contains(&index) {
            return;
        }
        for to in member.watchers.clone() {
            let (pieces, claims) = (pieces.clone(), claims.clone());
            self.plan(
                LATENCY,
                Happening::Told {
                    to,
                    from: index,
                    pieces,
                    claims,
                },
            );
        }
    }

    fn die(&mut self, member: usize) {
        self.members[member].is_dead = true;
        let uplink = std::mem::take(&mut self.members[member].uplink);
        self.members[member].uplink.sent_chunks = uplink.sent_chunks;
        for request in uplink.served.into_iter().chain(uplink.waiting) {
            self.plan(
                LATENCY,
                Happening::Ended(request.reader, request.call, Ending::Lost),
            );
        }
        for other in 0..self.members.len() {
            let uplink = &mut self.members[other].uplink;
            uplink.served.retain(|request| request.reader != member);
            uplink.waiting.retain(|request| request.reader != member);
        }
    }

    fn plan(&mut self, after: Duration, happening: Happening) {
        self.sequence += 1;
        let entry = (self.now + after, self.sequence, happening);
        self.agenda.push(Reverse(entry));
    }
}
