//! `zeroshare mount` on a host.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use zeroshare_network::{Host, Running, program, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

/// A mount; what is left of it when it is dropped is taken away.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) running: Running,
    scratch: TempDir,
}

impl Mounted {
    pub(crate) fn start(host: &Host, words: &[&str]) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("zeroshare-mount-")
            .tempdir()?;
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
        // The store is to be seen by all users, as one of the machine's is.
        fs::set_permissions(host.home(), fs::Permissions::from_mode(0o755))?;
        let running = start_at(host, &scratch.path().join("lan"), words)?;
        Ok(Self { running, scratch })
    }

    /// Where it is mounted.
    pub(crate) fn dir(&self) -> PathBuf {
        self.scratch.path().join("lan")
    }

    /// Mounts there once more.
    pub(crate) fn restart(&mut self, host: &Host) -> Result<()> {
        self.restart_with(host, &[])
    }

    pub(crate) fn restart_with(&mut self, host: &Host, words: &[&str]) -> Result<()> {
        self.running = start_at(host, &self.dir(), words)?;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.running.kill().ok();
        Command::new("umount")
            .arg("-l")
            .arg(self.dir())
            .output()
            .ok();
    }
}

fn start_at(host: &Host, dir: &Path, words: &[&str]) -> Result<Running> {
    let place = dir.to_str().context("an odd directory")?;
    let path = program("zeroshare")?;
    // Not by `ip`, which gives its programs mounts of their own.
    let running = host.within(|| {
        let mut command = host.bare_command(path);
        command.args(["mount", place, "--json", "-v"]).args(words);
        host.spawn_command(command)
    })?;
    let ready = wait_until("it is mounted", LIMIT, || {
        Ok(running.log().contains(r#"{"mount":"#))
    });
    ready.with_context(|| running.log())?;
    Ok(running)
}

/// Whether something is mounted there.
pub(crate) fn is_mounted(dir: &Path) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let place = dir.to_str().context("an odd directory")?;
    Ok(mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(place)))
}
