//! Takes archives apart into a private directory, without trusting a byte of them.
//!
//! Names are checked before anything is created, symbolic links are created last (so that no entry can be written
//! through one), and sizes, counts and the memory of decoders are bounded.

mod format;
mod ground;
mod name;
mod tarball;
mod zipped;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

pub use ground::Unpacked;

use format::Format;
use ground::Ground;

/// The most that an archive may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sum over all files.
    pub bytes: u64,
    /// Files, links and directories.
    pub entries: u64,
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive cannot be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The private directory cannot be written.
    #[error("cannot write {path}", path = .path.display())]
    Write {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its format is none of those known.
    #[error(
        "this is no archive of a kind that zeroshare knows (tar, alone or with gzip, bzip2, xz or zstd; zip)"
    )]
    UnknownFormat,
    /// A zip archive is broken, or uses what is not supported.
    #[error("the zip archive cannot be read: {0}")]
    Zip(String),
    /// A name that must not be in a tree.
    #[error("entry {name:?} is refused: {why}")]
    Name {
        /// The name as the archive has it.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry that is no file, directory or link, or is put in an unclear way.
    #[error("entry {name:?} is refused: {why}")]
    Entry {
        /// The entry's name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry is shorter than it says.
    #[error("entry {name:?} ends early")]
    EndsEarly {
        /// The entry's name.
        name: String,
    },
    /// It unpacks to more than is allowed.
    #[error("it unpacks to more than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// It has more entries than a tree may have.
    #[error("it has more than {limit_entries} entries")]
    TooManyEntries {
        /// The limit.
        limit_entries: u64,
    },
}

impl ArchiveError {
    fn entry(name: &[u8], why: &'static str) -> Self {
        Self::Entry {
            name: String::from_utf8_lossy(name).into_owned(),
            why,
        }
    }
}

/// Unpacks `archive` into the empty directory `into`, which nobody else may write.
pub fn unpack(archive: &Path, into: &Path, limits: Limits) -> Result<Unpacked, ArchiveError> {
    let mut file = File::open(archive).map_err(ArchiveError::Read)?;
    let format = Format::sniff(&mut file, archive)?;
    let mut ground = Ground::new(into, limits);
    match format {
        Format::Zip => zipped::unpack(BufReader::new(file), &mut ground)?,
        Format::Tar(compression) => {
            tarball::unpack(compression.reader(file)?, &mut ground, limits)?;
        }
    }
    ground.finish()
}

#[cfg(test)]
mod tests;
