//! Connections to peers that several users share.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::OnceCell;
use zeroshare_wire::datagram::NodeId;

use super::TracedChannel;

/// Connections to one address: a peer lets in eight from one machine, whose other programs want some too.
const MAX_CONNECTIONS: usize = 4;

/// Connections to peers, so that many fetches at once do not have one each: a peer lets in only so many.
///
/// Each address gets a few, which are given to whoever connects in turn, and end with the last of their users.
#[derive(Debug, Clone, Default)]
pub struct PeerPool {
    seats: Arc<Mutex<BTreeMap<Callee, Vec<Weak<Seat>>>>>,
}

/// Where somebody is called, and who must answer.
type Callee = (SocketAddr, Option<NodeId>);

/// One connection, made by the first who needs it.
#[derive(Debug, Default)]
pub(super) struct Seat {
    pub(super) channel: OnceCell<TracedChannel>,
}

impl PeerPool {
    /// A new connection while there are few, else the one with the fewest users.
    pub(super) fn seat(&self, address: SocketAddr, node: Option<NodeId>) -> Arc<Seat> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|_, seats| {
            seats.retain(|seat| seat.strong_count() > 0);
            !seats.is_empty()
        });
        let here = seats.entry((address, node)).or_default();
        if here.len() >= MAX_CONNECTIONS {
            let least = here.iter().min_by_key(|seat| seat.strong_count());
            if let Some(seat) = least.and_then(Weak::upgrade) {
                return seat;
            }
        }
        let seat = Arc::new(Seat::default());
        here.push(Arc::downgrade(&seat));
        seat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_share_a_few_connections_evenly_and_the_last_one_ends_them() {
        let pool = PeerPool::default();
        let address: SocketAddr = "192.0.2.1:38339".parse().unwrap();
        let users: Vec<_> = (0..64).map(|_| pool.seat(address, None)).collect();
        for user in &users {
            assert_eq!(Arc::strong_count(user), 64 / MAX_CONNECTIONS);
        }
        let other = pool.seat("192.0.2.2:38339".parse().unwrap(), None);
        assert_eq!(Arc::strong_count(&other), 1);
        drop(users);
        assert_eq!(Arc::strong_count(&pool.seat(address, None)), 1);
        assert_eq!(pool.seats.lock().unwrap().len(), 2);
    }
}
