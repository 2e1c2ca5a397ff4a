//! Hashing one open file in every way that is asked for, in one pass.

use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroU64;
use std::ops::ControlFlow;

use rustix::fs::Advice;
use zeroshare_content::{FileDigests, GRAIN, HashKind, Hasher};
use zeroshare_proof::{GrainHasher, Midstates};

use crate::stamp::Stamp;

/// Is told how many more bytes were read, and may stop the reading.
pub(crate) type OnBytes<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// How much is read at once: larger reads gain nothing.
const BUFFER_BYTES: usize = 256 * 1024;

/// So much the disk is asked for ahead of what is hashed: hashing takes as long as reading, and they go on side by side.
const AHEAD_BYTES: u64 = 4 * 1024 * 1024;

/// Hashes files one after the other with one buffer.
pub(crate) struct FileDigester {
    kinds: Vec<HashKind>,
    buffer: Vec<u8>,
}

/// What a file hashes to.
pub(crate) struct Digested {
    pub(crate) stamp: Stamp,
    pub(crate) executable: bool,
    pub(crate) digests: FileDigests,
    /// For files of more than a grain, when SHA-256 was asked for.
    pub(crate) midstates: Option<Midstates>,
}

/// Why a file was not hashed.
pub(crate) enum DigestError {
    Io(io::Error),
    /// It is not the same file behind its last byte as it was before its first.
    Changed,
    Stopped,
}

impl From<io::Error> for DigestError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Asks the disk for the start of a file that is read soon.
pub(crate) fn read_soon(file: &File) {
    ask_for(file, 0);
}

/// Asks the disk for some bytes of a file; where that is not possible they are waited for later.
fn ask_for(file: &File, from: u64) {
    let _asked = rustix::fs::fadvise(file, from, NonZeroU64::new(AHEAD_BYTES), Advice::WillNeed);
}

impl FileDigester {
    pub(crate) fn new(kinds: &[HashKind]) -> Self {
        Self {
            kinds: kinds.to_vec(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    pub(crate) fn digest(
        &mut self,
        mut file: File,
        on_bytes: &mut OnBytes<'_>,
    ) -> Result<Digested, DigestError> {
        let metadata = file.metadata()?;
        let stamp = Stamp::of(&metadata);
        let executable =
            std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
        let mut sha1 = self
            .kinds
            .contains(&HashKind::Sha1)
            .then(|| Hasher::new(HashKind::Sha1));
        let mut sha256 = self
            .kinds
            .contains(&HashKind::Sha256)
            .then(GrainHasher::new);

        let mut done = 0_u64;
        if stamp.size > AHEAD_BYTES {
            ask_for(&file, 0);
            ask_for(&file, AHEAD_BYTES);
        }
        loop {
            let read = file.read(&mut self.buffer)?;
            let bytes = self.buffer.get(..read).unwrap_or_default();
            let before = done;
            done += bytes.len() as u64;
            if before / AHEAD_BYTES != done / AHEAD_BYTES && done < stamp.size {
                ask_for(&file, (done / AHEAD_BYTES + 1) * AHEAD_BYTES);
            }
            if done > stamp.size {
                return Err(DigestError::Changed);
            }
            if bytes.is_empty() {
                break;
            }
            if let Some(hasher) = &mut sha1 {
                hasher.update(bytes);
            }
            if let Some(hasher) = &mut sha256 {
                hasher.update(bytes);
            }
            if on_bytes(bytes.len() as u64).is_break() {
                return Err(DigestError::Stopped);
            }
        }
        if done != stamp.size || Stamp::of(&file.metadata()?) != stamp {
            return Err(DigestError::Changed);
        }

        let mut digests: FileDigests = sha1.map(Hasher::finish).into_iter().collect();
        let midstates = sha256.map(|hasher| {
            let (blob, midstates) = hasher.finish();
            digests.insert(blob);
            midstates
        });
        Ok(Digested {
            stamp,
            executable,
            digests,
            midstates: midstates.filter(|_| stamp.size > GRAIN),
        })
    }
}
