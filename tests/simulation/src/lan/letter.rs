//! Datagrams under way.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, binary_heap::PeekMut},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use zeroshare_membership::Road;
use zeroshare_wire::datagram::{Body, Datagram, GroupKey, decode};

/// A datagram as it was sent.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) source: SocketAddr,
    pub(super) road: Road,
    pub(super) bytes: Box<[u8]>,
    /// What it says, read once for all who get it; `None` if it cannot be read.
    pub(super) said: Option<Datagram>,
}

impl Letter {
    pub(super) fn new(source: SocketAddr, road: Road, bytes: Box<[u8]>) -> Self {
        Self {
            source,
            road,
            said: decode(&bytes, &GroupKey::none()).ok(),
            bytes,
        }
    }

    pub(super) fn body(&self) -> Option<&Body> {
        self.said.as_ref().map(|datagram| &datagram.body)
    }

    pub(super) fn is_beacon(&self) -> bool {
        matches!(self.body(), Some(Body::Alive(_)))
    }
}

/// Everything under way, in the order in which it arrives.
///
/// One datagram to ten thousand nodes is one entry, so that the heap stays small.
#[derive(Debug, Default)]
pub(super) struct Mail {
    flights: BinaryHeap<Reverse<Flight>>,
    last_number: u64,
}

/// The copies of one datagram that have not arrived yet.
#[derive(Debug)]
struct Flight {
    /// When the next one arrives.
    at: Instant,
    number: u64,
    sent: Instant,
    letter: Arc<Letter>,
    /// How long each takes and to whom, the next one last. Never empty.
    copies: Vec<(Duration, usize)>,
}

impl Mail {
    /// Sends copies of a letter; each takes so long, to that node.
    pub(super) fn send(
        &mut self,
        now: Instant,
        letter: &Arc<Letter>,
        mut copies: Vec<(Duration, usize)>,
    ) {
        copies.sort_unstable_by_key(|copy| Reverse(*copy));
        let Some((first, _)) = copies.last() else {
            return;
        };
        self.last_number += 1;
        self.flights.push(Reverse(Flight {
            at: now + *first,
            number: self.last_number,
            sent: now,
            letter: letter.clone(),
            copies,
        }));
    }

    /// When the next copy arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.flights.peek().map(|Reverse(flight)| flight.at)
    }

    /// Takes out the next copy, and to whom it goes.
    pub(super) fn pop(&mut self) -> Option<(Arc<Letter>, usize)> {
        let mut first = self.flights.peek_mut()?;
        let flight = &mut first.0;
        let (_, to) = flight.copies.pop()?;
        let letter = flight.letter.clone();
        match flight.copies.last() {
            Some((next, _)) => flight.at = flight.sent + *next,
            None => drop(PeekMut::pop(first)),
        }
        Some((letter, to))
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_all_letters_arrive_in_the_order_of_their_times() {
        let letter = |text: &[u8]| {
            let source = SocketAddr::from(([10, 0, 0, 1], 1));
            Arc::new(Letter::new(source, Road::Unicast, text.into()))
        };
        let now = Instant::now();
        let after = Duration::from_millis;
        let mut mail = Mail::default();
        mail.send(
            now,
            &letter(b"a"),
            vec![(after(5), 1), (after(1), 2), (after(9), 3)],
        );
        mail.send(now, &letter(b"nobody"), Vec::new());
        mail.send(
            now + after(2),
            &letter(b"b"),
            vec![(after(2), 4), (after(6), 5)],
        );
        let mut arrived = Vec::new();
        while let Some(at) = mail.next() {
            let (letter, to) = mail.pop().unwrap();
            arrived.push((at.duration_since(now).as_millis(), letter.bytes[0], to));
        }
        let expected = [
            (1, b'a', 2),
            (4, b'b', 4),
            (5, b'a', 1),
            (8, b'b', 5),
            (9, b'a', 3),
        ];
        assert_eq!(arrived, expected);
    }
}
