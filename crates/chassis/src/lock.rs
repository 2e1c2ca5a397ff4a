//! One node for each runtime directory.
//!
//! Whoever can open a file can lock it, so the lock is its owner's alone. What the node says about itself lies beside it,
//! for all to read.

mod file;
mod liveness;

use std::{
    fmt,
    fs::{self, File, Permissions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

pub(crate) use self::file::{lock_within, open};
use crate::places::{Places, PlacesError, prepare_dir};

/// What a running node says about itself; more than that is somebody else's file.
const MAX_BYTES: u64 = 64 * 1024;

/// Somebody who only looks holds the lock for a moment: not yet a reason to say that a node runs.
const PATIENCE: Duration = Duration::from_millis(100);

/// Added to the name of the facts until they are complete.
const UNFINISHED: &str = "~";

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
    /// When its process started, in ticks since the machine did; tells it from a later one of the same number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ticks: Option<u64>,
}

/// Held by the node of these places for as long as it runs; the kernel releases it when the process dies.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
    facts_path: PathBuf,
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

impl NodeFacts {
    /// Says whether the process that wrote them still runs.
    fn is_alive(&self) -> bool {
        liveness::is_alive(self.pid, self.started_ticks)
    }
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
        if !lock_within(&file, PATIENCE).map_err(failed)? {
            let facts = read_facts(places);
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
            started_ticks: liveness::start_ticks(process::id()),
        };
        let lock = Self {
            _file: file,
            facts_path: places.facts_file(),
            facts,
        };
        lock.write().map_err(|source| LockError::Io {
            path: lock.facts_path.clone(),
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

    /// Writes the facts beside their place and moves them there: whoever reads them reads all of them.
    fn write(&self) -> io::Result<()> {
        let mut unfinished = self.facts_path.as_os_str().to_owned();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        fs::write(&unfinished, serde_json::to_vec(&self.facts)?)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o644))?;
        fs::rename(&unfinished, &self.facts_path)
    }
}

impl Drop for NodeLock {
    fn drop(&mut self) {
        // The lock's file stays: removing it would let two nodes lock two files of one name.
        drop(fs::remove_file(&self.facts_path));
    }
}

/// The node that runs in these places, if one does; looks only, and makes nothing.
///
/// Its owner is told by the lock; another user, who cannot open that, by whether the process that wrote the facts lives.
pub fn running(places: &Places) -> Option<Running> {
    let path = places.lock_file();
    let facts = read_facts(places);
    let is_running = match File::open(&path) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            facts.as_ref().is_some_and(NodeFacts::is_alive)
        }
        Err(_) => false,
    };
    is_running.then_some(Running { facts, path })
}

fn read_facts(places: &Places) -> Option<NodeFacts> {
    let mut text = Vec::new();
    let file = open_facts(&places.facts_file()).ok()?;
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn open_facts(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
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

    /// More than the kernel counts to.
    const NOBODY: u32 = 0x7fff_ffff;

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
        let left = r#"{"pid":1,"version":"9","started":0}"#;
        fs::write(places.lock_file(), "").unwrap();
        fs::write(places.facts_file(), left).unwrap();
        assert_eq!(running(&places), None);
        let lock = NodeLock::acquire(&places, "1.2.3").unwrap();
        assert_eq!(lock.facts().pid, process::id());
    }

    #[test]
    fn garbage_in_the_facts_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let _lock = NodeLock::acquire(&places, "1").unwrap();
        fs::write(places.facts_file(), [0xff; 100]).unwrap();
        assert_eq!(running(&places).unwrap().facts, None);
    }

    #[test]
    fn all_may_read_the_facts_and_only_the_owner_can_hold_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let mut lock = NodeLock::acquire(&places, "1").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(places.lock_file()), 0o600);
        assert_eq!(mode(places.facts_file()), 0o644);
        lock.set_ports(vec![1]).unwrap();
        assert_eq!(mode(places.facts_file()), 0o644);
        drop(lock);
        assert!(!places.facts_file().exists());
    }

    #[test]
    fn who_cannot_open_the_lock_is_told_by_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let lock = NodeLock::acquire(&places, "1").unwrap();
        assert!(read_facts(&places).unwrap().is_alive());
        let left = NodeFacts {
            pid: NOBODY,
            ..lock.facts().clone()
        };
        assert!(!left.is_alive());
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
