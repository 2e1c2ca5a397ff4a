//! How many nodes there are.

use std::{collections::BTreeMap, ops::Bound};

use zeroshare_wire::datagram::NodeId;

use super::{PeerKey, Run};
use crate::place::Place;

/// Counts entries by id and run, and by address.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// A copied machine has the same id, and another run.
    runs: BTreeMap<(NodeId, u64), usize>,
    places: BTreeMap<Place, usize>,
}

impl Census {
    pub(super) fn add(&mut self, (node, place): &PeerKey, run: Run) {
        *self.runs.entry((*node, run.incarnation)).or_default() += 1;
        *self.places.entry(*place).or_default() += 1;
    }

    pub(super) fn remove(&mut self, (node, place): &PeerKey, run: Run) {
        take_one(&mut self.runs, &(*node, run.incarnation));
        take_one(&mut self.places, place);
    }

    /// The ids after one, each once.
    pub(super) fn nodes_after(&self, node: Option<NodeId>) -> impl Iterator<Item = NodeId> {
        let after = node.map_or(Bound::Unbounded, |node| Bound::Excluded((node, u64::MAX)));
        let mut last = None;
        let runs = self.runs.range((after, Bound::Unbounded));
        runs.map(|((node, _), _)| *node)
            .filter(move |node| last.replace(*node) != Some(*node))
    }

    /// One address counts as one node, however many ids it claims, and one run as one, however many addresses it has.
    pub(super) fn nodes(&self) -> usize {
        self.runs.len().min(self.places.len())
    }
}

pub(super) fn take_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
