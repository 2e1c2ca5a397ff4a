//! What others claim to hold, and whom to tell of it.

use std::time::{Duration, Instant};

use zeroshare_content::ContentId;
use zeroshare_wire::datagram::{Answer, HoldingState};

use super::{Claimed, Told};
use crate::{
    drops::DropReason,
    event::{Claim, Event, LookupId, PeerView, Provider, Report, Verdict},
    machine::Membership,
    peers::{Entry, Heard, PeerKey},
    steps::{Refusal, Step},
    surroundings::Road,
};

/// Providers told of in one lookup.
const MOST_FOUND: usize = 64;

/// Peers without proof whose claims one lookup keeps.
const MOST_AWAITED: usize = 64;

/// … of which so many are asked for their echo at a time: whoever forges answers has no more sent to bystanders.
const MOST_ASKED: usize = 8;

impl Membership {
    pub(crate) fn handle_answer(
        &mut self,
        now: Instant,
        heard: &Heard,
        answer: &Answer,
    ) -> Result<(), DropReason> {
        let day = answer.day;
        if !self.holdings.day().accepts(day) {
            return Err(DropReason::OtherDay);
        }
        self.measure_answer(now, heard, answer);
        self.answers.hear(answer, heard.key.1);
        for holding in &answer.holdings {
            self.absences.void(day, holding.tag);
        }
        let asking = self.lookups.by_nonce.get(&answer.nonce).cloned();
        let Some(asking) = asking else {
            self.overhear(now, heard, answer);
            return if heard.road == Road::Unicast {
                Err(DropReason::Unsolicited)
            } else {
                Ok(())
            };
        };
        self.peers
            .add(now, &mut self.rng, heard)
            .map_err(|_| DropReason::TableFull)?;
        if let Some(entry) = self.peers.get_mut(&heard.key) {
            for holding in &answer.holdings {
                entry.state(now, day, *holding);
            }
        }
        for id in asking {
            self.take_answer(now, id, heard, answer);
        }
        Ok(())
    }

    /// Takes in what somebody said to a question of a lookup.
    fn take_answer(&mut self, now: Instant, id: LookupId, heard: &Heard, answer: &Answer) {
        // Else it restarted, or its store came up since: its echo says so.
        let is_current = self
            .peers
            .get(&heard.key)
            .is_some_and(|entry| entry.is_as_proven(heard));
        let mut is_awaited = false;
        for holding in &answer.holdings {
            if !self.lookups.looks_for(id, answer.day, holding.tag) {
                continue;
            }
            if let Some(lookup) = self.lookups.open.get_mut(&id) {
                lookup.heard_answers = true;
            }
            let step = Step::Answered {
                node: heard.key.0,
                source: heard.source,
                interface: heard.interface,
                road: heard.road,
                part: holding.part,
                state: holding.state,
            };
            self.note(now, id, step);
            let claimed = (*holding, Claim::Stated);
            if is_current {
                self.tell(now, id, &heard.key, claimed);
            } else {
                is_awaited |= self.await_proof(id, &heard.key, Some(*heard), claimed);
            }
        }
        if is_awaited {
            self.ask_awaited(now, id);
        }
    }

    /// Somebody else's answer is worth remembering, if its sender is known.
    fn overhear(&mut self, now: Instant, heard: &Heard, answer: &Answer) {
        let entry = self
            .peers
            .get_mut(&heard.key)
            .filter(|entry| entry.is_proven());
        if let Some(entry) = entry.filter(|entry| entry.run().incarnation == heard.run.incarnation)
        {
            for holding in &answer.holdings {
                entry.state(now, answer.day, *holding);
            }
            self.use_overheard(now, heard, answer);
        }
    }

    /// What a known peer answers to others is worth as much to whoever looks for the same.
    fn use_overheard(&mut self, now: Instant, heard: &Heard, answer: &Answer) {
        let is_current = self
            .peers
            .get(&heard.key)
            .is_some_and(|entry| entry.is_as_proven(heard));
        let open: Vec<LookupId> = self.lookups.open.keys().copied().collect();
        for id in open.into_iter().filter(|_| is_current) {
            self.take_answer(now, id, heard, answer);
        }
    }

    /// Takes in that a peer claims to hold something: tells of it, or has it echo first.
    pub(super) fn hear_claim(
        &mut self,
        now: Instant,
        id: LookupId,
        key: &PeerKey,
        claimed: Claimed,
    ) {
        let is_proven = self.peers.get(key).is_some_and(Entry::is_proven);
        if is_proven {
            self.tell(now, id, key, claimed);
            return;
        }
        if self.await_proof(id, key, None, claimed) {
            self.ask_awaited(now, id);
        }
    }

