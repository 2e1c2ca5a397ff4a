use crate::{MAX_CONTENT_BYTES, MAX_LINK_TARGET, NameError, PathError};

/// What is wrong with one line of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// The last line does not end.
    #[error("no newline at its end")]
    Unterminated,
    /// It starts like none that we know.
    #[error("it starts with none of `D /`, `F `, `X ` and `S `")]
    UnknownKind,
    /// Something is missing.
    #[error("it has too few fields")]
    TooFewFields,
    /// The hash cannot be read.
    #[error("the hash is not {digits} characters of 0-9a-f")]
    Hash {
        /// How many there must be.
        digits: usize,
    },
    /// The time is not a number, or not spelled as it would be written.
    #[error("the time is not a whole number in its shortest form")]
    Time,
    /// The size is not a number, or not spelled as it would be written.
    #[error("the size is not a whole number in its shortest form")]
    Size,
    /// Size and hash contradict each other: one of them is that of no bytes.
    #[error("the size is 0 without the hash of no bytes, or the other way round")]
    SizeOfNoBytes,
    /// No file system stores such a target.
    #[error(
        "the target of the symlink has {bytes} bytes, where 1 to {MAX_LINK_TARGET} are possible"
    )]
    LinkTarget {
        /// How long it is.
        bytes: u64,
    },
    /// All files together have more bytes than are counted.
    #[error("the files up to here have more than {MAX_CONTENT_BYTES} bytes")]
    TooMuchContent,
    /// The name is none.
    #[error("it has {0}")]
    Name(NameError),
    /// The path is none.
    #[error("{0}")]
    Path(PathError),
    /// All paths together are longer than what is read.
    #[error("the paths up to here are too long in all")]
    PathsTooLong,
    /// A store keeps the manifest under this name.
    #[error("the name `.manifest` at the root belongs to the manifest itself")]
    ManifestName,
    /// What it lies in was not listed, or was left before.
    #[error("the directory that it lies in is not the one before it or above that")]
    NoParent,
    /// The name occurs twice in one directory.
    #[error("its name occurs twice")]
    Duplicate,
    /// The order is not that of a manifest.
    #[error("it must stand before the line before it")]
    Order,
}
