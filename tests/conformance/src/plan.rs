use zeroshare_content::{
    FileDigests, HashKind, ListedFile, ListingError, NameError, PathError, TreeListing, TreePath,
    manifest_mtime,
};

/// A tree as a list of what to make, each directory before what lies in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreePlan {
    /// What to make, in this order.
    pub entries: Vec<Planned>,
}

/// One thing to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Where, relative to the root; any bytes, also ones that we refuse.
    pub path: Vec<u8>,
    /// What.
    pub made: Made,
}

/// What is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A regular file.
    File {
        /// Its bytes.
        content: Vec<u8>,
        /// Its time.
        mtime: Mtime,
        /// Its permission bits, special ones included.
        mode: u32,
    },
    /// A directory.
    Directory {
        /// Its time.
        mtime: Mtime,
        /// Its permission bits.
        mode: u32,
    },
    /// A symlink.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// One more name of a file planned before.
    HardLink {
        /// The file's path.
        existing: Vec<u8>,
    },
    /// A named pipe, which no manifest can list.
    Fifo,
    /// A socket, which no manifest can list.
    Socket,
    /// The device that is `/dev/null`, which no manifest can list; making it needs root.
    Device,
}

/// A file's time: seconds, rounded down, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtime {
    /// Seconds since the epoch, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that.
    pub nanoseconds: u32,
}

impl Mtime {
    /// A time of whole seconds.
    pub const fn at(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }
}

/// Why a plan gives no listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanFault {
    /// A path that we refuse.
    Path(PathError),
    /// Something that is neither file nor directory nor symlink.
    SpecialFile,
    /// The listing refuses it.
    Listing(ListingError),
    /// A hard link to what was not planned.
    NoSuchFile,
}

impl PlanFault {
    /// Says whether the fault is a newline in a name.
    pub fn is_newline(&self) -> bool {
        *self == Self::Path(PathError::Name(NameError::Newline))
    }
}

impl TreePlan {
    /// Lists the tree as a scan of it would, without making it.
    pub fn listing(&self) -> Result<TreeListing, PlanFault> {
        let mut listing = TreeListing::new();
        for planned in &self.entries {
            let path = TreePath::new(&*planned.path).map_err(PlanFault::Path)?;
            match &planned.made {
                Made::Directory { mtime, .. } => {
                    listing.directory(path, manifest_mtime(mtime.seconds, mtime.nanoseconds))
                }
                Made::Symlink { target } => listing.symlink(path, target),
                Made::File { .. } | Made::HardLink { .. } => {
                    listing.file(path, self.listed_file(&planned.made)?)
                }
                Made::Fifo | Made::Socket | Made::Device => return Err(PlanFault::SpecialFile),
            }
            .map_err(PlanFault::Listing)?;
        }
        Ok(listing)
    }

    /// Says whether making it needs root.
    pub fn needs_root(&self) -> bool {
        self.entries
            .iter()
            .any(|planned| planned.made == Made::Device)
    }

    fn listed_file(&self, made: &Made) -> Result<ListedFile, PlanFault> {
        match made {
            Made::File {
                content,
                mtime,
                mode,
            } => Ok(ListedFile {
                executable: mode & 0o111 != 0,
                mtime: manifest_mtime(mtime.seconds, mtime.nanoseconds),
                size: content.len() as u64,
                digests: FileDigests::of(&HashKind::ALL, content),
            }),
            Made::HardLink { existing } => {
                let target = self.entries.iter().find(|other| other.path == *existing);
                self.listed_file(&target.ok_or(PlanFault::NoSuchFile)?.made)
            }
            Made::Directory { .. }
            | Made::Symlink { .. }
            | Made::Fifo
            | Made::Socket
            | Made::Device => Err(PlanFault::NoSuchFile),
        }
    }
}
