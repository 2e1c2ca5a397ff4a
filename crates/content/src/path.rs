use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::escape::fmt_escaped;
use crate::name::check_name;
use crate::{MAX_DEPTH, MAX_PATH_BYTES, Name, NameError};

/// Where an entry lies below the root of its tree: one to [`MAX_DEPTH`] names, joined by `/`.
///
/// It never starts or ends with `/`, and none of its names leads elsewhere. Its order is that of
/// its bytes, which is not the order of a manifest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Box<[u8]>);

impl TreePath {
    /// Takes names joined by `/`.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        check_path(&bytes)?;
        Ok(Self(bytes))
    }

    /// The names joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as `std` wants it, relative.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The names, the outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// How many names it has.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// The last name.
    pub fn name(&self) -> &[u8] {
        self.cut().map_or(&self.0, |cut| &self.0[cut + 1..])
    }

    /// The directory that it lies in; `None` for the root of the tree.
    pub fn parent(&self) -> Option<Self> {
        self.cut().map(|cut| Self(self.0[..cut].into()))
    }

    /// The path of an entry of the directory that this is the path of.
    pub fn join(&self, name: &Name) -> Result<Self, PathError> {
        let joined = join_unchecked(&self.0, name.as_bytes());
        check_extent(&joined)?;
        Ok(Self(joined))
    }

    /// Takes bytes that were checked name by name, and in length and depth.
    pub(crate) fn from_checked(bytes: Box<[u8]>) -> Self {
        Self(bytes)
    }

    fn cut(&self) -> Option<usize> {
        self.0.iter().rposition(|byte| *byte == b'/')
    }
}

impl From<Name> for TreePath {
    fn from(name: Name) -> Self {
        Self(name.as_bytes().into())
    }
}

impl TryFrom<&[u8]> for TreePath {
    type Error = PathError;

    fn try_from(bytes: &[u8]) -> Result<Self, PathError> {
        Self::new(bytes)
    }
}

impl TryFrom<&Path> for TreePath {
    type Error = PathError;

    fn try_from(path: &Path) -> Result<Self, PathError> {
        Self::new(path.as_os_str().as_bytes())
    }
}

impl AsRef<Path> for TreePath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_escaped(&self.0, f)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Why bytes are not the path of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// One of its names is none.
    #[error("it has {0}")]
    Name(NameError),
    /// It is longer than the system takes.
    #[error("a path of {bytes} bytes, where at most {MAX_PATH_BYTES} are possible")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It leads down too far.
    #[error("a path of {depth} names, where at most {MAX_DEPTH} are taken")]
    TooDeep {
        /// How many names it has.
        depth: usize,
    },
}

pub(crate) fn join_unchecked(directory: &[u8], name: &[u8]) -> Box<[u8]> {
    if directory.is_empty() {
        name.into()
    } else {
        [directory, b"/", name].concat().into()
    }
}

pub(crate) fn check_path(bytes: &[u8]) -> Result<(), PathError> {
    check_extent(bytes)?;
    bytes
        .split(|byte| *byte == b'/')
        .try_for_each(check_name)
        .map_err(PathError::Name)
}

fn check_extent(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.len() > MAX_PATH_BYTES {
        return Err(PathError::TooLong { bytes: bytes.len() });
    }
    let depth = bytes.split(|byte| *byte == b'/').count();
    if depth > MAX_DEPTH {
        return Err(PathError::TooDeep { depth });
    }
    Ok(())
}
