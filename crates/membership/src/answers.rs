//! Answering who looks for what this node holds.
//!
//! On a large network many could answer: each waits for a random time, and stays silent when it heard enough others
//! first, from different addresses. Strangers who asked everybody are answered to everybody's hearing, never by unicast,
//! so that nobody can have the answers of many sent to somebody else; and no answer is longer than its question.
//!
//! An answer says how long it was held back, so that everybody who heard it and its question knows how long the network
//! takes for what goes to all: over ten times as much answers are spread.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_content::ContentId;
use zeroshare_wire::{
    AtMost,
    datagram::{Answer, Body, Holding, Query, Tag, TraceContext},
};

use crate::{
    chance::{between, thinning_delay},
    drops::DropReason,
    event::{Asked, Destination, Event},
    machine::Membership,
    network_time::NetworkTime,
    peers::Heard,
    place::Place,
    rates::Speech,
    settings::Presence,
    surroundings::Road,
};

/// Answers that wait for their time: as many as there are questions within the longest spread on a busy LAN.
const MOST_WAITING: usize = 1_024;

/// No asker gets more answers than this out of those who listen to each other.
const MOST_ENOUGH: u8 = 8;

/// Answers are spread over no more than this, whatever the asker wants: Wi-Fi holds multicast back for 100 to 300 ms.
pub(crate) const LONGEST_SPREAD: Duration = Duration::from_millis(300);

/// In a round, so many holders answer the first question, twice as many each later one.
const FIRST_ROUND_ANSWERS: f64 = 16.0;

/// A question, and how it came.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) query: &'a Query,
    pub(crate) trace: Option<TraceContext>,
    /// The bytes of its datagram: no answer to it is longer.
    pub(crate) len: usize,
}

/// The answers that wait.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    waiting: BTreeMap<u64, Waiting>,
    due: BTreeSet<(Instant, u64)>,
    took: NetworkTime,
}

#[derive(Debug)]
struct Waiting {
    asked_at: Instant,
    due: Instant,
    destination: Destination,
    asker: (Place, Speech),
    answer: Answer,
    trace: Option<TraceContext>,
    /// Stop once so many others answered; `None`: in a round nobody listens.
    enough: Option<u8>,
    /// Who else answered, for each name in the answer and at most as many as are enough: others may hold one and not the
    /// other.
    heard: BTreeMap<Tag, BTreeSet<Place>>,
}

impl Answers {
    /// How long an answer to everybody takes besides the time that it is held back.
    pub(crate) fn took(&self) -> Option<Duration> {
        self.took.get()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes in that somebody answered.
    pub(crate) fn hear(&mut self, answer: &Answer, source: Place) {
        let nonce = answer.nonce;
        let Some(waiting) = self.waiting.get_mut(&nonce) else {
            return;
        };
        let Some(enough) = waiting.enough else {
            return;
        };
        // Who only waits for it too helps nobody.
        let holds = |holding: &&Holding| holding.part > 0;
        for holding in answer.holdings.iter().filter(holds) {
            let heard = waiting.heard.get_mut(&holding.tag);
            if let Some(heard) = heard.filter(|heard| heard.len() < usize::from(enough)) {
                heard.insert(source);
            }
        }
        let mut heard = waiting.heard.values();
        if heard.all(|heard| heard.len() >= usize::from(enough)) {
            self.remove(nonce);
        }
    }

    fn insert(&mut self, nonce: u64, waiting: Waiting) -> Result<(), DropReason> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(DropReason::TableFull);
        }
        self.due.insert((waiting.due, nonce));
        self.waiting.insert(nonce, waiting);
        Ok(())
    }

    fn remove(&mut self, nonce: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&nonce)?;
        self.due.remove(&(waiting.due, nonce));
        Some(waiting)
    }
}

impl Membership {
    pub(crate) fn handle_query(
        &mut self,
        now: Instant,
        heard: &Heard,
        question: &Question<'_>,
    ) -> Result<(), DropReason> {
        let Question { query, trace, len } = *question;
        if !self.holdings.day().accepts(query.day) {
            return Err(DropReason::OtherDay);
        }
        // Never by its order: a question counts unless this very one was heard already.
        if !self.questions.note(now, query.nonce) {
            return Err(DropReason::Duplicate);
        }
        self.hear_question(now, query);
        self.hear_asker(now, heard, query);
        let excused = query.exclude.contains(&self.identity.node.first_half());
        if self.presence == Presence::Hidden || excused {
            return Ok(());
        }
        let (contents, answer) = self.answer_to(query);
        if contents.is_empty() {
            return Ok(());
        }
        let names = answer.holdings.iter().map(|holding| holding.tag);
        let others = names.map(|name| (name, BTreeSet::new())).collect();
        let payload = self.identity.say(Body::Answer(answer.clone()), trace);
        if payload.len() > len {
            return Err(DropReason::ReplyTooLong);
        }
        self.say(Event::Asked(Box::new(Asked {
            source: heard.source,
            node: heard.key.0,
            contents,
            trace,
        })));
        let destination = self.answer_by(heard);
        let Some(delay) = self.answer_delay(destination, query) else {
            return Ok(());
        };
        let waiting = Waiting {
            asked_at: now,
            due: now + delay,
            destination,
            asker: (heard.key.1, self.speech_of_answer(heard)),
            answer,
            trace,
            enough: (query.round == 0).then_some(query.enough.min(MOST_ENOUGH)),
            heard: others,
        };
        self.answers.insert(query.nonce, waiting)?;
        self.speak_answers(now);
        Ok(())
    }

