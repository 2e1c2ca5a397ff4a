//! One machine: booted, spoken to, and gone with all that it wrote.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use zeroshare_network::{Host, wait_until};

const BOOT: &str = include_str!("boot.sh");

/// Longer than a boot takes on a busy machine.
const BOOT_TIME: Duration = Duration::from_mins(2);

/// Where programs of its administrators and users are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A machine whose process 1 is systemd; killed when dropped.
#[derive(Debug)]
pub struct Machine {
    unshared: Child,
    /// Process 1, as it is called outside.
    init: u32,
    directory: TempDir,
}

/// What a program said.
#[derive(Debug)]
pub struct Said {
    /// Whether it succeeded.
    pub success: bool,
    /// What it printed.
    pub out: String,
    /// What it complained about.
    pub err: String,
}

impl Machine {
    /// Boots a machine in a host's network, with these programs in `/usr/local/bin`.
    pub fn boot(host: &Host, programs: &[&Path]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("zeroshare-machine-")
            .tempdir()?;
        let inside = |name: &str| directory.path().join(name);
        for name in ["base", "bin"] {
            fs::create_dir(inside(name))?;
        }
        for program in programs {
            let name = program.file_name().context("a program has a name")?;
            fs::copy(program, inside("bin").join(name))?;
        }
        fs::write(inside("boot.sh"), BOOT)?;
        let log = File::create(inside("log"))?;
        let unshared = Command::new("ip")
            .args(["netns", "exec", host.namespace()])
            .args(["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup"])
            .args(["--fork", "--kill-child", "--"])
            .args(["sh", "-e"])
            .args([inside("boot.sh"), inside("base"), inside("bin")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start ip: install iproute2")?;
        let mut machine = Self {
            unshared,
            init: 0,
            directory,
        };
        machine.wait_for_boot()?;
        Ok(machine)
    }

    fn wait_for_boot(&mut self) -> anyhow::Result<()> {
        let booted = wait_until("systemd has booted", BOOT_TIME, || {
            if let Some(status) = self.unshared.try_wait()? {
                bail!("systemd ended: {status}");
            }
            let Some(init) = self.find_init()? else {
                return Ok(false);
            };
            self.init = init;
            let said = self.run(&["systemctl", "is-system-running"])?;
            // Something of this machine's may not work there.
            Ok(["running", "degraded"].contains(&said.out.trim()))
        });
        booted.with_context(|| self.log())?;
        Ok(())
    }

    /// Process 1, once it is systemd.
    fn find_init(&self) -> anyhow::Result<Option<u32>> {
        let parent = self.unshared.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        let Some(child) = children.split_whitespace().next() else {
            return Ok(None);
        };
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        Ok((name.trim() == "systemd").then_some(child.parse()?))
    }

    /// What systemd said while it booted.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// A path of the machine, as it is called outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Runs a program as root, as in a login of its own.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<Said> {
        self.run_in("/", words)
    }

    /// Runs a program as the user of this number, in that directory.
    pub fn run_as(&self, user: u32, directory: &str, words: &[&str]) -> anyhow::Result<Said> {
        let user = user.to_string();
        let become_user = [
            "setpriv",
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
        ];
        self.run_in(directory, &[&become_user[..], words].concat())
    }

    fn run_in(&self, directory: &str, words: &[&str]) -> anyhow::Result<Said> {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.to_string()])
            .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"])
            .args(["--root", "--wd=/", "env", "-i"])
            .arg(format!("--chdir={directory}"))
            .arg(format!("PATH={PATH}"))
            .args(["LC_ALL=C.UTF-8", "HOME=/"])
            .args(words)
            .stdin(Stdio::null());
        let output = command.output().context("cannot start nsenter")?;
        Ok(Said::of(&output))
    }

    /// Runs a program as root that must succeed; gives what it printed.
    pub fn must(&self, words: &[&str]) -> anyhow::Result<String> {
        let said = self.run(words)?;
        ensure!(said.success, "{words:?}: {said:?}");
        Ok(said.out.trim_end().to_owned())
    }

    /// Whether systemd says that a unit runs.
    pub fn is_active(&self, unit: &str) -> anyhow::Result<bool> {
        Ok(self.run(&["systemctl", "is-active", unit])?.success)
    }
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            success: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Whatever is in its namespace of processes goes with it.
        let _gone = self.unshared.kill();
        let _status = self.unshared.wait();
    }
}
