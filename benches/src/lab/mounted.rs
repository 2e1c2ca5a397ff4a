//! A mount of a user on a host.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use zeroshare_network::{Running, wait_until};

use super::Seat;

/// How long anything may take to start, or to end.
const LIMIT: Duration = Duration::from_secs(30);

/// A mount of a node's user; taken away when dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    dir: PathBuf,
    running: Running,
}

impl Mounted {
    /// Mounts in the user's name on a new directory; their node runs.
    pub(crate) fn start(seat: &Seat<'_>, dir: &Path) -> Result<Self> {
        let place = dir.to_str().context("an odd directory")?;
        let command = seat.zeroshare(&["mount", place, "--with-node", "--json"])?;
        let running = seat.host.within(|| seat.host.spawn_command(command))?;
        let ready = wait_until("it is mounted", LIMIT, || {
            Ok(running.log().contains(r#"{"mount":"#))
        });
        ready.with_context(|| running.log())?;
        let dir = dir.to_owned();
        Ok(Self { dir, running })
    }

    /// Where a tree is shown.
    pub(crate) fn tree(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// Waits until a tree is here in full, and lookups lead to where it lies.
    pub(crate) fn wait_until_here(&self, id: &str) -> Result<PathBuf> {
        let path = self.tree(id);
        wait_until("the tree is here in full", Duration::from_mins(5), || {
            Ok(fs::read_link(&path).is_ok())
        })?;
        Ok(fs::read_link(path)?)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.running.signal(Signal::TERM).is_ok() {
            self.running.wait(LIMIT).ok();
        }
        unmount(&self.dir);
    }
}

/// Takes away whatever is mounted on a directory, and what is left of a mount whose process is gone.
pub(crate) fn unmount(dir: &Path) {
    // Most often it is gone already, which umount complains about.
    Command::new("umount").arg("-l").arg(dir).output().ok();
}
