//! A user on a host, and a node of theirs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use zeroshare_network::{Host, Running, program, wait_until};

use crate::measure::{CpuMeter, Sample};

/// How long anything may take to start.
const START: Duration = Duration::from_secs(30);

/// Directories of one's own on a host, so that two nodes can live side by side on one machine.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    pub(crate) host: &'a Host,
    home: PathBuf,
    cache: PathBuf,
}

/// A node that runs; told to leave when dropped.
#[derive(Debug)]
pub(crate) struct Node(Running);

impl<'a> Seat<'a> {
    /// A new user of this name, whose store and index lie in `cache`.
    pub(crate) fn new(host: &'a Host, name: &str, cache: &Path) -> Result<Self> {
        let home = host.home().join(name);
        if home.exists() {
            fs::remove_dir_all(&home)?;
        }
        for part in ["run", "config", "state", "system"] {
            fs::create_dir_all(home.join(part))?;
        }
        fs::create_dir_all(cache)?;
        Ok(Self {
            host,
            home,
            cache: cache.to_owned(),
        })
    }

    /// The user's store.
    pub(crate) fn store(&self) -> PathBuf {
        self.cache.join("0install.net/implementations")
    }

    /// Where the index lies.
    pub(crate) fn index(&self) -> PathBuf {
        self.cache.join("zeroshare")
    }

    /// A command of this user, for use within the host's network.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, words: &[&str]) -> Command {
        let mut command = self.host.bare_command(program);
        command
            .args(words)
            .env("HOME", &self.home)
            .env("XDG_RUNTIME_DIR", self.home.join("run"))
            .env("XDG_CACHE_HOME", &self.cache)
            .env("XDG_CONFIG_HOME", self.home.join("config"))
            .env("XDG_STATE_HOME", self.home.join("state"));
        command
    }

    /// Our command.
    pub(crate) fn zeroshare(&self, words: &[&str]) -> Result<Command> {
        Ok(self.command(program("zeroshare")?, words))
    }

    /// Starts a node and waits until it answers.
    pub(crate) fn node(&self, words: &[&str]) -> Result<Node> {
        let command = self.zeroshare(&[&["node"], words].concat())?;
        let node = self.host.within(|| self.host.spawn_command(command))?;
        let ready = wait_until("the node answers", START, || {
            Ok(self.try_run(self.zeroshare(&["status"])?)?.is_ok())
        });
        ready.with_context(|| node.log())?;
        Ok(Node(node))
    }

    /// Runs a command, which must succeed, and gives what it printed.
    pub(crate) fn run(&self, command: Command) -> Result<String> {
        match self.try_run(command)? {
            Ok(said) => Ok(said),
            Err(complaint) => bail!("{complaint}"),
        }
    }

    /// Runs a command: what it printed, or what it complained about.
    pub(crate) fn try_run(&self, command: Command) -> Result<Result<String, String>> {
        self.host.within(|| finish(command))
    }

    /// Runs a command, which must succeed: what it took, and what it printed.
    pub(crate) fn timed(&self, command: Command) -> Result<(Sample, String)> {
        self.host.within(|| {
            let meter = CpuMeter::start()?;
            let said = finish(command)?;
            let took = meter.sample()?;
            match said {
                Ok(said) => Ok((took, said)),
                Err(complaint) => bail!("{complaint}"),
            }
        })
    }

    /// Runs our command, which prints JSON.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<Value> {
        let said = self.run(self.zeroshare(&[words, &["--json"]].concat())?)?;
        serde_json::from_str(&said).with_context(|| format!("not JSON: {said}"))
    }

    /// Waits until this user's node offers so many trees and files.
    pub(crate) fn wait_until_offered(&self, count: usize, deadline: Duration) -> Result<()> {
        wait_until("all is offered", deadline, || Ok(self.offered()? >= count))?;
        Ok(())
    }

    /// How many trees and files this user's node offers.
    pub(crate) fn offered(&self) -> Result<usize> {
        let listed = self.ask(&["list"])?;
        let contents = listed["contents"].as_array().context("nothing is listed")?;
        let offered = contents.iter().filter(|held| held["offered"] == true);
        Ok(offered.count())
    }

    /// Waits until this user finds an id at a peer.
    pub(crate) fn wait_until_found(&self, id: &str) -> Result<()> {
        wait_until("it is found", START, || {
            Ok(self.try_run(self.zeroshare(&["find", id])?)?.is_ok())
        })?;
        Ok(())
    }

    /// Waits until this user's node knows so many peers.
    pub(crate) fn wait_until_peers(&self, count: usize) -> Result<()> {
        wait_until("the neighbours are known", START, || {
            let peers = self.ask(&["peers"])?;
            Ok(peers["peers"].as_array().map_or(0, Vec::len) >= count)
        })?;
        Ok(())
    }
}

impl Node {
    /// The process.
    pub(crate) fn process(&self) -> &Running {
        &self.0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.0.signal(Signal::TERM).is_ok() {
            // Whoever does not leave is killed by its own drop.
            self.0.wait(Duration::from_secs(5)).ok();
        }
    }
}

fn finish(mut command: Command) -> Result<Result<String, String>> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(Ok(said));
    }
    Ok(Err(format!(
        "{command:?}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )))
}
