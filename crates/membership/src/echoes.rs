//! Proof that an address receives what is sent to it.
//!
//! Only such an address is ever told to anybody: spoofed speech cannot make this machine connect to a stranger. What
//! an echo says of ports and run is believed over all hearsay, because its number came from nobody but the peer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_wire::datagram::{Body, Echo};

use crate::{
    drops::DropReason,
    event::{Destination, Event},
    machine::Membership,
    network_time::NetworkTime,
    peers::{Entry, Heard, PeerKey},
    place::Place,
    rates::Speech,
    settings::Presence,
    surroundings::Road,
};

/// Questions without a reply yet.
const MOST_ASKED: usize = 1_024;

/// … of which so many to whoever was heard for the first time, so that strangers leave room for peers.
const MOST_ASKED_AHEAD: usize = 512;

/// Questions to one address at a time.
const MOST_ASKED_OF_A_PLACE: usize = 16;

/// … of which so many ahead: the ids that one address may have.
const MOST_ASKED_AHEAD_OF_A_PLACE: usize = 4;

/// The first repetition comes after this; each later one of those that nobody waits for takes twice as long.
const FIRST_REPETITION: Duration = Duration::from_millis(40);

/// Where somebody waits for it, repetitions come after three usual round trips, but not sooner or later than this.
const URGENT_REPETITION: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(300));

/// With a fifth of all datagrams lost, one peer in a hundred stays silent over so many, and is asked again later.
const TRIES: u32 = 5;

/// Strangers who were only heard are asked no more often than this: anybody may have spoken in their name.
const TRIES_AHEAD: u32 = 2;

/// What this node's own limits held back is tried again after this.
const HELD_BACK: Duration = Duration::from_millis(200);

/// While so many have no proof yet, each is asked once it is heard; later only whoever is needed.
pub(crate) const ASKED_AHEAD: usize = 100;

/// Somebody without proof is asked again after this, when heard.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Somebody whose beacons surprise is asked again after this.
const ASK_SURPRISING_AGAIN: Duration = Duration::from_secs(2);

/// Whoever claims a peer's name at another port is asked this long after the one before.
const ASK_NEWCOMER_AGAIN: Duration = Duration::from_millis(500);

/// The questions that wait for their echo.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    asked: BTreeMap<u64, Asked>,
    targets: BTreeMap<SocketAddr, u64>,
    of_peer: BTreeSet<(PeerKey, u64)>,
    due: BTreeSet<(Instant, u64)>,
    round_trip: Option<Duration>,
    network_time: NetworkTime,
}

#[derive(Debug)]
struct Asked {
    target: SocketAddr,
    /// Whom it is about, unless only an address is known.
    key: Option<PeerKey>,
    speech: Speech,
    /// Whether somebody waits for it, and silence costs the peer nothing that it had.
    is_urgent: bool,
    tries: u32,
    first_at: Option<Instant>,
    due: Option<Instant>,
}

impl Asked {
    fn new(target: SocketAddr, key: Option<PeerKey>, speech: Speech) -> Self {
        Self {
            target,
            key,
            speech,
            is_urgent: false,
            tries: 0,
            first_at: None,
            due: None,
        }
    }
}

impl Echoes {
    /// How long an echo takes, smoothed: unlike an answer it is never held back.
    ///
    /// Only of those that came at the first try: of others nobody knows which try they answer (Karn and Partridge 1987).
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// How long an echo takes at least, once enough came to tell.
    pub(crate) fn network_time(&self) -> Option<Duration> {
        self.network_time.shortest()
    }

