//! An open file of a source.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use zeroshare_content::{Item, TreePath};

use crate::pieces::ReadError;
use crate::stamp::Stamp;

/// A file of the source; what is read from it counts once its stamp was looked at afterwards.
pub(super) struct Opened<'a> {
    pub(super) number: u32,
    pub(super) item: &'a Item,
    pub(super) path: &'a TreePath,
    pub(super) file: File,
    /// What it was when it was hashed; `None` while staged.
    pub(super) stamp: Option<Stamp>,
}

impl Opened<'_> {
    /// Reads, and makes sure that the file is still the one that was hashed.
    pub(super) fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), ReadError> {
        let read = self.file.read_exact_at(bytes, at);
        // Before the outcome is looked at: what is no file any more fails to be read in its own ways.
        self.check()?;
        read.map_err(|source| self.failure(source))
    }

    fn check(&self) -> Result<(), ReadError> {
        let Some(stamp) = self.stamp else {
            return Ok(());
        };
        let metadata = self
            .file
            .metadata()
            .map_err(|source| self.failure(source))?;
        if Stamp::of(&metadata) == stamp {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    pub(super) fn failure(&self, source: io::Error) -> ReadError {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return self.changed();
        }
        ReadError::Io {
            path: self.path.clone(),
            source,
        }
    }

    pub(super) fn changed(&self) -> ReadError {
        ReadError::Changed {
            path: self.path.clone(),
        }
    }

    pub(super) fn corrupt(&self) -> ReadError {
        ReadError::Corrupt {
            path: self.path.clone(),
        }
    }
}
