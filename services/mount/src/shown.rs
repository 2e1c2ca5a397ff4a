//! A tree as it is shown: what its manifest says, and where its links point.

use std::collections::BTreeMap;

use bytes::Bytes;
use zeroshare_content::{BlobId, Entry, Manifest, TreeId};

/// What a tree's manifest is called in its root.
const MANIFEST_NAME: &[u8] = b".manifest";

/// A tree's entries by number: the tree itself, its manifest, and then its lines.
///
/// Invariant: the targets of links are those that the manifest names.
#[derive(Debug)]
pub(crate) struct Shown {
    manifest: Manifest,
    /// Of directories: the numbers of what lies in them, by name.
    children: BTreeMap<u32, Vec<u32>>,
    /// The directory of each line.
    parents: Vec<u32>,
    targets: BTreeMap<u32, Bytes>,
}

/// An entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory with so many directories in it.
    Directory { directories: u32 },
    /// The manifest.
    Manifest { size: u64 },
    /// A file, by its line.
    File {
        line: u32,
        size: u64,
        executable: bool,
        mtime: i64,
    },
    /// A link.
    Link { size: u64 },
}

/// The targets of a tree's links do not fit its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the targets of its links are not those that its manifest names")]
pub(crate) struct WrongTargets;

impl Shown {
    /// The number of the tree itself.
    pub(crate) const ROOT: u32 = 0;

    /// The number of its manifest.
    const MANIFEST: u32 = 1;

    /// The number of the first line.
    const FIRST_LINE: u32 = 2;

    /// Takes a manifest, and the targets of its links in its order.
    pub(crate) fn new(manifest: Manifest, targets: Vec<Bytes>) -> Result<Self, WrongTargets> {
        let targets = check_targets(&manifest, targets)?;
        let mut shown = Self {
            children: BTreeMap::from([(Self::ROOT, vec![Self::MANIFEST])]),
            parents: Vec::with_capacity(manifest.lines().len()),
            targets,
            manifest,
        };
        shown.index();
        Ok(shown)
    }

    fn index(&mut self) {
        let mut directories: BTreeMap<&[u8], u32> = BTreeMap::new();
        for (line, number) in self.manifest.lines().iter().zip(Self::FIRST_LINE..) {
            let path = line.path.as_bytes();
            let parent = match path.iter().rposition(|byte| *byte == b'/') {
                Some(end) => directories.get(&path[..end]).copied(),
                None => Some(Self::ROOT),
            };
            let parent = parent.unwrap_or(Self::ROOT);
            self.parents.push(parent);
            self.children.entry(parent).or_default().push(number);
            if line.entry == Entry::Directory {
                directories.insert(path, number);
                self.children.entry(number).or_default();
            }
        }
        let manifest = &self.manifest;
        for numbers in self.children.values_mut() {
            numbers.sort_by_key(|number| name_in(manifest, *number));
        }
    }

    /// The tree's id.
    pub(crate) fn id(&self) -> TreeId {
        self.manifest.id()
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        self.manifest.lines().len() + 2
    }

    /// The text of its manifest.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What an entry is; `None` if there is no such entry.
    pub(crate) fn node(&self, number: u32) -> Option<Node> {
        if let Some(numbers) = self.children.get(&number) {
            let of = |number: &&u32| self.children.contains_key(*number);
            let directories = u32::try_from(numbers.iter().filter(of).count());
            let directories = directories.unwrap_or(u32::MAX);
            return Some(Node::Directory { directories });
        }
        if number == Self::MANIFEST {
            let size = self.manifest.text().len() as u64;
            return Some(Node::Manifest { size });
        }
        let line = number.checked_sub(Self::FIRST_LINE)?;
        match self.manifest.lines().get(line as usize)?.entry {
            Entry::Directory => None,
            Entry::File {
                executable,
                mtime,
                size,
                ..
            } => Some(Node::File {
                line,
                size,
                executable,
                mtime,
            }),
            Entry::Symlink { target_len, .. } => Some(Node::Link { size: target_len }),
        }
    }

    /// The entry of this name in a directory.
    pub(crate) fn find(&self, directory: u32, name: &[u8]) -> Option<u32> {
        let numbers = self.children.get(&directory)?;
        let at = numbers.binary_search_by_key(&name, |number| name_in(&self.manifest, *number));
        numbers.get(at.ok()?).copied()
    }

