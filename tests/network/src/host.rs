//! One host: a namespace, private directories, and the processes in it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{program, wait_until};

/// A machine of its own, as far as its programs can see.
#[derive(Debug)]
pub struct Host {
    namespace: String,
    number: u8,
    home: TempDir,
}

/// What a finished program left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Host {
    pub(crate) fn new(namespace: &str, number: u8) -> anyhow::Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("zeroshare-host-")
            .tempdir()?;
        for directory in ["run", "cache", "config", "state", "system"] {
            fs::create_dir(home.path().join(directory))?;
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            number,
            home,
        })
    }

    /// The name of its network namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its IPv4 address.
    pub fn address(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// Its home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Its user's Zero Install store.
    pub fn store(&self) -> PathBuf {
        self.home().join("cache/0install.net/implementations")
    }

    /// A command in this host, with nothing of our own environment but `PATH`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program);
        self.settle(&mut command);
        command
    }

    /// The same without the milliseconds that `ip` takes, for use within [`Host::within`] only.
    pub fn bare_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.settle(&mut command);
        command
    }

    fn settle(&self, command: &mut Command) {
        let home = self.home();
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("LANG", "C.UTF-8")
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_CACHE_DIRS", home.join("system"))
            .env("XDG_CONFIG_DIRS", home.join("system"))
            .stdin(Stdio::null());
    }

    /// Runs a program to its end.
    pub fn run(&self, program: &str, words: &[&str]) -> anyhow::Result<Output> {
        let output = self
            .command(program)
            .args(words)
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a program that must succeed, and gives what it printed, without white space around it.
    pub fn must(&self, program: &str, words: &[&str]) -> anyhow::Result<String> {
        let output = self.run(program, words)?;
        if !output.status.success() {
            bail!(
                "host {}: {program} {}: {}\n{}{}",
                self.number,
                words.join(" "),
                output.status,
                output.stdout,
                output.stderr
            );
        }
        Ok(output.stdout.trim().to_owned())
    }

    /// Runs `zeroshare`.
    pub fn zeroshare(&self, words: &[&str]) -> anyhow::Result<Output> {
        self.run(&zeroshare()?, words)
    }

    /// Runs `zeroshare`, which must succeed.
    pub fn must_zeroshare(&self, words: &[&str]) -> anyhow::Result<String> {
        self.must(&zeroshare()?, words)
    }

    /// Starts `zeroshare node` and waits until it answers.
    pub fn start_node(&self, words: &[&str]) -> anyhow::Result<Running> {
        let node = self.spawn(&zeroshare()?, &[&["node"], words].concat())?;
        let ready = wait_until("the node answers", Duration::from_secs(20), || {
            Ok(self.zeroshare(&["status", "--json"])?.status.success())
        });
        ready.with_context(|| node.log())?;
        Ok(node)
    }

    /// What `zeroshare status --json` says.
    pub fn status(&self) -> anyhow::Result<Value> {
        let text = self.must_zeroshare(&["status", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// Waits until this host's store has verified a tree and offers it.
    pub fn wait_until_offered(&self, id: &str) -> anyhow::Result<()> {
        wait_until("the tree is offered", Duration::from_mins(2), || {
            let listed: Value = serde_json::from_str(&self.must_zeroshare(&["list", "--json"])?)?;
            let offered = listed["contents"].as_array().is_some_and(|contents| {
                contents
                    .iter()
                    .any(|held| held["content_id"] == *id && held["offered"] == true)
            });
            Ok(offered)
        })?;
        Ok(())
    }

    /// Bytes that this host's node has sent to peers.
    pub fn sent_bytes(&self) -> anyhow::Result<u64> {
        let status = self.status()?;
        status["store"]["sent_bytes"]
            .as_u64()
            .with_context(|| format!("no sent_bytes in {status}"))
    }

    /// Starts a program and lets it run.
    pub fn spawn(&self, program: &str, words: &[&str]) -> anyhow::Result<Running> {
        let mut command = self.command(program);
        command.args(words);
        self.spawn_command(command)
    }

    /// Starts a command made by [`Host::command`]; what it writes goes to a file.
    pub fn spawn_command(&self, mut command: Command) -> anyhow::Result<Running> {
        let (file, log) = tempfile::Builder::new()
            .prefix("log-")
            .tempfile_in(self.home())?
            .keep()?;
        let child = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Running { child, log })
    }

    /// Runs a function in the host's network, on a thread of its own.
    pub fn inside<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<T>>> {
        let namespace = File::open(format!("/run/netns/{}", self.namespace))?;
        Ok(thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            function()
        }))
    }

    /// Tells a story while something else runs in the host's network: it says when it is ready, and ends when the story
    /// has been told, however that went.
    pub fn beside<T>(
        &self,
        other: impl FnOnce(&Sender<()>, &Receiver<()>) -> anyhow::Result<()> + Send + 'static,
        story: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (end, ended) = mpsc::channel();
        let (ready, begun) = mpsc::channel();
        let other = self.inside(move || {
            let ready = ready;
            other(&ready, &ended)
        })?;
        let told = begun
            .recv()
            .context("what should run beside the story did not start")
            .and_then(|()| story());
        drop(end);
        match other.join() {
            Ok(ended) => ended.and(told),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs a function in the host's network, and waits for it; what it starts is there too.
    pub fn within<T: Send>(
        &self,
        function: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let namespace = File::open(format!("/run/netns/{}", self.namespace))?;
        let work = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            function()
        };
        thread::scope(|scope| match scope.spawn(work).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Packets that the host's interface has sent so far.
    pub fn sent_packets(&self) -> anyhow::Result<u64> {
        self.counter("tx_packets")
    }

    /// Bytes that the host's interface has received so far.
    pub fn received_bytes(&self) -> anyhow::Result<u64> {
        self.counter("rx_bytes")
    }

    fn counter(&self, name: &str) -> anyhow::Result<u64> {
        let text = self.must("cat", &[&format!("/sys/class/net/eth0/statistics/{name}")])?;
        Ok(text.parse()?)
    }

    /// Kills whatever still runs in the namespace.
    pub(crate) fn kill_all(&self) {
        let Ok(output) = Command::new("ip")
            .args(["netns", "pids", &self.namespace])
            .output()
        else {
            return;
        };
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            if let Some(pid) = word.parse().ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile.
                kill_process(pid, Signal::KILL).ok();
            }
        }
    }
}

impl Running {
    /// Its process id (`ip netns exec` becomes the program itself).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it as `kill -9` does, and waits for it.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("no such process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let mut ended = None;
        wait_until("the program ends", deadline, || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })
        .with_context(|| self.log())?;
        ended.context("no status")
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Memory resident now, in KiB.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        self.status_field("VmRSS:")
    }

    /// The most memory that was ever resident, in KiB.
    pub fn peak_resident_kib(&self) -> anyhow::Result<u64> {
        self.status_field("VmHWM:")
    }

    fn status_field(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .context("no such field")?;
        let number = line.split_whitespace().nth(1).context("no number")?;
        Ok(number.parse()?)
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let (_, rest) = stat.rsplit_once(')').context("odd stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(
            ticks * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn zeroshare() -> anyhow::Result<String> {
    let path = program("zeroshare")?;
    Ok(path.to_str().context("an odd target directory")?.to_owned())
}
