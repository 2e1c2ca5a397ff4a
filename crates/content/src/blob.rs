use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

use crate::id::digest_error;
use crate::{ContentId, HashKind, Hasher, IdError};

/// The contents of one regular file (or the target of a symlink), named by their hash.
///
/// Shown as `blob:sha256:` or `blob:sha1:` and lower case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobId {
    /// Named by SHA-1, inside old trees.
    Sha1([u8; 20]),
    /// Named by SHA-256.
    Sha256([u8; 32]),
}

impl BlobId {
    /// Names bytes that are all at hand.
    pub fn of(kind: HashKind, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(kind);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Takes a raw digest; `None` if it has not as many bytes as the hash gives.
    pub fn from_digest(kind: HashKind, digest: &[u8]) -> Option<Self> {
        Some(match kind {
            HashKind::Sha1 => Self::Sha1(digest.try_into().ok()?),
            HashKind::Sha256 => Self::Sha256(digest.try_into().ok()?),
        })
    }

    /// Says by which hash it is named.
    pub fn kind(&self) -> HashKind {
        match self {
            Self::Sha1(_) => HashKind::Sha1,
            Self::Sha256(_) => HashKind::Sha256,
        }
    }

    /// The raw hash.
    pub fn digest(&self) -> &[u8] {
        match self {
            Self::Sha1(digest) => digest,
            Self::Sha256(digest) => digest,
        }
    }

    /// The hash as lower case hex, as manifests have it.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(self.digest())
    }

    /// Says whether this names the contents of an empty file.
    pub fn is_of_no_bytes(&self) -> bool {
        *self == Self::of(self.kind(), b"")
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "blob:{}:{}",
            self.kind(),
            HEXLOWER.encode_display(self.digest())
        )
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlobId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match ContentId::from_str(text)? {
            ContentId::Blob(blob) => Ok(blob),
            ContentId::Tree(tree) => Err(IdError::TreeNotBlob { tree }),
        }
    }
}

/// Reads what stands behind `blob:`; `None` if it names no hash that we know.
pub(crate) fn parse_blob(given: &str, rest: &str) -> Option<Result<BlobId, IdError>> {
    HashKind::ALL.into_iter().find_map(|kind| {
        let hex = rest.strip_prefix(&format!("{kind}:"))?;
        let blob = HEXLOWER
            .decode(hex.as_bytes())
            .ok()
            .and_then(|digest| BlobId::from_digest(kind, &digest));
        let form = match kind {
            HashKind::Sha1 => "blob:sha1: and 40 characters of 0-9a-f",
            HashKind::Sha256 => "blob:sha256: and 64 characters of 0-9a-f",
        };
        Some(blob.ok_or_else(|| digest_error(given, form)))
    })
}
