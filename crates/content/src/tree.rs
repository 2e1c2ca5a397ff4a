use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};

use crate::id::digest_error;
use crate::{Algorithm, BlobId, ContentId, Family, IdError};

/// A tree, named by the digest of its manifest.
///
/// Shown as `sha256new_…`, `sha1new=…` or `sha1=…`. Two spellings of the same bytes (`sha256=…` and
/// `sha256new_…`) are one id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(Digest);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Digest {
    Sha1([u8; 20]),
    Sha1New([u8; 20]),
    Sha256([u8; 32]),
}

impl TreeId {
    /// Takes a raw digest, which must have as many bytes as the family's hash gives.
    pub fn new(family: Family, digest: &[u8]) -> Result<Self, IdError> {
        let wrong_length = || IdError::DigestLength {
            given: digest.len(),
            expected: family.hash_kind().digest_bytes(),
        };
        Ok(Self(match family {
            Family::Sha1 => Digest::Sha1(digest.try_into().map_err(|_| wrong_length())?),
            Family::Sha1New => Digest::Sha1New(digest.try_into().map_err(|_| wrong_length())?),
            Family::Sha256 => Digest::Sha256(digest.try_into().map_err(|_| wrong_length())?),
        }))
    }

    /// Names the tree that has this manifest.
    pub fn of_manifest(family: Family, manifest: &[u8]) -> Self {
        match (family, BlobId::of(family.hash_kind(), manifest)) {
            (Family::Sha1, BlobId::Sha1(digest)) => Self(Digest::Sha1(digest)),
            (_, BlobId::Sha1(digest)) => Self(Digest::Sha1New(digest)),
            (_, BlobId::Sha256(digest)) => Self(Digest::Sha256(digest)),
        }
    }

    /// Says with which other digests it can be compared.
    pub fn family(&self) -> Family {
        match self.0 {
            Digest::Sha1(_) => Family::Sha1,
            Digest::Sha1New(_) => Family::Sha1New,
            Digest::Sha256(_) => Family::Sha256,
        }
    }

    /// The raw digest.
    pub fn digest(&self) -> &[u8] {
        match &self.0 {
            Digest::Sha1(digest) | Digest::Sha1New(digest) => digest,
            Digest::Sha256(digest) => digest,
        }
    }

    /// The name of its directory in a store under one algorithm; `None` if that is of another
    /// family.
    pub fn directory_name(&self, algorithm: Algorithm) -> Option<String> {
        (algorithm.family() == self.family()).then(|| match algorithm {
            Algorithm::Sha256New => {
                format!("sha256new_{}", BASE32_NOPAD.encode_display(self.digest()))
            }
            Algorithm::Sha1 | Algorithm::Sha1New | Algorithm::Sha256 => {
                format!("{algorithm}={}", HEXLOWER.encode_display(self.digest()))
            }
        })
    }

    /// The names that its directory may have in a store, the preferred one first.
    pub fn directory_names(&self) -> Vec<String> {
        let algorithms = self.family().algorithms().iter();
        algorithms
            .filter_map(|algorithm| self.directory_name(*algorithm))
            .collect()
    }

    /// Reads the name of a directory in a store; `None` if it is not exactly one that names a tree.
    pub fn from_directory_name(name: &[u8]) -> Option<Self> {
        let text = str::from_utf8(name).ok()?;
        let id = Self::from_str(text).ok()?;
        id.directory_names()
            .iter()
            .any(|spelled| spelled == text)
            .then_some(id)
    }
}

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Digest::Sha1(digest) => write!(f, "sha1={}", HEXLOWER.encode_display(digest)),
            Digest::Sha1New(digest) => write!(f, "sha1new={}", HEXLOWER.encode_display(digest)),
            Digest::Sha256(digest) => {
                write!(f, "sha256new_{}", BASE32_NOPAD.encode_display(digest))
            }
        }
    }
}

impl fmt::Debug for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TreeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match ContentId::from_str(text)? {
            ContentId::Tree(tree) => Ok(tree),
            ContentId::Blob(blob) => Err(IdError::BlobNotTree { blob }),
        }
    }
}

/// Every prefix of a tree's id, the algorithm it means, and the right form.
///
/// `sha256new=` is not how a store spells it, but people do, and 0install understands them.
const FORMS: [(&str, Algorithm, &str); 5] = [
    ("sha256new_", Algorithm::Sha256New, SHA256NEW_FORM),
    ("sha256new=", Algorithm::Sha256New, SHA256NEW_FORM),
    (
        "sha256=",
        Algorithm::Sha256,
        "sha256= and 64 characters of 0-9a-f",
    ),
    (
        "sha1new=",
        Algorithm::Sha1New,
        "sha1new= and 40 characters of 0-9a-f",
    ),
    (
        "sha1=",
        Algorithm::Sha1,
        "sha1= and 40 characters of 0-9a-f",
    ),
];

const SHA256NEW_FORM: &str = "sha256new_ and 52 characters of A-Z2-7, the last one A or Q";

/// Reads a tree's id; `None` if it starts like none.
pub(crate) fn parse_tree(given: &str) -> Option<Result<TreeId, IdError>> {
    FORMS.into_iter().find_map(|(prefix, algorithm, form)| {
        let rest = given.strip_prefix(prefix)?.as_bytes();
        let encoding = match algorithm {
            // 52 characters hold 260 bits: the decoder refuses a last one whose four spare bits are
            // not zero.
            Algorithm::Sha256New => BASE32_NOPAD,
            Algorithm::Sha1 | Algorithm::Sha1New | Algorithm::Sha256 => HEXLOWER,
        };
        let digest = encoding.decode(rest).ok();
        let id = digest.and_then(|digest| TreeId::new(algorithm.family(), &digest).ok());
        Some(id.ok_or_else(|| digest_error(given, form)))
    })
}
