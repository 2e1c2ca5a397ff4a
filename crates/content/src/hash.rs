use std::fmt;

use sha2::Digest as _;

use crate::BlobId;

/// The hash function that names the contents of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashKind {
    /// SHA-1, in old trees only: it has practical collisions.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl HashKind {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::Sha1, Self::Sha256];

    /// Says how many bytes its digest has.
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

impl fmt::Display for HashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        })
    }
}

/// Hashes the contents of one file part by part.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl Hasher {
    /// Starts with no bytes.
    pub fn new(kind: HashKind) -> Self {
        Self(match kind {
            HashKind::Sha1 => State::Sha1(sha1::Sha1::default()),
            HashKind::Sha256 => State::Sha256(sha2::Sha256::default()),
        })
    }

    /// Takes in the bytes that come next.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(hasher) => hasher.update(bytes),
            State::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// Names all bytes taken in.
    pub fn finish(self) -> BlobId {
        match self.0 {
            State::Sha1(hasher) => BlobId::Sha1(hasher.finalize().into()),
            State::Sha256(hasher) => BlobId::Sha256(hasher.finalize().into()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Sha1(_) => "Hasher(sha1)",
            State::Sha256(_) => "Hasher(sha256)",
        })
    }
}
