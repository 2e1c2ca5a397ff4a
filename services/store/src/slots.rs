//! How many may do something at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number of slots, of which one peer or user gets a few only.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    in_all: usize,
    per_peer: usize,
    taken: Arc<Mutex<BTreeMap<Taker, usize>>>,
}

/// By whom slots are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Taker {
    /// A peer, or a tool on the TCP port of the local API.
    Address(IpAddr),
    /// Somebody on this machine.
    User(u32),
}

/// A slot, free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    taker: Taker,
    slots: Slots,
}

impl Slots {
    pub(crate) fn new(in_all: usize, per_peer: usize) -> Self {
        Self {
            in_all,
            per_peer,
            taken: Arc::default(),
        }
    }

    /// Takes a slot if there is one for this peer or user.
    pub(crate) fn take(&self, taker: Taker) -> Option<Slot> {
        let mut taken = self.taken();
        if taken.values().sum::<usize>() >= self.in_all {
            return None;
        }
        let own = taken.entry(taker).or_insert(0);
        if *own >= self.per_peer {
            return None;
        }
        *own += 1;
        Some(Slot {
            taker,
            slots: self.clone(),
        })
    }

    /// How many are taken.
    pub(crate) fn count(&self) -> usize {
        self.taken().values().sum()
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<Taker, usize>> {
        // Each change is one step.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        if let Some(own) = taken.get_mut(&self.taker) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.taker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn one_peer_gets_a_few_and_all_together_the_rest() {
        let slots = Slots::new(3, 2);
        let [one, two, three] =
            [1, 2, 3].map(|last| Taker::Address(Ipv4Addr::new(10, 0, 0, last).into()));
        let first = slots.take(one).unwrap();
        let _second = slots.take(one).unwrap();
        assert!(slots.take(one).is_none());
        let _other = slots.take(two).unwrap();
        assert!(slots.take(three).is_none());
        assert_eq!(slots.count(), 3);
        drop(first);
        assert!(slots.take(Taker::User(1)).is_some());
        assert_eq!(slots.count(), 2);
    }
}