    /// What lies in a directory, with names; `None` for what is no directory.
    pub(crate) fn list(&self, directory: u32) -> Option<impl Iterator<Item = (u32, &[u8])>> {
        let numbers = self.children.get(&directory)?;
        Some(
            numbers
                .iter()
                .map(|number| (*number, name_in(&self.manifest, *number))),
        )
    }

    /// The directory that an entry lies in; of the tree itself, the tree.
    pub(crate) fn parent(&self, number: u32) -> u32 {
        let line = number.checked_sub(Self::FIRST_LINE);
        let parent = line.and_then(|line| self.parents.get(line as usize));
        parent.copied().unwrap_or(Self::ROOT)
    }

    /// Where a link points.
    pub(crate) fn target(&self, number: u32) -> Option<&Bytes> {
        self.targets.get(&number)
    }
}

fn name_in(manifest: &Manifest, number: u32) -> &[u8] {
    let line = number.checked_sub(Shown::FIRST_LINE);
    let line = line.and_then(|line| manifest.lines().get(line as usize));
    line.map_or(MANIFEST_NAME, |line| line.path.name())
}

fn check_targets(
    manifest: &Manifest,
    targets: Vec<Bytes>,
) -> Result<BTreeMap<u32, Bytes>, WrongTargets> {
    let mut targets = targets.into_iter();
    let mut checked = BTreeMap::new();
    for (line, number) in manifest.lines().iter().zip(Shown::FIRST_LINE..) {
        if let Entry::Symlink { blob, .. } = line.entry {
            let target = targets.next().ok_or(WrongTargets)?;
            if BlobId::of(blob.kind(), &target) != blob {
                return Err(WrongTargets);
            }
            checked.insert(number, target);
        }
    }
    match targets.next() {
        None => Ok(checked),
        Some(_) => Err(WrongTargets),
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{Family, HashKind};

    use super::*;

    #[test]
    fn a_tree_is_shown_as_its_manifest_says() {
        let shown = Shown::new(manifest(), vec![Bytes::from_static(b"bin/run")]).unwrap();
        let names = |directory| -> Vec<&[u8]> {
            let entries = shown.list(directory).unwrap();
            entries.map(|(_, name)| name).collect()
        };
        let expected: [&[u8]; 5] = [b".manifest", b"bin", b"bin-more", b"link", b"zero"];
        assert_eq!(names(Shown::ROOT), expected);
        let bin = shown.find(Shown::ROOT, b"bin").unwrap();
        assert_eq!(names(bin), [b"run" as &[u8]]);
        assert_eq!(shown.node(bin), Some(Node::Directory { directories: 0 }));
        assert_eq!(
            shown.node(Shown::ROOT),
            Some(Node::Directory { directories: 2 })
        );
        let run = shown.find(bin, b"run").unwrap();
        let expected = Node::File {
            line: 3,
            size: 5,
            executable: true,
            mtime: -7,
        };
        assert_eq!(shown.node(run), Some(expected));
        assert_eq!((shown.parent(run), shown.parent(bin)), (bin, Shown::ROOT));
        let link = shown.find(Shown::ROOT, b"link").unwrap();
        assert_eq!(shown.node(link), Some(Node::Link { size: 7 }));
        assert_eq!(shown.target(link).unwrap().as_ref(), b"bin/run");
        assert_eq!(shown.find(Shown::ROOT, b"run"), None);
        assert_eq!(shown.find(run, b"run"), None);
        assert_eq!(shown.node(99), None);
        let size = shown.manifest().text().len() as u64;
        assert_eq!(shown.node(1), Some(Node::Manifest { size }));
    }

    #[test]
    fn targets_that_the_manifest_does_not_name_are_refused() {
        for targets in [vec![], vec!["bin/rum"], vec!["bin/run", "more"]] {
            let targets = targets.into_iter().map(Bytes::from).collect();
            assert_eq!(Shown::new(manifest(), targets).unwrap_err(), WrongTargets);
        }
    }

    fn manifest() -> Manifest {
        let hash = |bytes: &[u8]| BlobId::of(HashKind::Sha256, bytes).hex();
        let text = format!(
            "S {} 7 link\nF {} 3 0 zero\nD /bin\nX {} -7 5 run\nD /bin-more\n",
            hash(b"bin/run"),
            hash(b""),
            hash(b"hello"),
        );
        Manifest::parse(Family::Sha256, text).unwrap()
    }
}
