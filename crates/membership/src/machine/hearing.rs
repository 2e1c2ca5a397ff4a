//! What the machine hears: each datagram is checked here and handed to the file that has the rules for it.

use std::time::Instant;

use zeroshare_wire::datagram::{Body, Datagram, DatagramError, decode};

use crate::{
    answers::Question,
    drops::DropReason,
    machine::Membership,
    peers::{Heard, Run},
    place::Place,
    surroundings::{Arrival, Road},
};

impl Membership {
    /// Takes in what somebody sent.
    pub fn handle_datagram(&mut self, now: Instant, arrival: &Arrival, bytes: &[u8]) {
        self.received = self.received.saturating_add(1);
        if let Err(reason) = self.take_datagram(now, arrival, bytes) {
            self.drops.count(reason);
        }
    }

    /// The same with what [`decode`] made of it under the key of this machine's group: where many machines of one
    /// process hear the same, it is read once.
    pub fn handle_decoded(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        datagram: &Datagram,
        bytes: &[u8],
    ) {
        self.received = self.received.saturating_add(1);
        let taken = self
            .check_way(arrival)
            .and_then(|()| self.take_decoded(now, arrival, datagram, bytes));
        if let Err(reason) = taken {
            self.drops.count(reason);
        }
    }

    fn take_datagram(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        self.check_way(arrival)?;
        let datagram = decode(bytes, self.identity.group()).map_err(|error| {
            self.note_outsider(now, arrival, &error);
            drop_reason(&error)
        })?;
        self.take_decoded(now, arrival, &datagram, bytes)
    }

    /// Whether it came by a way, and from a place, that is listened to.
    fn check_way(&self, arrival: &Arrival) -> Result<(), DropReason> {
        if !self.surroundings.ttl_is_right(arrival) {
            return Err(DropReason::FarAway);
        }
        if !self.surroundings.may_speak_with(&Place::of(arrival.source)) {
            return Err(DropReason::Stranger);
        }
        Ok(())
    }

    fn take_decoded(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        datagram: &Datagram,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        // A copied machine has the same key, and so the same id; but it is another run.
        if datagram.node == self.identity.node && datagram.incarnation == self.identity.incarnation
        {
            self.checks.came_back(arrival, &datagram.body);
            return Err(DropReason::Own);
        }
        let heard = self.heard(arrival, datagram);
        match &datagram.body {
            Body::Alive(alive) => self.handle_alive(now, &heard, alive.clone()),
            Body::Leaving => self.handle_leaving(now, &heard, bytes),
            Body::Query(query) => {
                let question = Question {
                    query,
                    trace: datagram.trace,
                    len: bytes.len(),
                };
                self.handle_query(now, &heard, &question)
            }
            Body::Answer(answer) => self.handle_answer(now, &heard, answer),
            Body::PeersRequest(request) => {
                self.handle_peers_request(now, &heard, request, bytes.len())
            }
            Body::Peers(peers) => self.handle_peers(now, &heard, peers),
            Body::Echo(echo) => self.handle_echo(now, &heard, *echo, bytes.len()),
        }
    }

    fn note_outsider(&mut self, now: Instant, arrival: &Arrival, error: &DatagramError) {
        let in_group = match error {
            DatagramError::OtherGroup => true,
            DatagramError::NoGroup => false,
            DatagramError::TooLong { .. }
            | DatagramError::Malformed(_)
            | DatagramError::OtherFormat { .. }
            | DatagramError::WrongKey
            | DatagramError::WrongSignature
            | DatagramError::UnknownBody
            | DatagramError::Field(_) => return,
        };
        self.outsiders.note(now, arrival.source, in_group);
    }

    fn heard(&self, arrival: &Arrival, datagram: &Datagram) -> Heard {
        let place = Place::of(arrival.source);
        let interface = arrival
            .interface
            .or_else(|| self.surroundings.interface_of(&place));
        let is_near = interface.is_some_and(|index| self.surroundings.is_on(index, &place));
        Heard {
            key: (datagram.node, place),
            run: Run {
                incarnation: datagram.incarnation,
                sequence: datagram.sequence,
            },
            store_port: datagram.store_port,
            unicast_port: datagram.unicast_port,
            road: arrival.road,
            way_back: if is_near { arrival.road } else { Road::Unicast },
            interface,
            source: arrival.source,
        }
    }
}

fn drop_reason(error: &DatagramError) -> DropReason {
    match error {
        DatagramError::OtherFormat { .. } => DropReason::OtherVersion,
        DatagramError::NoGroup | DatagramError::OtherGroup => DropReason::OtherGroup,
        DatagramError::WrongKey | DatagramError::WrongSignature => DropReason::WrongSignature,
        DatagramError::TooLong { .. }
        | DatagramError::Malformed(_)
        | DatagramError::UnknownBody
        | DatagramError::Field(_) => DropReason::Malformed,
    }
}
