//! One node for each runtime directory.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::places::{Places, PlacesError, prepare_dir};

/// What a running node says about itself; more than that is somebody else's file.
const MAX_BYTES: u64 = 64 * 1024;

/// Somebody who only looks holds the lock for a moment: not yet a reason to say that a node runs.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(5);

/// What a running node says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// The ports it listens on, once it does.
    #[serde(default)]
    pub ports: Vec<u16>,
}

/// Held by the node of these places for as long as it runs; the kernel releases it when the process dies.
#[derive(Debug)]
pub struct NodeLock {
    file: File,
    path: PathBuf,
    facts: NodeFacts,
}

/// Why the lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another node has the places.
    #[error(transparent)]
    Running(Running),
    /// The runtime directory is unusable.
    #[error(transparent)]
    Places(PlacesError),
    /// The lock's file is.
    #[error("cannot use the lock {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Another node has the places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Running {
    /// What it says about itself; nothing while it is just starting.
    pub facts: Option<NodeFacts>,
    /// Its lock.
    pub path: PathBuf,
}

impl NodeLock {
    /// Takes the lock of these places, or says who has it.
    pub fn acquire(places: &Places, version: &str) -> Result<Self, LockError> {
        let mode = if places.socket_mode() == 0o600 {
            0o700
        } else {
            0o755
        };
        prepare_dir(&places.runtime_dir, mode).map_err(LockError::Places)?;
        let path = places.lock_file();
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let file = open(&path).map_err(failed)?;
        if !try_lock(&file).map_err(failed)? {
            let facts = read_facts(&file);
            return Err(LockError::Running(Running { facts, path }));
        }
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let facts = NodeFacts {
            pid: process::id(),
            version: version.to_owned(),
            started,
            ports: Vec::new(),
        };
        let mut lock = Self { file, path, facts };
        lock.write().map_err(|source| LockError::Io {
            path: lock.path.clone(),
            source,
        })?;
        Ok(lock)
    }

    /// Says which ports the node listens on.
    pub fn set_ports(&mut self, ports: Vec<u16>) -> io::Result<()> {
        self.facts.ports = ports;
        self.write()
    }

    /// What this node says about itself.
    pub fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    fn write(&mut self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.facts)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)
    }
}

impl Drop for NodeLock {
    fn drop(&mut self) {
        // An empty file says nothing wrong; removing it would let two nodes lock two files of one name.
        drop(self.file.set_len(0));
    }
}

/// The node that runs in these places, if one does; looks only, and makes nothing.
pub fn running(places: &Places) -> Option<Running> {
    let path = places.lock_file();
    let file = OpenOptions::new().read(true).open(&path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(Running {
            facts: read_facts(&file),
            path,
        }),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644);
    let file = options.open(path)?;
    if fs::symlink_metadata(path)?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    for _ in 0..LOOKS {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => thread::sleep(LOOK),
        }
    }
    Ok(false)
}

fn read_facts(mut file: &File) -> Option<NodeFacts> {
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.facts {
            Some(facts) => {
                write!(
                    f,
                    "a node runs already: process {}, version {}",
                    facts.pid, facts.version
                )?;
                for port in &facts.ports {
                    write!(f, ", port {port}")?;
                }
                Ok(())
            }
            None => write!(f, "a node is just starting; it has {}", self.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Owner;

    #[test]
    fn the_second_node_learns_about_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        assert_eq!(running(&places), None);
        let mut first = NodeLock::acquire(&places, "1.2.3").unwrap();
        first.set_ports(vec![38339]).unwrap();
        let Err(LockError::Running(found)) = NodeLock::acquire(&places, "1.2.4") else {
            panic!("two nodes in one place");
        };
        assert_eq!(found.facts.as_ref(), Some(first.facts()));
        assert_eq!(running(&places), Some(found.clone()));
        let text = found.to_string();
        assert!(text.contains("1.2.3") && text.contains("38339"), "{text}");
        drop(first);
        assert_eq!(running(&places), None);
        drop(NodeLock::acquire(&places, "1.2.4").unwrap());
    }

    #[test]
    fn what_a_dead_node_left_behind_is_no_node() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        fs::create_dir_all(&places.runtime_dir).unwrap();
        fs::write(places.lock_file(), r#"{"pid":1,"version":"9","started":0}"#).unwrap();
        assert_eq!(running(&places), None);
        let lock = NodeLock::acquire(&places, "1.2.3").unwrap();
        assert_eq!(lock.facts().pid, process::id());
    }

    #[test]
    fn garbage_in_the_lock_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let mut lock = NodeLock::acquire(&places, "1").unwrap();
        lock.file.write_all(&[0xff; 100]).unwrap();
        assert_eq!(running(&places).unwrap().facts, None);
    }

    fn places(dir: &Path) -> Places {
        Places {
            owner: Owner::User,
            runtime_dir: dir.join("run"),
            state_dir: dir.join("state"),
            cache_dir: dir.join("cache"),
            config_file: dir.join("config.toml"),
        }
    }
}
