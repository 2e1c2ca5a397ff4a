//! The trees that the kernel knows, by the numbers in their inodes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use zeroshare_content::TreeId;

use crate::shown::Shown;

/// Trees that are known at once.
const MAX_TREES: usize = 4096;

/// Entries of all known trees together.
const MAX_ENTRIES: usize = 4_000_000;

/// What is shown under a digest.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A tree that is not here in full, entry by entry.
    Tree(Arc<Shown>),
    /// A link to where it lies.
    Link(PathBuf),
}

/// All that the kernel may ask about.
///
/// A tree is kept while the kernel knows any inode of it; others go, the longest unused first, when there is no room.
#[derive(Debug, Default)]
pub(crate) struct Table {
    by_number: BTreeMap<u32, Known>,
    trees: BTreeMap<TreeId, u32>,
    links: BTreeMap<TreeId, u32>,
    entries: usize,
    last: u32,
    clock: u64,
}

#[derive(Debug)]
struct Known {
    id: TreeId,
    content: Content,
    /// How often the kernel was told of an inode of it, and did not forget it since.
    lookups: u64,
    used: u64,
}

/// There is no room for another tree: the kernel knows too many.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Table {
    /// Shows a tree, and gives its number.
    pub(crate) fn show(&mut self, id: TreeId, content: Content) -> Result<u32, Full> {
        let (numbers, len) = match &content {
            Content::Tree(shown) => (&self.trees, shown.len()),
            Content::Link(_) => (&self.links, 1),
        };
        if let Some(number) = numbers.get(&id).copied()
            && let Some(known) = self.by_number.get_mut(&number)
            && is_same(&known.content, &content)
        {
            return Ok(number);
        }
        self.make_room(len)?;
        let number = self.free_number();
        match &content {
            Content::Tree(_) => self.trees.insert(id, number),
            Content::Link(_) => self.links.insert(id, number),
        };
        self.entries += len;
        self.clock += 1;
        let known = Known {
            id,
            content,
            lookups: 0,
            used: self.clock,
        };
        self.by_number.insert(number, known);
        Ok(number)
    }

    /// What has this number.
    pub(crate) fn find(&self, number: u32) -> Option<&Content> {
        self.by_number.get(&number).map(|known| &known.content)
    }

    /// The number under which a tree is shown entry by entry, if it is.
    pub(crate) fn shown(&self, id: &TreeId) -> Option<u32> {
        self.trees.get(id).copied()
    }

    /// Takes note that the kernel was told of an inode of a tree.
    pub(crate) fn looked_up(&mut self, number: u32) {
        self.clock += 1;
        if let Some(known) = self.by_number.get_mut(&number) {
            known.lookups += 1;
            known.used = self.clock;
        }
    }

    /// Takes note that it forgot that so often.
    pub(crate) fn forgotten(&mut self, number: u32, times: u64) {
        if let Some(known) = self.by_number.get_mut(&number) {
            known.lookups = known.lookups.saturating_sub(times);
        }
    }

    fn make_room(&mut self, len: usize) -> Result<(), Full> {
        while self.by_number.len() >= MAX_TREES || self.entries + len > MAX_ENTRIES {
            let unused = self
                .by_number
                .iter()
                .filter(|(_, known)| known.lookups == 0);
            let oldest = unused.min_by_key(|(_, known)| known.used);
            let number = *oldest.ok_or(Full)?.0;
            self.remove(number);
        }
        Ok(())
    }

    fn remove(&mut self, number: u32) {
        let Some(known) = self.by_number.remove(&number) else {
            return;
        };
        let (numbers, len) = match &known.content {
            Content::Tree(shown) => (&mut self.trees, shown.len()),
            Content::Link(_) => (&mut self.links, 1),
        };
        if numbers.get(&known.id) == Some(&number) {
            numbers.remove(&known.id);
        }
        self.entries -= len;
    }

    /// Numbers are not given again soon, so that nobody takes one tree for another.
    fn free_number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            if !self.by_number.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

fn is_same(one: &Content, other: &Content) -> bool {
    match (one, other) {
        // Of one id, so of one manifest.
        (Content::Tree(_), Content::Tree(_)) => true,
        (Content::Link(one), Content::Link(other)) => one == other,
        (Content::Tree(_), Content::Link(_)) | (Content::Link(_), Content::Tree(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::Family;

    use super::*;

    #[test]
    fn a_tree_keeps_its_number_and_a_link_has_its_own() {
        let mut table = Table::default();
        let (one, two) = (id(1), id(2));
        let first = table.show(one, link("/a")).unwrap();
        assert_eq!(table.show(one, link("/a")), Ok(first));
        let second = table.show(two, link("/a")).unwrap();
        let moved = table.show(one, link("/b")).unwrap();
        assert!(first != second && first != moved);
        assert!(matches!(table.find(first), Some(Content::Link(path)) if path.as_os_str() == "/a"));
    }

    #[test]
    fn what_the_kernel_knows_stays_and_the_rest_makes_room() {
        let mut table = Table::default();
        let kept = table.show(id(0), link("/0")).unwrap();
        table.looked_up(kept);
        table.looked_up(kept);
        for number in 1..=MAX_TREES {
            let path = format!("/{number}");
            table.show(id(number), link(&path)).unwrap();
        }
        assert!(table.find(kept).is_some());
        assert_eq!(table.by_number.len(), MAX_TREES);
        table.forgotten(kept, 2);
        table.show(id(MAX_TREES + 1), link("/new")).unwrap();
        let numbers: Vec<u32> = table.by_number.keys().copied().collect();
        for number in numbers {
            table.looked_up(number);
        }
        assert_eq!(table.show(id(MAX_TREES + 2), link("/newer")), Err(Full));
        assert_eq!(table.entries, MAX_TREES);
    }

    fn id(number: usize) -> TreeId {
        TreeId::of_manifest(Family::Sha256, &number.to_be_bytes())
    }

    fn link(path: &str) -> Content {
        Content::Link(path.into())
    }
}