    fn measure(&mut self, took: Duration) {
        self.network_time.measure(took);
        let before = self.round_trip.unwrap_or(took);
        self.round_trip = Some(before.mul_f64(0.8) + took.mul_f64(0.2));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn has_room(&self, target: SocketAddr, speech: Speech) -> bool {
        let place = Place::of(target);
        let at_place = self
            .targets
            .range(place.port(0)..=place.port(u16::MAX))
            .count();
        let (most, most_at_place) = if speech == Speech::Ahead {
            (MOST_ASKED_AHEAD, MOST_ASKED_AHEAD_OF_A_PLACE)
        } else {
            (MOST_ASKED, MOST_ASKED_OF_A_PLACE)
        };
        self.asked.len() < most && at_place < most_at_place && !self.targets.contains_key(&target)
    }

    fn insert(&mut self, nonce: u64, asked: Asked) {
        self.due.extend(asked.due.map(|due| (due, nonce)));
        self.targets.insert(asked.target, nonce);
        self.of_peer.extend(asked.key.map(|key| (key, nonce)));
        self.asked.insert(nonce, asked);
    }

    fn remove(&mut self, nonce: u64) -> Option<Asked> {
        let asked = self.asked.remove(&nonce)?;
        if let Some(due) = asked.due {
            self.due.remove(&(due, nonce));
        }
        self.targets.remove(&asked.target);
        if let Some(key) = asked.key {
            self.of_peer.remove(&(key, nonce));
        }
        Some(asked)
    }

    /// The questions about a peer.
    fn about(&self, key: &PeerKey) -> impl Iterator<Item = (u64, &Asked)> {
        let nonces = self.of_peer.range((*key, 0)..=(*key, u64::MAX));
        nonces.filter_map(|(_, nonce)| Some((*nonce, self.asked.get(nonce)?)))
    }

    /// Whether a peer was asked and may still reply.
    pub(crate) fn waits_for(&self, key: &PeerKey) -> bool {
        self.about(key).any(|(_, one)| one.tries > 0)
    }

    /// Drops what was only planned to be asked of a peer, at any port but one.
    fn forget_planned_of(&mut self, key: &PeerKey, except: u16) {
        let planned: Vec<u64> = self
            .about(key)
            .filter(|(_, one)| one.tries == 0 && one.target.port() != except)
            .map(|(nonce, _)| nonce)
            .collect();
        for nonce in planned {
            self.remove(nonce);
        }
    }

    /// Makes way for a question to the same address before one that was only planned.
    fn forget_planned(&mut self, target: SocketAddr, at: Instant) {
        let Some(nonce) = self.targets.get(&target).copied() else {
            return;
        };
        let is_planned = |one: &Asked| one.tries == 0 && one.due > Some(at);
        if self.asked.get(&nonce).is_some_and(is_planned) {
            self.remove(nonce);
        }
    }
}

impl Membership {
    /// Asks a peer that was just heard for an echo, if that is wanted ahead of need.
    pub(crate) fn prove_ahead(&mut self, now: Instant, key: &PeerKey) {
        let Some(entry) = self.peers.get(key) else {
            return;
        };
        if !entry.is_proven() && self.peers.proven() < ASKED_AHEAD {
            self.ask_entry(now, key, ASK_AGAIN, (Speech::Ahead, false));
        }
    }

    /// Asks a peer for an echo because it is needed now.
    pub(crate) fn prove_now(&mut self, now: Instant, key: &PeerKey) {
        self.ask_entry(now, key, Duration::ZERO, (Speech::Own, false));
    }

    /// Asks a peer for an echo, a while after the last time.
    pub(crate) fn prove_later(&mut self, now: Instant, key: &PeerKey) {
        self.ask_entry(now, key, ASK_SURPRISING_AGAIN, (Speech::Ahead, false));
    }

    /// Asks a peer because a lookup waits for it, and soon again while there is no echo.
    pub(crate) fn prove_urgently(&mut self, now: Instant, key: &PeerKey) {
        self.ask_entry(now, key, Duration::ZERO, (Speech::Own, true));
    }

    /// Lets a peer say itself where it stands, because what came in its name does not fit.
    ///
    /// It is asked where it is known to be, and where the newcomer says that it is: silence at the second proves
    /// nothing against it.
    pub(crate) fn reprove(&mut self, now: Instant, heard: &Heard) {
        self.reprove_after(now, heard, ASK_SURPRISING_AGAIN, false);
    }

    /// The same because it is needed now.
    pub(crate) fn reprove_now(&mut self, now: Instant, heard: &Heard, is_urgent: bool) {
        self.reprove_after(now, heard, Duration::ZERO, is_urgent);
    }

    fn reprove_after(&mut self, now: Instant, heard: &Heard, pause: Duration, is_urgent: bool) {
        let Some(entry) = self.peers.get(&heard.key) else {
            return;
        };
        let (known, port) = (entry.unicast_port(), heard.unicast_port);
        let is_needed = entry.is_proven() || pause.is_zero();
        let speech = if is_needed {
            Speech::Own
        } else {
            Speech::Ahead
        };
        self.ask_entry(now, &heard.key, pause, (speech, is_urgent));
        if known != port && port != 0 {
            self.ask_newcomer(now, heard, (known, is_urgent));
        }
    }

