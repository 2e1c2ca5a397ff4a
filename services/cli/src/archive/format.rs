//! Tells archives apart by their first bytes.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use super::ArchiveError;

/// The most memory that a decoder of xz may ask for: `xz -9` needs 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;

/// Log2 of the largest zstd window taken: 128 MiB, what `zstd -19` and `--ultra` need at most.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Where a tar header says that it is one, and what it says.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

/// How an archive is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Zip,
    Tar(Compression),
}

/// What lies around a tar archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Format {
    /// Looks at the first bytes, and rewinds. The name decides only for a tar archive of the oldest kind.
    pub(super) fn sniff(file: &mut File, path: &Path) -> Result<Self, ArchiveError> {
        let mut start = Vec::with_capacity(512);
        file.by_ref()
            .take(512)
            .read_to_end(&mut start)
            .map_err(ArchiveError::Read)?;
        file.seek(SeekFrom::Start(0)).map_err(ArchiveError::Read)?;
        Self::of_start(&start)
            .or_else(|| {
                let tar = path
                    .extension()
                    .is_some_and(|extension| extension.eq_ignore_ascii_case("tar"));
                tar.then_some(Self::Tar(Compression::None))
            })
            .ok_or(ArchiveError::UnknownFormat)
    }

    fn of_start(start: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Format); 6] = [
            (b"PK\x03\x04", Format::Zip),
            (b"PK\x05\x06", Format::Zip),
            (b"\x1f\x8b", Format::Tar(Compression::Gzip)),
            (b"BZh", Format::Tar(Compression::Bzip2)),
            (b"\xfd7zXZ\x00", Format::Tar(Compression::Xz)),
            (b"\x28\xb5\x2f\xfd", Format::Tar(Compression::Zstd)),
        ];
        let found = MAGICS
            .iter()
            .find(|(magic, _)| start.starts_with(magic))
            .map(|(_, format)| *format);
        found.or_else(|| {
            let (at, magic) = TAR_MAGIC;
            let tar = start.get(at..).is_some_and(|rest| rest.starts_with(magic));
            tar.then_some(Self::Tar(Compression::None))
        })
    }
}

impl Compression {
    /// A reader of what is inside, its memory bounded. Concatenated streams are read as one, as the tools do.
    pub(super) fn reader(self, file: File) -> Result<Box<dyn Read>, ArchiveError> {
        let file = BufReader::with_capacity(128 * 1024, file);
        Ok(match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    XZ_MEMORY_BYTES,
                    liblzma::stream::CONCATENATED,
                )
                .map_err(|error| ArchiveError::Read(error.into()))?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(file, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(file).map_err(ArchiveError::Read)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG)
                    .map_err(ArchiveError::Read)?;
                Box::new(decoder)
            }
        })
    }
}
