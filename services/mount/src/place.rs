//! Inode numbers: which tree, and which of its entries.

/// The root of the mount.
pub(crate) const ROOT: u64 = 1;

/// An entry of a tree: the upper half of its inode number is the tree's number, which is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tree: u32,
    pub(crate) entry: u32,
}

impl Place {
    /// Reads an inode number; `None` for the root.
    pub(crate) fn of(inode: u64) -> Option<Self> {
        let (tree, entry) = (inode >> 32, inode & 0xffff_ffff);
        let tree = u32::try_from(tree).ok().filter(|tree| *tree > 0)?;
        Some(Self {
            tree,
            entry: u32::try_from(entry).ok()?,
        })
    }

    pub(crate) fn inode(self) -> u64 {
        (u64::from(self.tree) << 32) | u64::from(self.entry)
    }
}
