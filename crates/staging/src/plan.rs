use std::collections::BTreeMap;
use std::ops::Range;

use zeroshare_content::{BlobId, Entry, Item, ItemKind, Layout, LayoutError, Line, Manifest};

/// An item of no line: entries of no bytes, and directories.
const NO_ITEM: u32 = u32::MAX;

/// A manifest, arranged for writing: which directory holds what, and where each item goes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) manifest: Manifest,
    pub(crate) layout: Layout,
    /// The root, then all others in the order of the manifest.
    directories: Vec<Directory>,
    /// All but the root, by parent, and those of one parent by name.
    by_parent: Vec<u32>,
    item_of_line: Vec<u32>,
    /// Items and lines for those that do not stand in the layout, in this order.
    further_lines: Vec<(u32, u32)>,
    /// For each link's target that is also the contents of files, the first such line.
    files_of_links: BTreeMap<u32, u32>,
}

/// A directory of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    /// Its own line; `None` for the root.
    pub(crate) line: Option<u32>,
    /// The lines of its files and symlinks, which follow each other.
    pub(crate) leaves: Range<u32>,
    parent: u32,
}

impl Plan {
    pub(crate) fn new(manifest: Manifest) -> Result<Self, LayoutError> {
        let layout = Layout::of_manifest(&manifest)?;
        let directories = directories(manifest.lines());
        let mut by_parent: Vec<u32> = (1..).take(directories.len().saturating_sub(1)).collect();
        by_parent.sort_by_key(|directory| directories[*directory as usize].parent);
        let (item_of_line, further_lines) = place_items(manifest.lines(), layout.items());
        let files_of_links = files_of_links(manifest.lines(), layout.items(), &item_of_line);
        Ok(Self {
            manifest,
            layout,
            directories,
            by_parent,
            item_of_line,
            further_lines,
            files_of_links,
        })
    }

