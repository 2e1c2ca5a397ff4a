//! Opening the index file, whatever state it is in.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::{IndexError, IndexPlace, is_broken, schema};

/// Two nodes of one user may share the index; a transaction of the other one is shorter than this.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Page cache in KiB: lookups are few, and an idle node shall be small.
const CACHE_KIB: i64 = 1024;

pub(super) fn connect(place: &IndexPlace) -> Result<Connection, IndexError> {
    let IndexPlace::File(path) = place else {
        let mut connection = Connection::open_in_memory()?;
        schema::upgrade(&mut connection)?;
        return Ok(connection);
    };
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| IndexError::Prepare {
                path: path.clone(),
                source,
            })?;
    }
    match open_file(path) {
        Ok(connection) => Ok(connection),
        Err(error) if is_broken(&error) || schema::is_newer(&error) => {
            tracing::warn!(index = %path.display(), %error, "index cannot be read: starting a new one");
            move_aside(path)?;
            Ok(open_file(path)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps one broken index for whoever wants to look at it.
pub(super) fn move_aside(path: &Path) -> Result<(), IndexError> {
    for suffix in ["", "-wal", "-shm"] {
        let from = with_suffix(path, suffix);
        let to = with_suffix(path, &format!(".broken{suffix}"));
        match fs::rename(&from, &to) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IndexError::Prepare { path: from, source });
            }
            Err(_) | Ok(()) => {}
        }
    }
    Ok(())
}

fn open_file(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A lost transaction costs hashing, a broken file is moved aside: no need to wait for the disk.
    connection.pragma_update(None, "synchronous", "normal")?;
    // The process may be allowed to write nowhere but beside the index.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    schema::upgrade(&mut connection)?;
    Ok(connection)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
