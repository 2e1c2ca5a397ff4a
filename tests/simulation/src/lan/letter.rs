//! Datagrams under way.

use std::{cmp::Ordering, net::SocketAddr, sync::Arc, time::Instant};

use zeroshare_membership::Road;

/// A datagram as it was sent.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) source: SocketAddr,
    pub(super) road: Road,
    pub(super) bytes: Box<[u8]>,
    pub(super) is_beacon: bool,
}

/// One copy of a datagram, ordered by when it arrives.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) at: Instant,
    pub(super) number: u64,
    pub(super) to: usize,
    pub(super) letter: Arc<Letter>,
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