    /// What is held of what a query asks for, each thing once however often it is asked for.
    fn answer_to(&self, query: &Query) -> (Vec<ContentId>, Answer) {
        let tags: BTreeSet<Tag> = query.tags.iter().copied().collect();
        let held = |tag: Tag| Some((tag, self.holdings.find(query.day, tag)?));
        let held: Vec<_> = tags.into_iter().filter_map(held).collect();
        let contents = held.iter().map(|(_, (content, _))| *content).collect();
        let holdings = held.into_iter().map(|(tag, (_, share))| Holding {
            tag,
            part: share.part,
            state: share.state,
        });
        let answer = Answer {
            nonce: query.nonce,
            day: query.day,
            holdings: AtMost::first(holdings),
            held_back: Some(LONGEST_SPREAD),
        };
        (contents, answer)
    }

    /// From which budget an asker is answered.
    fn speech_of_answer(&self, heard: &Heard) -> Speech {
        if self.is_proven(&heard.key) {
            Speech::ReplyToPeer
        } else {
            Speech::Reply
        }
    }

    /// By which way to answer.
    ///
    /// By unicast to whoever asked by unicast, and on small networks to an asker that echoed; else to everybody.
    fn answer_by(&self, heard: &Heard) -> Destination {
        let echoed = self.peers.get(&heard.key).filter(|entry| entry.is_proven());
        let unicast: Option<SocketAddr> = match (heard.road, echoed) {
            (Road::Unicast, _) => Some(heard.source),
            (_, Some(entry)) if self.spread().is_zero() && entry.unicast_port() != 0 => {
                Some(heard.key.1.port(entry.unicast_port()))
            }
            (_, Some(_) | None) => None,
        };
        match (unicast, heard.interface) {
            (Some(address), _) => Destination::One(address),
            (None, Some(interface)) => Destination::Everybody {
                interface,
                road: heard.road,
            },
            (None, None) => Destination::One(heard.source),
        }
    }

    /// When to answer; `None`: not at all, because others do.
    fn answer_delay(&mut self, destination: Destination, query: &Query) -> Option<Duration> {
        if matches!(destination, Destination::One(_)) {
            return Some(Duration::ZERO);
        }
        let nodes = self.estimate().max(query.known_nodes);
        let spread = self.spread().max(query.spread).min(LONGEST_SPREAD);
        if query.round == 0 {
            return Some(thinning_delay(&mut self.rng, spread, nodes));
        }
        let answers = FIRST_ROUND_ANSWERS * 2_f64.powi(i32::from(query.round));
        let chosen = self.rng.f64() * f64::from(nodes) < answers;
        chosen.then(|| between(&mut self.rng, Duration::ZERO, spread))
    }

    /// Learns from the first answer to a question how long the network takes.
    ///
    /// Whoever lies about it makes answers be spread over no more than they are on the slowest network, or no less than
    /// on the fastest.
    pub(crate) fn measure_answer(&mut self, now: Instant, heard: &Heard, answer: &Answer) {
        let Some(held_back) = answer.held_back.filter(|_| heard.road != Road::Unicast) else {
            return;
        };
        if let Some(asked_at) = self.questions.take_time_of(answer.nonce) {
            let passed = now.saturating_duration_since(asked_at);
            self.answers.took.measure(passed.saturating_sub(held_back));
        }
    }

    /// Gives the answers whose time has come.
    pub(crate) fn speak_answers(&mut self, now: Instant) {
        while let Some(&(at, nonce)) = self.answers.due.first() {
            if at > now {
                return;
            }
            let Some(waiting) = self.answers.remove(nonce) else {
                self.answers.due.pop_first();
                continue;
            };
            let held_back = now.saturating_duration_since(waiting.asked_at);
            let answer = Body::Answer(Answer {
                held_back: Some(held_back.min(LONGEST_SPREAD)),
                ..waiting.answer
            });
            let payload = self.identity.say(answer, waiting.trace);
            self.reply(now, waiting.asker, waiting.destination, payload);
        }
    }
}
