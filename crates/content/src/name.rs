use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

use crate::MAX_NAME_BYTES;
use crate::escape::fmt_escaped;

/// One name in a directory: bytes, UTF-8 or not.
///
/// Never empty, `.`, `..` or longer than [`MAX_NAME_BYTES`]; never with `/`, NUL or newline in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Takes bytes that a name may have.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, NameError> {
        let bytes = bytes.into();
        check_name(&bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes, as the file system has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name, as `std` wants it.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl TryFrom<&[u8]> for Name {
    type Error = NameError;

    fn try_from(bytes: &[u8]) -> Result<Self, NameError> {
        Self::new(bytes)
    }
}

impl TryFrom<&OsStr> for Name {
    type Error = NameError;

    fn try_from(name: &OsStr) -> Result<Self, NameError> {
        Self::new(name.as_bytes())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_escaped(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Why bytes are not a name that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There are none.
    #[error("an empty name")]
    Empty,
    /// `.` or `..`, which lead elsewhere.
    #[error("a name that is `.` or `..`")]
    Dots,
    /// A `/` would lead elsewhere.
    #[error("a name with a slash")]
    Slash,
    /// No file system has it.
    #[error("a name with a NUL byte")]
    Nul,
    /// Two trees could have one manifest.
    #[error("a name with a newline")]
    Newline,
    /// No file system has it.
    #[error("a name of {bytes} bytes, where at most {MAX_NAME_BYTES} are possible")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

pub(crate) fn check_name(bytes: &[u8]) -> Result<(), NameError> {
    match bytes {
        b"" => return Err(NameError::Empty),
        b"." | b".." => return Err(NameError::Dots),
        _ if bytes.len() > MAX_NAME_BYTES => {
            return Err(NameError::TooLong { bytes: bytes.len() });
        }
        _ => {}
    }
    let bad = bytes.iter().find_map(|byte| match byte {
        b'/' => Some(NameError::Slash),
        0 => Some(NameError::Nul),
        b'\n' => Some(NameError::Newline),
        _ => None,
    });
    bad.map_or(Ok(()), Err)
}
