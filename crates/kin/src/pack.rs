//! Writes a tree as an archive, as a stream: nothing of it is held but one buffer, and for zip a line for each entry.
//!
//! The archives have no directory around the tree and no `.manifest`, since whoever unpacks them makes that anew. Symbolic
//! links are written as everybody reads them: in tar as the link's name, not as its contents, where the .NET version puts
//! them and finds them nowhere.

mod outlet;
mod tarball;
#[cfg(test)]
mod tests;
mod zipped;

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use zeroshare_content::{Manifest, TreePath};

use outlet::{Gate, Outlet};

/// What is read of a file at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// What directories are dated, which manifests do not say: the first moment that both formats can express.
const DIRECTORY_TIME: i64 = 315_532_800;

/// How an archive is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// GNU tar.
    Tar,
    /// The same, compressed by gzip; fast, since the line is local.
    TarGz,
    /// Zip, with Info-ZIP's fields for links, modes and times.
    Zip,
}

/// Where the bytes of a tree come from.
pub trait Contents {
    /// Fills `into` with bytes of the file, or the target of the link, on a line of the manifest, from an offset on;
    /// all of these bytes exist by the manifest.
    fn read(&mut self, line: u32, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Why a tree cannot be an archive of some format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It has too many entries.
    #[error("more than {limit} entries")]
    TooMany {
        /// How many are possible.
        limit: usize,
    },
    /// A name means something else there, or nothing.
    #[error("the name of {path} is not possible there")]
    Name {
        /// Whose.
        path: TreePath,
    },
    /// A time is out of range.
    #[error("the time of {path} is not possible there")]
    Time {
        /// Whose.
        path: TreePath,
    },
}

/// Why an archive was not written to its end.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The format cannot hold the tree.
    #[error("the tree does not fit into this format")]
    Unfit(#[from] Unfit),
    /// The tree could not be read.
    #[error("cannot read what the tree consists of")]
    Contents(#[source] io::Error),
    /// Nobody takes the archive.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

impl Format {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/x-tar",
            Self::TarGz => "application/x-compressed-tar",
            Self::Zip => "application/zip",
        }
    }

    /// What the names of such files end in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::TarGz => "tar.gz",
            Self::Zip => "zip",
        }
    }

    /// The format of files whose names end so.
    pub fn of_extension(extension: &str) -> Option<Self> {
        let all = [Self::Tar, Self::TarGz, Self::Zip];
        all.into_iter().find(|one| one.extension() == extension)
    }
}

/// Says whether a tree can be an archive of a format; tar holds every tree.
pub fn fits(manifest: &Manifest, format: Format) -> Result<(), Unfit> {
    match format {
        Format::Tar | Format::TarGz => Ok(()),
        Format::Zip => zipped::fits(manifest),
    }
}

/// Writes a tree as an archive; of one that fails the end is missing, so that nobody takes it for a whole one.
pub fn pack(
    manifest: &Manifest,
    format: Format,
    contents: &mut dyn Contents,
    out: &mut dyn Write,
) -> Result<(), PackError> {
    fits(manifest, format)?;
    let gate = Gate::default();
    let outlet = Outlet::new(out, &gate);
    let mut input = Input {
        contents,
        gate: &gate,
        buffer: vec![0; BUFFER_BYTES],
    };
    let packed = match format {
        Format::Tar => tarball::write(manifest, &mut input, outlet).map(drop),
        Format::TarGz => {
            let encoder = GzEncoder::new(outlet, Compression::fast());
            tarball::write(manifest, &mut input, encoder)
                .and_then(GzEncoder::finish)
                .map(drop)
        }
        Format::Zip => zipped::write(manifest, &mut input, outlet),
    };
    packed.map_err(|error| gate.take().unwrap_or(PackError::Write(error)))
}

/// Reads contents through one buffer, and shuts the gate when they fail.
struct Input<'a> {
    contents: &'a mut dyn Contents,
    gate: &'a Gate,
    buffer: Vec<u8>,
}

impl Input<'_> {
    /// The next bytes of a line, as many as fit into the buffer.
    fn next(&mut self, line: u32, offset: u64, size: u64) -> io::Result<&[u8]> {
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = left.min(self.buffer.len());
        let room = self.buffer.get_mut(..length).unwrap_or_default();
        if room.is_empty() {
            return Ok(room);
        }
        match self.contents.read(line, offset, room) {
            Ok(()) => Ok(room),
            Err(error) => {
                self.gate.shut(Some(PackError::Contents(error)));
                Err(io::Error::other("the tree cannot be read"))
            }
        }
    }

    /// All bytes of a line, of which there are few.
    fn target(&mut self, line: u32, size: u64) -> io::Result<Vec<u8>> {
        let mut target = Vec::new();
        while (target.len() as u64) < size {
            let more = self.next(line, target.len() as u64, size)?;
            target.extend_from_slice(more);
        }
        Ok(target)
    }
}
