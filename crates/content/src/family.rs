use std::fmt;
use std::str::FromStr;

use crate::HashKind;

/// Which digests can be compared: two trees of one family with equal digests are one tree.
///
/// `sha256` and `sha256new` are one family, since they are the same bytes in two spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// SHA-1 of the oldest manifest format, which is ambiguous: written and verified, but never
    /// read into a tree.
    Sha1,
    /// SHA-1 of the new format.
    Sha1New,
    /// SHA-256 of the new format.
    Sha256,
}

impl Family {
    /// All, the least preferred first.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha1New, Self::Sha256];

    /// The hash of manifest, files and link targets.
    pub const fn hash_kind(self) -> HashKind {
        match self {
            Self::Sha1 | Self::Sha1New => HashKind::Sha1,
            Self::Sha256 => HashKind::Sha256,
        }
    }

    /// The algorithms whose digests belong to it, the preferred one first.
    pub const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Sha1 => &[Algorithm::Sha1],
            Self::Sha1New => &[Algorithm::Sha1New],
            Self::Sha256 => &[Algorithm::Sha256New, Algorithm::Sha256],
        }
    }
}

/// How a manifest is made and how a store spells its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `sha1=HEX`, the oldest format.
    Sha1,
    /// `sha1new=HEX`.
    Sha1New,
    /// `sha256=HEX`.
    Sha256,
    /// `sha256new_BASE32`, the one to use.
    Sha256New,
}

impl Algorithm {
    /// All, the least preferred first.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha1New, Self::Sha256, Self::Sha256New];

    /// The family that its digests belong to.
    pub const fn family(self) -> Family {
        match self {
            Self::Sha1 => Family::Sha1,
            Self::Sha1New => Family::Sha1New,
            Self::Sha256 | Self::Sha256New => Family::Sha256,
        }
    }

    /// Its name, as `0install` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha1New => "sha1new",
            Self::Sha256 => "sha256",
            Self::Sha256New => "sha256new",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was given is not the name of an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an algorithm; they are sha1, sha1new, sha256 and sha256new")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or(UnknownAlgorithm)
    }
}