    /// Asks whoever claims a peer's name at another port: one at a time, and from what strangers have.
    ///
    /// Of those who claim it meanwhile each is as likely to be the next: whoever floods hides nobody for long.
    fn ask_newcomer(&mut self, now: Instant, heard: &Heard, (known, is_urgent): (u16, bool)) {
        let Some(entry) = self.peers.get_mut(&heard.key) else {
            return;
        };
        entry.newcomers = entry.newcomers.saturating_add(1);
        if self.rng.u32(0..entry.newcomers) > 0 {
            return;
        }
        let asked_at = entry.newcomer_asked_at;
        self.echoes.forget_planned_of(&heard.key, known);
        let at = asked_at.map_or(now, |asked| (asked + ASK_NEWCOMER_AGAIN).max(now));
        let target = heard.key.1.port(heard.unicast_port);
        let asked = Asked {
            is_urgent,
            ..Asked::new(target, Some(heard.key), Speech::Ahead)
        };
        self.ask_echo_at(now, at, asked);
    }

    /// Asks a peer where it is known to be, but no sooner than `pause` after the last time.
    fn ask_entry(
        &mut self,
        now: Instant,
        key: &PeerKey,
        pause: Duration,
        (speech, is_urgent): (Speech, bool),
    ) {
        let Some(entry) = self.peers.get(key) else {
            return;
        };
        if entry.unicast_port() == 0 {
            return;
        }
        let target = key.1.port(entry.unicast_port());
        let at = entry
            .echo_asked_at
            .map_or(now, |asked| (asked + pause).max(now));
        let is_urgent = is_urgent && !entry.is_proven();
        if !entry.is_proven() {
            self.echoes.forget_planned_of(key, target.port());
        }
        let asked = Asked {
            is_urgent,
            ..Asked::new(target, Some(*key), speech)
        };
        self.ask_echo_at(now, at, asked);
    }

    /// Asks whoever listens at an address for an echo.
    pub(crate) fn ask_echo(
        &mut self,
        now: Instant,
        target: SocketAddr,
        key: Option<PeerKey>,
        speech: Speech,
    ) {
        self.ask_echo_at(now, now, Asked::new(target, key, speech));
    }

    fn ask_echo_at(&mut self, now: Instant, at: Instant, mut asked: Asked) {
        if !self.surroundings.may_speak_with(&Place::of(asked.target)) {
            return;
        }
        self.echoes.forget_planned(asked.target, at);
        if !self.echoes.has_room(asked.target, asked.speech) {
            return;
        }
        let nonce = self.rng.u64(..);
        if at > now {
            asked.due = Some(at);
            self.echoes.insert(nonce, asked);
        } else {
            self.try_echo(now, nonce, asked);
        }
    }

    /// Asks, and plans to ask again. A question that this node's own limits hold back is no try.
    fn try_echo(&mut self, now: Instant, nonce: u64, mut asked: Asked) {
        if !self.surroundings.may_speak_with(&Place::of(asked.target)) {
            // Its network is gone since the question was planned.
            if let Some(key) = asked.key {
                self.found_silent(now, &key);
            }
            return;
        }
        let reply = false;
        let payload = self.identity.say(Body::Echo(Echo { nonce, reply }), None);
        let destination = Destination::One(asked.target);
        let was_sent = self.send(now, destination, asked.speech, payload);
        let pause = if was_sent {
            self.repetition_of(&asked)
        } else {
            HELD_BACK
        };
        asked.due = Some(now + pause);
        asked.tries += u32::from(was_sent);
        asked.first_at.get_or_insert(now);
        if let Some(entry) = asked.key.and_then(|key| self.peers.get_mut(&key)) {
            if entry.unicast_port() == asked.target.port() {
                entry.echo_asked_at = Some(now);
            } else {
                entry.newcomer_asked_at = Some(now);
                entry.newcomers = 0;
            }
        }
        self.echoes.insert(nonce, asked);
    }

