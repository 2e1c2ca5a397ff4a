//! The node's key: 32 random bytes on disk, made at the first start.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use zeroshare_wire::datagram::SigningKey;

use crate::private::{make_dir, write_new};

/// The file in the directory for what the node keeps.
const KEY_FILE: &str = "node-key";

/// Why the node's key is not there.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness(#[source] getrandom::Error),
    /// It is not a key.
    #[error("{} is no node key of 32 bytes; remove it to get another", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// It is not for this user.
    #[error(
        "this user may not use {}: start it as the user whose node it is, or make it this user's: `sudo chown -R USER {}`",
        path.display(),
        path.parent().unwrap_or(path).display()
    )]
    Forbidden {
        /// The file.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl KeyError {
    fn of_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Forbidden { path }
        } else {
            Self::Io { path, source }
        }
    }
}

/// Random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(KeyError::NoRandomness)?;
    Ok(bytes)
}

/// A key that ends with the process.
pub fn in_memory() -> Result<SigningKey, KeyError> {
    Ok(SigningKey::from_seed(&random()?))
}

/// Reads the node's key; `None` before the first start.
pub fn existing(state_dir: &Path) -> Result<Option<SigningKey>, KeyError> {
    match read_key(&state_dir.join(KEY_FILE)) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Reads the node's key, and makes it at the first start.
pub fn on_disk(state_dir: &Path) -> Result<SigningKey, KeyError> {
    let path = state_dir.join(KEY_FILE);
    let failed = |source| KeyError::of_io(&path, source);
    if let Some(key) = existing(state_dir)? {
        return Ok(key);
    }
    make_dir(state_dir).map_err(failed)?;
    let seed: [u8; 32] = random()?;
    // Two that start at once both make one; the first link counts for both.
    let suffix = u64::from_be_bytes(random()?);
    let draft = state_dir.join(format!("{KEY_FILE}.{suffix:016x}"));
    let linked = write_new(&draft, &seed).and_then(|()| fs::hard_link(&draft, &path));
    drop(fs::remove_file(&draft));
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    sync_dir(state_dir);
    read_key(&path)
}

fn read_key(path: &Path) -> Result<SigningKey, KeyError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(33).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| KeyError::of_io(path, source))?;
    let seed: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Damaged {
        path: path.to_owned(),
    })?;
    Ok(SigningKey::from_seed(&seed))
}

fn sync_dir(dir: &Path) {
    // The key is there; at worst a power cut now gives the node another.
    drop(File::open(dir).and_then(|dir| dir.sync_all()));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert!(existing(&state).unwrap().is_none());
        let key = on_disk(&state).unwrap();
        let found = existing(&state).unwrap().unwrap();
        assert_eq!(found.node_id(), key.node_id());
        assert_eq!(on_disk(&state).unwrap().node_id(), key.node_id());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
    }

    #[test]
    fn who_may_not_use_it_is_told_what_to_do() {
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = KeyError::of_io(Path::new("/x/node-key"), refused).to_string();
        assert!(text.ends_with("`sudo chown -R USER /x`"), "{text}");
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [vec![7; 31], vec![7; 33], Vec::new()] {
            fs::write(dir.path().join(KEY_FILE), &bytes).unwrap();
            let error = on_disk(dir.path()).unwrap_err();
            assert!(matches!(error, KeyError::Damaged { .. }), "{error}");
            assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap(), bytes);
        }
    }
}
