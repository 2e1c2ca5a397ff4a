//! How many nodes there are.

use std::collections::BTreeMap;

use zeroshare_wire::datagram::NodeId;

use super::PeerKey;
use crate::place::Place;

/// Counts entries by id and by address.
#[derive(Debug, Default)]
pub(super) struct Census {
    ids: BTreeMap<NodeId, usize>,
    places: BTreeMap<Place, usize>,
}

impl Census {
    pub(super) fn add(&mut self, (node, place): &PeerKey) {
        *self.ids.entry(*node).or_default() += 1;
        *self.places.entry(*place).or_default() += 1;
    }

    pub(super) fn remove(&mut self, (node, place): &PeerKey) {
        take_one(&mut self.ids, node);
        take_one(&mut self.places, place);
    }

    /// One address counts as one node, however many ids it claims, and one id as one, however many addresses it has.
    pub(super) fn nodes(&self) -> usize {
        self.ids.len().min(self.places.len())
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
