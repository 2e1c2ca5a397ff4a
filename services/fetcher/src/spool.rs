//! A manifest on its way in: hashed while it comes, parsed only once it is the right one.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use bytes::Bytes;
use zeroshare_content::{Family, Hasher, MAX_MANIFEST_BYTES, TreeId};

/// Up to here it is kept in memory; beyond, in a file without a name.
const MEMORY_BYTES: usize = 1024 * 1024;

/// A manifest on its way in. A sender that lies can fill a file for a while, never the memory.
#[derive(Debug)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    bytes: u64,
}

/// Why a manifest was not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// More came than any manifest has.
    #[error("a manifest of more than {MAX_MANIFEST_BYTES} bytes")]
    TooLong,
    /// The bytes are the manifest of something else.
    #[error("the manifest is that of {found}")]
    WrongDigest { found: TreeId },
    /// The disk said no.
    #[error("cannot keep the manifest on disk")]
    Io(#[source] io::Error),
}

impl Spool {
    pub(crate) fn new() -> Self {
        Self {
            memory: Vec::new(),
            file: None,
            bytes: 0,
        }
    }

    /// Whether the next bytes are only put into memory, so that taking them does not block.
    pub(crate) fn fits_in_memory(&self, next: &Bytes) -> bool {
        self.file.is_none() && self.memory.len() + next.len() <= MEMORY_BYTES
    }

    /// Whether all of it is in memory.
    pub(crate) fn is_small(&self) -> bool {
        self.file.is_none()
    }

    /// Takes in the next bytes. May block on the disk.
    pub(crate) fn push(&mut self, bytes: &Bytes, place: &Path) -> Result<(), SpoolError> {
        let total = self.bytes.saturating_add(bytes.len() as u64);
        if total > limit() {
            return Err(SpoolError::TooLong);
        }
        self.bytes = total;
        if self.fits_in_memory(bytes) {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile_in(place).map_err(SpoolError::Io)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&std::mem::take(&mut self.memory))
                .map_err(SpoolError::Io)?;
            file.write_all(bytes).map_err(SpoolError::Io)?;
        }
        Ok(())
    }

    /// Gives all bytes, if they are what the id says. Blocks on the disk and hashes.
    pub(crate) fn verified(self, id: TreeId) -> Result<Vec<u8>, SpoolError> {
        let found = self.digest(id.family())?;
        if found != id {
            return Err(SpoolError::WrongDigest { found });
        }
        self.into_bytes()
    }

    /// Gives all bytes, whatever they are. Blocks on the disk.
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, SpoolError> {
        let Some(mut file) = self.file else {
            return Ok(self.memory);
        };
        let mut bytes = Vec::with_capacity(usize::try_from(self.bytes).unwrap_or(0));
        file.rewind().map_err(SpoolError::Io)?;
        file.read_to_end(&mut bytes).map_err(SpoolError::Io)?;
        Ok(bytes)
    }

    fn digest(&self, family: Family) -> Result<TreeId, SpoolError> {
        let mut hasher = Hasher::new(family.hash_kind());
        hasher.update(&self.memory);
        if let Some(file) = &self.file {
            let mut file = file;
            file.rewind().map_err(SpoolError::Io)?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = file.read(&mut buffer).map_err(SpoolError::Io)?;
                if count == 0 {
                    break;
                }
                hasher.update(&buffer[..count]);
            }
        }
        let blob = hasher.finish();
        TreeId::new(family, blob.digest())
            .map_err(|error| SpoolError::Io(io::Error::other(error.to_string())))
    }
}

fn limit() -> u64 {
    u64::try_from(MAX_MANIFEST_BYTES).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_given_only_if_it_is_the_right_one() {
        let place = tempfile::tempdir().unwrap();
        for size in [0, 10, MEMORY_BYTES, MEMORY_BYTES + 1, 3 * MEMORY_BYTES] {
            let text = vec![b'x'; size];
            let id = TreeId::of_manifest(Family::Sha256, &text);
            let spool = || {
                let mut spool = Spool::new();
                for part in text.chunks(300_000) {
                    spool
                        .push(&Bytes::copy_from_slice(part), place.path())
                        .unwrap();
                }
                spool
            };
            assert_eq!(spool().verified(id).unwrap(), text, "{size}");
            let other = TreeId::of_manifest(Family::Sha256, b"other");
            let error = spool().verified(other).unwrap_err();
            assert!(matches!(error, SpoolError::WrongDigest { found } if found == id));
        }
    }

    #[test]
    fn a_manifest_without_end_is_cut_off() {
        let place = tempfile::tempdir().unwrap();
        let mut spool = Spool::new();
        let part = Bytes::from(vec![0; 1024 * 1024]);
        let taken = (0..100)
            .take_while(|_| spool.push(&part, place.path()).is_ok())
            .count();
        assert_eq!(taken as u64 * 1024 * 1024, limit());
    }
}