    /// How long to wait for an echo before it is asked for again.
    fn repetition_of(&self, asked: &Asked) -> Duration {
        if asked.is_urgent {
            let usual = self.echoes.round_trip().unwrap_or_default() * 3;
            return usual.clamp(URGENT_REPETITION.0, URGENT_REPETITION.1)
                * 2_u32.pow(asked.tries / 3);
        }
        FIRST_REPETITION * 2_u32.pow(asked.tries)
    }

    /// Asks again where there was no echo yet, and gives up after the last try.
    pub(crate) fn repeat_echoes(&mut self, now: Instant) {
        while let Some(&(at, nonce)) = self.echoes.due.first() {
            if at > now {
                return;
            }
            let Some(asked) = self.echoes.remove(nonce) else {
                self.echoes.due.pop_first();
                continue;
            };
            if asked.tries < self.tries_of(&asked) {
                self.try_echo(now, nonce, asked);
            } else {
                self.stayed_silent(now, &asked);
            }
        }
    }

    /// How often to ask.
    fn tries_of(&self, asked: &Asked) -> u32 {
        let is_known = asked.key.is_some_and(|key| self.is_proven(&key));
        if asked.speech == Speech::Ahead && !is_known {
            TRIES_AHEAD
        } else {
            TRIES
        }
    }

    fn stayed_silent(&mut self, now: Instant, asked: &Asked) {
        let Some(key) = asked.key else {
            return;
        };
        // Who replies to others in this node's name is there, and may have had no reply left for this node.
        let is_silent = |entry: &Entry| {
            entry.unicast_port() == asked.target.port()
                && entry.replied_unasked_at.max(asked.first_at) == asked.first_at
        };
        if self.peers.get(&key).is_some_and(is_silent) && self.peers.disprove(&key) {
            self.gone(&key, true);
        }
        if !self.echoes.waits_for(&key) {
            self.found_silent(now, &key);
        }
    }

    pub(crate) fn handle_echo(
        &mut self,
        now: Instant,
        heard: &Heard,
        echo: Echo,
        question_len: usize,
    ) -> Result<(), DropReason> {
        if echo.reply {
            return self.take_echo(now, heard, echo.nonce);
        }
        // A question to everybody in somebody else's name would have all of them reply to it.
        if self.presence == Presence::Hidden || heard.road != Road::Unicast {
            return Err(DropReason::Unsolicited);
        }
        let reply = Body::Echo(Echo {
            nonce: echo.nonce,
            reply: true,
        });
        let payload = self.identity.say(reply, None);
        if payload.len() > question_len {
            return Err(DropReason::ReplyTooLong);
        }
        let speech = if self.is_proven(&heard.key) {
            Speech::EchoToPeer
        } else {
            Speech::Echo
        };
        let asker = (heard.key.1, speech);
        self.reply(now, asker, Destination::One(heard.source), payload);
        Ok(())
    }

    pub(crate) fn is_proven(&self, key: &PeerKey) -> bool {
        self.peers.get(key).is_some_and(Entry::is_proven)
    }

    fn take_echo(&mut self, now: Instant, heard: &Heard, nonce: u64) -> Result<(), DropReason> {
        let at_place = |asked: &Asked| Place::of(asked.target) == heard.key.1;
        if !self.echoes.asked.get(&nonce).is_some_and(at_place) {
            if let Some(entry) = self.peers.get_mut(&heard.key) {
                entry.replied_unasked_at = Some(now);
            }
            return Err(DropReason::Unsolicited);
        }
        let asked = self.echoes.remove(nonce);
        let was_repeated = asked.as_ref().is_none_or(|asked| asked.tries > 1);
        let asked_at = asked.and_then(|asked| asked.first_at).unwrap_or(now);
        if !was_repeated {
            self.echoes.measure(now.saturating_duration_since(asked_at));
        }
        self.peers
            .add_proven(now, &mut self.rng, heard)
            .map_err(|_| DropReason::TableFull)?;
        if self.peers.prove(now, heard, asked_at) {
            self.absences.clear();
            self.say(Event::PeerUp(heard.key.0));
        }
        if let Some(entry) = self.peers.get_mut(&heard.key) {
            entry.doubted = false;
        }
        let took = now.saturating_duration_since(asked_at);
        self.checks.echoed(&heard.key, took);
        self.found_proven(now, &heard.key, took);
        self.greet_soon(now, &heard.key);
        self.page_through(now, &heard.key);
        Ok(())
    }
}