    /// Notes a claim to be told once the peer echoed. Says whether there was room for it.
    fn await_proof(
        &mut self,
        id: LookupId,
        key: &PeerKey,
        heard: Option<Heard>,
        claimed: Claimed,
    ) -> bool {
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return false;
        };
        if lookup.tags.content(claimed.0.tag).is_none() {
            return false;
        }
        if lookup.awaited.len() >= MOST_AWAITED && !lookup.awaited.contains_key(key) {
            let waiting = lookup.awaited.keys().copied();
            let waiting: Vec<_> = waiting.filter(|key| !self.echoes.waits_for(key)).collect();
            let Some(given_up) = self.rng.choice(waiting) else {
                return false;
            };
            lookup.awaited.remove(&given_up);
        }
        let awaited = lookup.awaited.entry(*key).or_default();
        awaited.heard = heard.or(awaited.heard);
        awaited
            .claims
            .retain(|(other, _)| other.tag != claimed.0.tag);
        awaited.claims.push(claimed);
        true
    }

    /// Asks some of those whom a lookup waits for, by chance: nobody can be the first by speaking often.
    fn ask_awaited(&mut self, now: Instant, id: LookupId) {
        let Some(lookup) = self.lookups.open.get(&id) else {
            return;
        };
        let (asked, mut waiting): (Vec<_>, Vec<_>) = lookup
            .awaited
            .iter()
            .map(|(key, awaited)| (*key, awaited.heard))
            .partition(|(key, _)| self.echoes.waits_for(key));
        self.rng.shuffle(&mut waiting);
        let room = MOST_ASKED.saturating_sub(asked.len());
        for (key, heard) in waiting.into_iter().take(room) {
            let is_urgent = self.lookups.may_be_urgent(id);
            let (node, place) = key;
            self.note(now, id, Step::EchoAsked { node, place });
            match heard {
                Some(heard) => self.reprove_now(now, &heard, is_urgent),
                None if is_urgent => self.prove_urgently(now, &key),
                None => self.prove_now(now, &key),
            }
        }
    }

    /// Waits no longer for somebody who stayed silent, and asks others in its place.
    pub(crate) fn found_silent(&mut self, now: Instant, key: &PeerKey) {
        let waited: Vec<LookupId> = self
            .lookups
            .open
            .iter_mut()
            .filter_map(|(id, lookup)| lookup.awaited.remove(key).map(|_| *id))
            .collect();
        let (node, place) = *key;
        for id in waited {
            self.note(now, id, Step::Silent { node, place });
            self.ask_awaited(now, id);
        }
    }

    /// Tells of whoever a lookup waited for, now that it echoed so long after it was asked.
    pub(crate) fn found_proven(&mut self, now: Instant, key: &PeerKey, took: Duration) {
        let waiting: Vec<_> = self
            .lookups
            .open
            .iter_mut()
            .filter_map(|(id, lookup)| Some((*id, lookup.awaited.remove(key)?)))
            .collect();
        let (node, place) = *key;
        for (id, awaited) in waiting {
            self.note(now, id, Step::Echoed { node, place, took });
            for claimed in awaited.claims {
                self.tell(now, id, key, claimed);
            }
            self.ask_awaited(now, id);
        }
        self.tell_all_askers(now);
    }

    fn tell(&mut self, now: Instant, id: LookupId, key: &PeerKey, claimed: Claimed) {
        let (holding, claim) = claimed;
        let Some(content) = self
            .lookups
            .open
            .get(&id)
            .and_then(|one| one.tags.content(holding.tag))
        else {
            return;
        };
        let peer = match self.usable(now, key, &content) {
            Ok(peer) => peer,
            Err(refusal) => return self.note_refusal(now, id, key, refusal),
        };
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        let holds = holding.part > 0 && holding.state == HoldingState::Held;
        let told = Told { claim, holds };
        let before = lookup.found.get(&(*key, content)).copied();
        if before >= Some(told) || (before.is_none() && lookup.found.len() >= MOST_FOUND) {
            return;
        }
        lookup.found.insert((*key, content), told);
        self.say(Event::Found(
            id,
            Box::new(Provider {
                peer,
                content,
                part: holding.part,
                state: holding.state,
                claim,
            }),
        ));
    }

    /// The peer as a provider, if it has a store that may be read.
    pub(super) fn usable(
        &self,
        now: Instant,
        key: &PeerKey,
        content: &ContentId,
    ) -> Result<PeerView, Refusal> {
        let entry = self.peers.get(key).ok_or(Refusal::Gone)?;
        let standing = self.standings.of(key.1.port(entry.store_port()));
        let refusals = [
            (entry.store_port() == 0, Refusal::NoStore),
            (
                standing.is_some_and(|one| one.ban(now).is_some())
                    || self.standings.ban_of(now, key.0).is_some(),
                Refusal::Banned,
            ),
            (
                standing.is_some_and(|one| one.lacks(now, content)),
                Refusal::Lacks,
            ),
            (
                !self.surroundings.may_speak_with(&key.1),
                Refusal::OutOfReach,
            ),
        ];
        if let Some((_, refusal)) = refusals.into_iter().find(|(applies, _)| *applies) {
            return Err(refusal);
        }
        let run = entry.run().incarnation;
        let same_run = self
            .peers
            .of_id(key.0)
            .filter(|(_, one)| one.run().incarnation == run);
        let keys: Vec<PeerKey> = same_run.map(|(key, _)| key).collect();
        let mut view = self.view(now, *key, &keys).ok_or(Refusal::Gone)?;
        view.store_addresses.retain(|at| !self.is_banned(now, *at));
        view.ban = None;
        Ok(view)
    }

    /// A provider failed: lookups that relied on it ask again.
    pub(crate) fn look_further(&mut self, now: Instant, report: &Report) {
        for lookup in self.lookups.open.values_mut() {
            let at_fault = |key: &PeerKey| {
                let port = self.peers.get(key).map(Entry::store_port);
                port.map(|port| key.1.port(port)) == Some(report.address)
            };
            let is_about = |content: &ContentId| {
                report.verdict != Verdict::NotHolding || report.content == Some(*content)
            };
            let before = lookup.found.len();
            lookup
                .found
                .retain(|(key, content), _| !(at_fault(key) && is_about(content)));
            if lookup.found.is_empty() && before > 0 {
                lookup.asks_since_found = 0;
                lookup.next_ask = Some(now);
            }
        }
    }
}