    pub(crate) fn line(&self, line: u32) -> Option<&Line> {
        self.manifest.lines().get(line as usize)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = (u32, &Line)> {
        (0..).zip(self.manifest.lines())
    }

    pub(crate) fn item(&self, item: u32) -> Option<&Item> {
        self.layout.items().get(item as usize)
    }

    /// The item whose bytes stand at a line.
    pub(crate) fn item_of_line(&self, line: u32) -> Option<u32> {
        let item = self.item_of_line.get(line as usize).copied()?;
        (item != NO_ITEM).then_some(item)
    }

    /// All lines at which an item stands.
    pub(crate) fn lines_of_item(&self, item: u32) -> impl Iterator<Item = (u32, &Line)> {
        let first = self.item(item).map(|item| item.line);
        let from = self.further_lines.partition_point(|(of, _)| *of < item);
        let further = self.further_lines[from..].iter();
        let further = further.take_while(move |(of, _)| *of == item);
        let all = first.into_iter().chain(further.map(|(_, line)| *line));
        all.filter_map(|line| Some((line, self.line(line)?)))
    }

    /// The first line at which an item stands as a file: where its slices are written.
    pub(crate) fn file_line(&self, item: u32) -> Option<(u32, &Line)> {
        let found = self.item(item)?;
        let line = match found.kind {
            ItemKind::File => found.line,
            ItemKind::Link => self.files_of_links.get(&item).copied()?,
        };
        Some((line, self.line(line)?))
    }

    pub(crate) fn directories(&self) -> impl DoubleEndedIterator<Item = (u32, &Directory)> {
        let count = u32::try_from(self.directories.len()).unwrap_or(u32::MAX);
        (0..count).zip(&self.directories)
    }

    pub(crate) fn directory(&self, directory: u32) -> Option<&Directory> {
        self.directories.get(directory as usize)
    }

    pub(crate) fn directory_count(&self) -> usize {
        self.directories.len()
    }

    /// The path of a directory; empty for the root.
    pub(crate) fn directory_path(&self, directory: u32) -> &[u8] {
        let line = self
            .directories
            .get(directory as usize)
            .and_then(|d| d.line);
        line.and_then(|line| self.line(line))
            .map_or(b"", |line| line.path.as_bytes())
    }

    /// The directory that a line lies in.
    pub(crate) fn directory_of(&self, line: u32) -> u32 {
        let after = self
            .directories
            .partition_point(|directory| directory.line.is_none_or(|own| own <= line));
        let at = after.saturating_sub(1);
        let directory = &self.directories[at];
        if directory.line == Some(line) {
            directory.parent
        } else {
            u32::try_from(at).unwrap_or(0)
        }
    }

    /// The directories in a directory, by name.
    pub(crate) fn subdirectories(&self, directory: u32) -> impl Iterator<Item = &Line> {
        let parent = |inner: &u32| self.directories[*inner as usize].parent;
        let from = self
            .by_parent
            .partition_point(|inner| parent(inner) < directory);
        let to = self
            .by_parent
            .partition_point(|inner| parent(inner) <= directory);
        let lines = self.by_parent[from..to].iter();
        lines.filter_map(|inner| self.line(self.directories[*inner as usize].line?))
    }

    /// The files and symlinks in a directory, by name.
    pub(crate) fn leaves(&self, directory: &Directory) -> impl Iterator<Item = (u32, &Line)> {
        let lines = directory.leaves.start as usize..directory.leaves.end as usize;
        let lines = self.manifest.lines().get(lines).unwrap_or_default();
        directory.leaves.clone().zip(lines)
    }
}

fn directories(lines: &[Line]) -> Vec<Directory> {
    let root = Directory {
        line: None,
        leaves: 0..0,
        parent: 0,
    };
    let mut directories = vec![root];
    // The directories on the way down to the last one, with the length of their paths.
    let mut open: Vec<(u32, usize)> = vec![(0, 0)];
    for (number, line) in (0_u32..).zip(lines) {
        let Entry::Directory = line.entry else {
            if let Some(last) = directories.last_mut() {
                last.leaves.end = number + 1;
            }
            continue;
        };
        let parent_len = line.path.as_bytes().len() - line.path.name().len();
        let parent_len = parent_len.saturating_sub(1);
        while open.len() > 1 && open.last().is_some_and(|(_, len)| *len > parent_len) {
            open.pop();
        }
        let parent = open.last().map_or(0, |(directory, _)| *directory);
        let own = u32::try_from(directories.len()).unwrap_or(u32::MAX);
        open.push((own, line.path.as_bytes().len()));
        directories.push(Directory {
            line: Some(number),
            leaves: number + 1..number + 1,
            parent,
        });
    }
    directories
}

/// Which item stands at each line, and the lines that are not the first of their item.
fn place_items(lines: &[Line], items: &[Item]) -> (Vec<u32>, Vec<(u32, u32)>) {
    let mut item_of_line = vec![NO_ITEM; lines.len()];
    for (item, number) in items.iter().zip(0..) {
        if let Some(first) = item_of_line.get_mut(item.line as usize) {
            *first = number;
        }
    }
    // Most contents stand at one line only, and need not be looked for.
    let mut by_blob: Vec<u32> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let blob: BlobId = match line.entry {
            Entry::File { blob, size, .. } if size > 0 => blob,
            Entry::Symlink { blob, .. } => blob,
            Entry::File { .. } | Entry::Directory => continue,
        };
        if item_of_line[number] != NO_ITEM {
            continue;
        }
        if by_blob.is_empty() {
            by_blob = (0..).take(items.len()).collect();
            by_blob.sort_unstable_by_key(|item| items[*item as usize].blob);
        }
        let found = by_blob.binary_search_by_key(&blob, |item| items[*item as usize].blob);
        if let Ok(found) = found {
            item_of_line[number] = by_blob[found];
        }
    }
    let mut further: Vec<(u32, u32)> = item_of_line
        .iter()
        .zip(0..)
        .filter(|(item, line)| {
            let item = items.get(**item as usize);
            item.is_some_and(|item| item.line != *line)
        })
        .map(|(item, line)| (*item, line))
        .collect();
    further.sort_unstable();
    (item_of_line, further)
}

fn files_of_links(lines: &[Line], items: &[Item], item_of_line: &[u32]) -> BTreeMap<u32, u32> {
    let mut files = BTreeMap::new();
    for ((number, line), item) in (0..).zip(lines).zip(item_of_line) {
        let is_link = |item: &Item| item.kind == ItemKind::Link;
        if matches!(line.entry, Entry::File { .. })
            && items.get(*item as usize).is_some_and(is_link)
        {
            files.entry(*item).or_insert(number);
        }
    }
    files
}
