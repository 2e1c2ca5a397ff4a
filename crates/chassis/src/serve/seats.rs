//! Who is connected, how often, and what is on its way to them.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Bounds, PageBudget};

/// Whom connections are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PeerKey {
    Address(IpAddr),
    User(u32),
}

/// The connections of one server.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    most_strangers: usize,
    most_per_peer: usize,
    pages_per_peer_bytes: usize,
    /// Carries the total that all peers share.
    pages: PageBudget,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    strangers: usize,
    /// Invariant: `connections` of each is at least 1, and they add up to `all`.
    peers: BTreeMap<PeerKey, Peer>,
}

#[derive(Debug)]
struct Peer {
    connections: usize,
    pages: PageBudget,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    key: PeerKey,
    is_stranger: bool,
    pub(super) pages: PageBudget,
}

/// Why somebody has to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The server.
    All,
    /// What it has for strangers.
    Strangers,
    /// This peer's share of it.
    Peer,
}

impl Seats {
    pub(super) fn new(bounds: &Bounds) -> Arc<Self> {
        Arc::new(Self {
            most: bounds.connections,
            most_strangers: bounds.strangers,
            most_per_peer: bounds.connections_per_peer,
            pages_per_peer_bytes: bounds.pages_per_peer_bytes,
            pages: PageBudget::new(bounds.pages_per_peer_bytes, bounds.pages_bytes),
            taken: Mutex::default(),
        })
    }

    /// Seats a peer, if there is room for it; strangers cannot take all seats.
    pub(super) fn take(self: &Arc<Self>, key: PeerKey, is_stranger: bool) -> Result<Seat, Full> {
        let mut taken = self.lock();
        if taken.all >= self.most {
            return Err(Full::All);
        }
        if is_stranger && taken.strangers >= self.most_strangers {
            return Err(Full::Strangers);
        }
        let peer = taken.peers.entry(key).or_insert_with(|| Peer {
            connections: 0,
            pages: self.pages.sibling(self.pages_per_peer_bytes),
        });
        if peer.connections >= self.most_per_peer {
            return Err(Full::Peer);
        }
        peer.connections += 1;
        let pages = peer.pages.clone();
        taken.all += 1;
        taken.strangers += usize::from(is_stranger);
        Ok(Seat {
            seats: self.clone(),
            key,
            is_stranger,
            pages,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.all -= 1;
        taken.strangers -= usize::from(self.is_stranger);
        if let Some(peer) = taken.peers.get_mut(&self.key) {
            peer.connections -= 1;
            if peer.connections == 0 {
                taken.peers.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(connections: usize, connections_per_peer: usize) -> Arc<Seats> {
        Seats::new(&Bounds {
            connections,
            connections_per_peer,
            ..Bounds::lan()
        })
    }

    fn peer(last: u8) -> PeerKey {
        PeerKey::Address(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn one_peer_cannot_take_all_seats() {
        let seats = seats(3, 2);
        let first = seats.take(peer(1), false).unwrap();
        let _second = seats.take(peer(1), false).unwrap();
        assert_eq!(seats.take(peer(1), false).unwrap_err(), Full::Peer);
        let _other = seats.take(peer(2), false).unwrap();
        assert_eq!(seats.take(peer(3), false).unwrap_err(), Full::All);
        drop(first);
        let _again = seats.take(peer(1), false).unwrap();
    }

    #[test]
    fn strangers_cannot_take_all_seats() {
        let seats = Seats::new(&Bounds {
            connections: 3,
            strangers: 1,
            ..Bounds::lan()
        });
        let stranger = seats.take(peer(1), true).unwrap();
        assert_eq!(seats.take(peer(2), true).unwrap_err(), Full::Strangers);
        let _reader = seats.take(peer(3), false).unwrap();
        drop(stranger);
        let _next = seats.take(peer(2), true).unwrap();
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let seats = seats(1000, 1);
        for last in 0..=255 {
            drop(seats.take(peer(last), false).unwrap());
        }
        let taken = seats.lock();
        assert_eq!((taken.all, taken.peers.len()), (0, 0));
    }

    #[tokio::test]
    async fn connections_of_a_peer_share_its_pages() {
        let seats = seats(9, 9);
        let (one, other) = (
            seats.take(peer(1), false).unwrap(),
            seats.take(peer(1), false).unwrap(),
        );
        let stranger = seats.take(peer(2), false).unwrap();
        let _claim = one.pages.claim(Bounds::lan().pages_per_peer_bytes).await;
        assert!(other.pages.try_claim(1).is_none());
        assert!(stranger.pages.try_claim(1).is_some());
    }
}
