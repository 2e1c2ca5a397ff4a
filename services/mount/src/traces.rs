//! Looking at a process and at stores for traces of a download.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use zeroshare_content::TreeId;
use zeroshare_shelf::{Environment, RootKind, store_roots};

use crate::evidence::{Seen, connections, is_unfinished, may_download, socket};
use crate::hold::Process;

/// By which what a user downloads gets into the machine's store.
const HELPER: &str = "0store-secure-add-helper";

/// Where that is looked for if the user's own `PATH` cannot be seen.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Entries of a store, and open files of a process, that are looked at.
const MAX_ENTRIES: usize = 100_000;
const MAX_FILES: usize = 4096;

/// The process of a number, if it may download what it looks up; otherwise nobody waits for it, nor it for anybody.
pub(crate) fn downloader(id: u32) -> Option<Process> {
    let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words);
    if !may_download(words.split_terminator('\0')) {
        return None;
    }
    let start = started(id)?;
    Some(Process { id, start })
}

fn started(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before it may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// What is watched of one process.
#[derive(Debug)]
pub(crate) struct Traces {
    process: Process,
    /// Readable once the thread group is gone.
    pidfd: Option<OwnedFd>,
    tree: TreeId,
    /// Where it may put what it downloads.
    stores: BTreeSet<PathBuf>,
    /// Those of them, and others, of which peers may read.
    shared: Vec<PathBuf>,
    /// Downloads that were not finished when it began.
    old: BTreeSet<PathBuf>,
    can_share: bool,
}

impl Traces {
    /// Begins to watch a process that wants a tree.
    pub(crate) fn new(process: Process, tree: TreeId, shared: Vec<PathBuf>) -> Self {
        let pid = i32::try_from(process.id).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // The number may be somebody else's by now.
        let pidfd = pidfd.filter(|_| started(process.id) == Some(process.start));
        let variables = variables(process.id);
        let own: Vec<PathBuf> = variables
            .as_ref()
            .map(|variables| {
                let is_root = fs::metadata(format!("/proc/{}", process.id))
                    .is_ok_and(|status| status.uid() == 0);
                let environment = Environment {
                    home: variables.get("HOME").map(PathBuf::from),
                    vars: variables.clone(),
                    is_root,
                };
                let roots = store_roots(&environment, &[]).into_iter();
                // Into those that are only listed it writes nothing, and our own mount is one.
                let written = roots.filter(|root| root.kind != RootKind::Configured);
                written.map(|root| root.path).collect()
            })
            .unwrap_or_default();
        let path = variables.as_ref().and_then(|all| all.get("PATH").cloned());
        let can_share = variables.is_none()
            || own.first().is_some_and(|first| shared.contains(first))
            || has_helper(path.as_deref().unwrap_or(OsStr::new(USUAL_PATH)));
        let stores = own.into_iter().chain(shared.iter().cloned()).collect();
        let mut traces = Self {
            process,
            pidfd,
            tree,
            stores,
            shared,
            old: BTreeSet::new(),
            can_share,
        };
        traces.old = traces.unfinished().collect();
        traces
    }

    /// Whether peers may read what it downloads; otherwise nobody should wait for that.
    pub(crate) fn can_share(&self) -> bool {
        self.can_share
    }

    /// What is to be seen now.
    pub(crate) fn look(&self) -> Seen {
        let names = self.tree.directory_names();
        Seen {
            is_alive: self.is_alive(),
            has_landed: self
                .shared
                .iter()
                .any(|store| names.iter().any(|name| store.join(name).is_dir())),
            has_sign: self.unfinished().any(|path| !self.old.contains(&path))
                || self.is_connected(),
        }
    }

    fn is_alive(&self) -> bool {
        let Some(pidfd) = &self.pidfd else {
            return false;
        };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)) == Ok(0)
    }

    fn unfinished(&self) -> impl Iterator<Item = PathBuf> {
        let entries = self
            .stores
            .iter()
            .filter_map(|store| fs::read_dir(store).ok())
            .flat_map(|entries| entries.take(MAX_ENTRIES));
        let named = entries.filter_map(Result::ok).filter(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(is_unfinished)
        });
        named.map(|entry| entry.path())
    }

    /// Whether it has a connection; where that may not be seen, its words must do.
    fn is_connected(&self) -> bool {
        let place = Path::new("/proc").join(self.process.id.to_string());
        let Ok(files) = fs::read_dir(place.join("fd")) else {
            return downloader(self.process.id) == Some(self.process);
        };
        let links = files
            .take(MAX_FILES)
            .filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let sockets: BTreeSet<u64> = links.filter_map(|link| socket(link.to_str()?)).collect();
        let tables = ["net/tcp", "net/tcp6"].into_iter();
        let mut tables = tables.filter_map(|table| fs::read_to_string(place.join(table)).ok());
        tables.any(|table| connections(&table).any(|one| sockets.contains(&one)))
    }
}

/// The environment that a process was started with; `None`: that may not be seen.
fn variables(id: u32) -> Option<BTreeMap<String, OsString>> {
    let bytes = fs::read(format!("/proc/{id}/environ")).ok()?;
    let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let name = std::str::from_utf8(&pair[..at]).ok()?;
        let value = OsString::from_vec(pair[at + 1..].to_vec());
        Some((name.to_owned(), value))
    });
    Some(pairs.collect())
}

fn has_helper(path: &OsStr) -> bool {
    std::env::split_paths(path).any(|directory| directory.join(HELPER).is_file())
}
