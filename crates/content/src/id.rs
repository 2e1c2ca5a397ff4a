use std::fmt;
use std::str::FromStr;

use crate::blob::parse_blob;
use crate::escape::shortened;
use crate::tree::parse_tree;
use crate::{BlobId, Family, HashKind, TreeId};

/// What can be asked for: a tree or a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentId {
    /// A directory, by the digest of its manifest.
    Tree(TreeId),
    /// The contents of one file.
    Blob(BlobId),
}

impl ContentId {
    /// The bytes that a tag on UDP is made of: one byte for the family, then the raw digest.
    ///
    /// The numbers are protocol: 1 `sha1`, 2 `sha1new` and 3 `sha256` trees, 17 `sha1` and 18
    /// `sha256` blobs.
    pub fn tag_input(&self) -> Vec<u8> {
        let (family, digest) = match self {
            Self::Tree(tree) => (tree_number(tree.family()), tree.digest()),
            Self::Blob(blob) => (blob_number(blob.kind()), blob.digest()),
        };
        let mut input = Vec::with_capacity(1 + digest.len());
        input.push(family);
        input.extend_from_slice(digest);
        input
    }
}

fn tree_number(family: Family) -> u8 {
    match family {
        Family::Sha1 => 1,
        Family::Sha1New => 2,
        Family::Sha256 => 3,
    }
}

fn blob_number(kind: HashKind) -> u8 {
    match kind {
        HashKind::Sha1 => 17,
        HashKind::Sha256 => 18,
    }
}

impl ContentId {
    /// The tree, if it is one.
    pub fn tree(&self) -> Option<TreeId> {
        match self {
            Self::Tree(tree) => Some(*tree),
            Self::Blob(_) => None,
        }
    }

    /// The blob, if it is one.
    pub fn blob(&self) -> Option<BlobId> {
        match self {
            Self::Tree(_) => None,
            Self::Blob(blob) => Some(*blob),
        }
    }

    /// Says by which hash its files are named.
    pub fn hash_kind(&self) -> HashKind {
        match self {
            Self::Tree(tree) => tree.family().hash_kind(),
            Self::Blob(blob) => blob.kind(),
        }
    }

    /// Whether it can travel in pieces: all but trees of the oldest format, whose manifest is ambiguous.
    pub fn travels(&self) -> bool {
        !matches!(self, Self::Tree(tree) if tree.family() == Family::Sha1)
    }
}

impl From<&TreeId> for ContentId {
    fn from(tree: &TreeId) -> Self {
        Self::Tree(*tree)
    }
}

impl From<&BlobId> for ContentId {
    fn from(blob: &BlobId) -> Self {
        Self::Blob(*blob)
    }
}

impl From<&Self> for ContentId {
    fn from(id: &Self) -> Self {
        *id
    }
}

impl From<TreeId> for ContentId {
    fn from(tree: TreeId) -> Self {
        Self::Tree(tree)
    }
}

impl From<BlobId> for ContentId {
    fn from(blob: BlobId) -> Self {
        Self::Blob(blob)
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(tree) => fmt::Display::fmt(tree, f),
            Self::Blob(blob) => fmt::Display::fmt(blob, f),
        }
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if let Some(hex) = text.strip_prefix("sha256:") {
            return Err(IdError::TreeOrBlob {
                hex: shortened(hex.as_bytes()),
            });
        }
        let parsed = match text.strip_prefix("blob:") {
            Some(rest) => parse_blob(text, rest).map(|blob| blob.map(Self::Blob)),
            None => parse_tree(text).map(|tree| tree.map(Self::Tree)),
        };
        parsed.unwrap_or_else(|| {
            Err(IdError::UnknownForm {
                given: shortened(text.as_bytes()),
            })
        })
    }
}

/// What was given is not an id of the kind that is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// It starts like no id at all.
    #[error(
        "`{given}` is not an id; an id looks like sha256new_ and 52 characters of A-Z2-7, \
         sha256= and 64, sha1new= and 40 or sha1= and 40 characters of 0-9a-f, \
         or blob:sha256: and 64 characters of 0-9a-f"
    )]
    UnknownForm {
        /// What was given, shortened.
        given: String,
    },
    /// It may mean either kind.
    #[error(
        "`sha256:{hex}` may mean two things: a tree is spelled sha256={hex}, \
         the contents of one file blob:sha256:{hex}"
    )]
    TreeOrBlob {
        /// What stands behind the colon, shortened.
        hex: String,
    },
    /// It starts well, but its digest cannot be read.
    #[error("`{given}` is not an id; the right form is {form}")]
    MalformedDigest {
        /// What was given, shortened.
        given: String,
        /// What it should look like.
        form: &'static str,
    },
    /// A raw digest has the wrong number of bytes.
    #[error("a digest of {given} bytes was given where {expected} are needed")]
    DigestLength {
        /// How many bytes were given.
        given: usize,
        /// How many it takes.
        expected: usize,
    },
    /// A tree is needed.
    #[error(
        "{blob} is a blob; what is needed here is a tree, such as sha256new_ and 52 characters of A-Z2-7"
    )]
    BlobNotTree {
        /// What was given.
        blob: BlobId,
    },
    /// A blob is needed.
    #[error(
        "{tree} is a tree; what is needed here is a blob, such as blob:sha256: and 64 characters of 0-9a-f"
    )]
    TreeNotBlob {
        /// What was given.
        tree: TreeId,
    },
}

pub(crate) fn digest_error(given: &str, form: &'static str) -> IdError {
    IdError::MalformedDigest {
        given: shortened(given.as_bytes()),
        form,
    }
}
