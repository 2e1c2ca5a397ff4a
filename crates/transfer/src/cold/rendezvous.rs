//! Who reads which piece: the member with the smallest weight for it.
//!
//! Everybody computes the same weights, and a member that joins or leaves moves only its own pieces (Thaler and Ravishankar, 1998).

use std::collections::BTreeMap;

use zeroshare_content::{BlobId, HashKind};

use super::NodeName;

/// How much a node is not meant to read a piece; the node breaks ties.
pub(super) type Weight = (u32, NodeName);

/// The weights of all pieces for the nodes in question.
#[derive(Debug)]
pub(super) struct Weights {
    blob: BlobId,
    count: u32,
    of_nodes: BTreeMap<NodeName, Box<[u32]>>,
}

impl Weights {
    pub(super) fn new(me: NodeName, blob: BlobId, count: u32) -> Self {
        let mut weights = Self {
            blob,
            count,
            of_nodes: BTreeMap::new(),
        };
        weights.add(me);
        weights
    }

    pub(super) fn add(&mut self, node: NodeName) {
        let (blob, count) = (self.blob, self.count);
        let all = || (0..count).map(|piece| weight(node, blob, piece)).collect();
        self.of_nodes.entry(node).or_insert_with(all);
    }

    pub(super) fn remove(&mut self, node: NodeName) {
        self.of_nodes.remove(&node);
    }

    pub(super) fn of(&self, node: NodeName, piece: u32) -> Weight {
        let known = self.of_nodes.get(&node);
        let weight = known.and_then(|all| all.get(piece as usize));
        (weight.copied().unwrap_or(u32::MAX), node)
    }
}

fn weight(node: NodeName, blob: BlobId, piece: u32) -> u32 {
    let mut text = [node.as_bytes(), blob.digest()].concat();
    text.extend(piece.to_be_bytes());
    first_bytes(&text)
}

/// The place of a node in the order of those who may read a server without ranges.
pub(super) fn order(node: NodeName, blob: BlobId) -> u64 {
    u64::from(first_bytes(&[node.as_bytes(), blob.digest()].concat()))
}

fn first_bytes(text: &[u8]) -> u32 {
    let hash = BlobId::of(HashKind::Sha256, text);
    let first = hash.digest().first_chunk().copied();
    u32::from_be_bytes(first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_about_equal_and_a_leaver_moves_only_its_own() {
        let blob = BlobId::of(HashKind::Sha256, b"x");
        let nodes: Vec<NodeName> = (0..8).map(|number| NodeName::new([number; 16])).collect();
        let mut weights = Weights::new(nodes[0], blob, 1024);
        for node in &nodes {
            weights.add(*node);
        }
        let owner = |nodes: &[NodeName], piece| {
            nodes
                .iter()
                .copied()
                .min_by_key(|node| weights.of(*node, piece))
                .unwrap()
        };
        let mut shares = BTreeMap::new();
        for piece in 0..1024 {
            let before = owner(&nodes, piece);
            *shares.entry(before).or_insert(0) += 1;
            if before != nodes[7] {
                assert_eq!(owner(&nodes[..7], piece), before);
            }
        }
        assert!(
            shares.values().all(|share| (80..180).contains(share)),
            "{shares:?}"
        );
    }
}
