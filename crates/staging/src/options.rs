use std::fmt;
use std::sync::Arc;

/// How a tree is staged.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// The most bytes that the tree may take on disk; `None`: what fits.
    pub quota: Option<u64>,
    /// Makes files of one tree hard links of each other where contents, time and x-bit are equal. Never done in an
    /// ordinary copy, whose files are there to be changed.
    pub link_files: bool,
    /// Makes a file that is adopted from another tree of the same store and owner a hard link of it where contents, time
    /// and x-bit are equal.
    ///
    /// That changes the other file's ctime, so that an index takes it for changed and hashes it again.
    pub link_trees: bool,
    /// Is told of each step.
    pub observer: Option<Observer>,
}

impl Default for StageOptions {
    fn default() -> Self {
        Self {
            quota: None,
            link_files: true,
            link_trees: false,
            observer: None,
        }
    }
}

/// Hears of each step right after it was done, on the thread that did it.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Step) + Send + Sync>);

impl Observer {
    /// Calls a function for each step.
    pub fn new(reached: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Arc::new(reached))
    }

    pub(crate) fn reached(&self, step: Step) {
        (self.0)(step);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// What was just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The staging directory is there and ours.
    Locked,
    /// What an earlier run left at this line was hashed, and matches.
    Rehashed(u32),
    /// What an earlier run left was looked through; what is good of it counts.
    Surveyed,
    /// All directories and files of no bytes are there.
    Prepared,
    /// A file of this line was created and is empty.
    Created(u32),
    /// The entry of this line is complete.
    Placed(u32),
    /// An item is proven and stands at all its lines.
    Proven(u32),
    /// A part of this item was written, and is not recorded yet.
    SliceWritten(u32),
    /// A part of this item was written and recorded.
    SliceRecorded(u32),
    /// The staged tree is what the manifest says, with all modes.
    Listed,
    /// All of it is on disk.
    Synced,
    /// What did not verify and the new tree changed places.
    Exchanged,
    /// The tree stands under its name.
    Renamed,
}

/// Who sent a slice, as the caller counts its sources; not kept over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// How far a commit goes before the tree becomes visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// All is on disk first, so that a loss of power leaves the whole tree or none.
    Durable,
    /// The disk is not waited for: after a loss of power the tree must be hashed before it is trusted.
    Unsynced,
}
