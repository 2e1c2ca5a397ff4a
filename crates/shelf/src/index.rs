//! What is known of trees on disk, kept between runs.

mod connect;
mod files;
mod schema;
mod trees;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode};

pub(crate) use files::{BlobPlace, FileRecord};
pub(crate) use trees::{TreeKey, TreeRecord, TreeSizes, TreeState};

/// The index: a cache of what hashing found out, in one `SQLite` file that processes may share.
///
/// It may be lost at any time; then trees are hashed again. So a broken file is moved aside, not repaired.
#[derive(Debug)]
pub(crate) struct Index {
    place: IndexPlace,
    connection: Mutex<Connection>,
}

/// Where an index is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexPlace {
    /// In a file, whose directory is made when it is missing.
    File(PathBuf),
    /// In memory, for as long as the process runs.
    Memory,
}

/// Why the index could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Its directory could not be made, or a broken file not moved aside.
    #[error("cannot prepare the index {}", path.display())]
    Prepare {
        /// The index file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `SQLite` refused.
    #[error("cannot use the index")]
    Database {
        /// What it says.
        source: rusqlite::Error,
    },
}

impl From<rusqlite::Error> for IndexError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database { source }
    }
}

impl Index {
    /// Opens or makes the index, upgrades it in place, and moves aside what cannot be read.
    pub(crate) fn open(place: IndexPlace) -> Result<Self, IndexError> {
        let connection = Mutex::new(connect::connect(&place)?);
        Ok(Self { place, connection })
    }

    /// Runs one operation; when the file turns out to be broken, starts an empty one and tries once more.
    fn with<T>(
        &self,
        operation: impl Fn(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let mut connection = self.lock();
        match operation(&mut connection) {
            Err(error) if is_broken(&error) => {
                let IndexPlace::File(path) = &self.place else {
                    return Err(error.into());
                };
                tracing::warn!(index = %path.display(), %error, "index is broken: starting a new one");
                *connection = Connection::open_in_memory()?;
                connect::move_aside(path)?;
                *connection = connect::connect(&self.place)?;
                Ok(operation(&mut connection)?)
            }
            done => Ok(done?),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // Every operation is one transaction, which a panic rolls back.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_broken(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// `SQLite`'s integers are signed; the bits are kept.
fn signed(value: u64) -> i64 {
    value.cast_signed()
}

fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}

fn path_bytes(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

#[cfg(test)]
mod tests;
