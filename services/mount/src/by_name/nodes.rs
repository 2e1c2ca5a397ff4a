//! The numbers by which the kernel knows paths, and what they are: a link that leads elsewhere by now is another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Path, What};

/// Paths that the kernel knows at once.
const MAX_NODES: usize = 65_536;

/// Paths that the kernel knows, until it forgets them.
#[derive(Debug)]
pub(crate) struct Nodes {
    by_number: BTreeMap<u32, Known>,
    numbers: BTreeMap<Node, u32>,
    last: u32,
}

/// A path and what it was when the kernel was told of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    pub(crate) path: Arc<Path>,
    pub(crate) what: What,
}

#[derive(Debug)]
struct Known {
    node: Node,
    /// How often the kernel was told of it, and did not forget it since.
    lookups: u64,
}

impl Nodes {
    /// The number of the directory that all lie below; the root of the mount has 1.
    pub(crate) const ROOT: u32 = 2;

    /// Gives a path a number, of which the kernel is told; `None` if it knows too many.
    pub(crate) fn show(&mut self, path: Path, what: What) -> Option<u32> {
        if path.is_empty() {
            return Some(Self::ROOT);
        }
        let path = Arc::new(path);
        let node = Node { path, what };
        if let Some(number) = self.numbers.get(&node).copied() {
            if let Some(known) = self.by_number.get_mut(&number) {
                known.lookups += 1;
            }
            return Some(number);
        }
        if self.by_number.len() >= MAX_NODES {
            return None;
        }
        let number = self.free_number();
        let known = Known {
            node: node.clone(),
            lookups: 1,
        };
        self.numbers.insert(node, number);
        self.by_number.insert(number, known);
        Some(number)
    }

    /// What has this number.
    pub(crate) fn find(&self, number: u32) -> Option<Node> {
        if number == Self::ROOT {
            return Some(Node {
                path: Arc::default(),
                what: What::Directory,
            });
        }
        Some(self.by_number.get(&number)?.node.clone())
    }

    /// Takes note that the kernel forgot a path so often.
    pub(crate) fn forgotten(&mut self, number: u32, times: u64) {
        let Some(known) = self.by_number.get_mut(&number) else {
            return;
        };
        known.lookups = known.lookups.saturating_sub(times);
        if known.lookups == 0 {
            self.numbers.remove(&known.node);
            self.by_number.remove(&number);
        }
    }

    /// Numbers are not given again soon, so that nobody takes one path for another.
    fn free_number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1).max(Self::ROOT + 1);
            if !self.by_number.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            by_number: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last: Self::ROOT,
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{Family, TreeId};

    use super::*;

    #[test]
    fn a_path_keeps_its_number_until_it_is_forgotten() {
        let mut nodes = Nodes::default();
        let one = nodes.show(path(1), What::Directory).unwrap();
        assert_eq!(nodes.show(path(1), What::Directory), Some(one));
        assert_ne!(nodes.show(path(2), What::Directory), Some(one));
        nodes.forgotten(one, 1);
        assert_eq!(*nodes.find(one).unwrap().path, path(1));
        nodes.forgotten(one, 1);
        assert_eq!(nodes.find(one), None);
        assert_ne!(nodes.show(path(1), What::Directory), Some(one));
        let root = nodes.show(Path::new(), What::Directory);
        assert_eq!(root, Some(Nodes::ROOT));
        nodes.forgotten(Nodes::ROOT, 1);
        assert_eq!(*nodes.find(Nodes::ROOT).unwrap().path, Path::new());
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_another_one() {
        let mut nodes = Nodes::default();
        let tree = |text: &str| TreeId::of_manifest(Family::Sha256, text.as_bytes());
        let links = ["a", "b"].map(|text| What::Link(tree(text)));
        let [one, two] = links.map(|what| nodes.show(path(1), what).unwrap());
        assert_ne!(one, two);
        assert_eq!(nodes.find(one).unwrap().what, links[0]);
        assert_eq!(nodes.find(two).unwrap().what, links[1]);
    }

    #[test]
    fn paths_are_bounded() {
        let mut nodes = Nodes::default();
        for number in 0..MAX_NODES {
            assert!(nodes.show(path(number), What::Directory).is_some());
        }
        assert_eq!(nodes.show(path(MAX_NODES), What::Directory), None);
        nodes.forgotten(Nodes::ROOT + 1, 1);
        assert!(nodes.show(path(MAX_NODES), What::Directory).is_some());
    }

    fn path(number: usize) -> Path {
        vec!["host".to_owned(), number.to_string()]
    }
}
