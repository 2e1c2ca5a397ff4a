//! Bringing the lab up, talking to it, and taking it down.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The lab, up; taken down with its volumes when dropped.
pub(crate) struct Lab {
    project: String,
    environment: Vec<(String, String)>,
}

impl Lab {
    /// Brings the lab up and waits until every service is healthy.
    pub(crate) fn up(story: &str) -> Result<Self> {
        Self::up_with(story, &[])
    }

    /// The same with variables of compose.yaml set.
    pub(crate) fn up_with(story: &str, environment: &[(&str, &str)]) -> Result<Self> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let lab = Self {
            project: format!("zeroshare-{story}"),
            environment,
        };
        lab.compose(&["up", "-d", "--no-build"])?;
        for host in ["a", "b", "c"] {
            for service in ["discovery", "store", "fetcher"] {
                lab.wait_healthy(&format!("{service}-{host}"))?;
            }
        }
        Ok(lab)
    }

    /// The lab as compose.yaml describes it, not up.
    pub(crate) fn described() -> Self {
        Self {
            project: "zeroshare-described".to_owned(),
            environment: Vec::new(),
        }
    }

    /// Runs docker-compose, which must succeed.
    pub(crate) fn compose(&self, words: &[&str]) -> Result<String> {
        let output = self.try_compose(words)?;
        if !output.status.success() {
            bail!(
                "compose {}: {}\n{}{}",
                words.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs docker-compose.
    pub(crate) fn try_compose(&self, words: &[&str]) -> Result<Output> {
        let plugin = Command::new("docker")
            .args(["compose", "version"])
            .output()?
            .status
            .success();
        let mut command = if plugin {
            let mut command = Command::new("docker");
            command.arg("compose");
            command
        } else {
            Command::new("docker-compose")
        };
        command
            .args(["--project-name", &self.project, "--file"])
            .arg(root().join("compose.yaml"))
            .args(words)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.output().context("cannot start docker-compose")
    }

    /// Runs a program in a service's container, which must succeed; gives what it printed.
    pub(crate) fn exec(&self, service: &str, words: &[&str]) -> Result<String> {
        self.compose(&[&["exec", "-T", service], words].concat())
    }

    /// Runs a program in a service's container and says whether it succeeded.
    pub(crate) fn succeeds(&self, service: &str, words: &[&str]) -> Result<bool> {
        Ok(self
            .try_compose(&[&["exec", "-T", service], words].concat())?
            .status
            .success())
    }

    /// Makes a tree on a host, adds it to the host's store, and gives its id.
    pub(crate) fn offer(&self, host: &str, bytes: u64) -> Result<String> {
        let fetcher = format!("fetcher-{host}");
        self.exec(
            &fetcher,
            &[
                "/lab-host",
                "make-tree",
                "/tmp/tree",
                "--bytes",
                &bytes.to_string(),
            ],
        )?;
        let id = self.exec(&fetcher, &["/zeroshare", "add", "/tmp/tree"])?;
        self.wait_offered(host, &id)?;
        Ok(id)
    }

    /// Waits until a host's store offers a tree.
    pub(crate) fn wait_offered(&self, host: &str, id: &str) -> Result<()> {
        let fetcher = format!("fetcher-{host}");
        wait_until("the tree is offered", || {
            let listed = self.exec(&fetcher, &["/zeroshare", "list", "--json"])?;
            let listed: Value = serde_json::from_str(&listed)?;
            let contents = listed["contents"].as_array().context("no contents")?;
            Ok(contents
                .iter()
                .any(|held| held["content_id"] == *id && held["offered"] == true))
        })?;
        Ok(())
    }

    /// Waits until a service's health check says healthy.
    pub(crate) fn wait_healthy(&self, service: &str) -> Result<()> {
        wait_until(&format!("{service} is healthy"), || {
            Ok(self.inspect(service, "{{.State.Health.Status}}")? == "healthy")
        })
        .with_context(|| self.logs(service))?;
        Ok(())
    }

    /// One field of a service's container.
    pub(crate) fn inspect(&self, service: &str, format: &str) -> Result<String> {
        docker(&["inspect", "--format", format, &self.container(service)?])
    }

    /// The id of a service's container.
    pub(crate) fn container(&self, service: &str) -> Result<String> {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let service = format!("label=com.docker.compose.service={service}");
        docker(&[
            "ps", "--all", "--quiet", "--filter", &project, "--filter", &service,
        ])
    }

    /// The full name of one of the lab's networks.
    pub(crate) fn network(&self, name: &str) -> String {
        format!("{}_{name}", self.project)
    }

    /// What a service has logged.
    pub(crate) fn logs(&self, service: &str) -> String {
        self.compose(&["logs", "--no-color", service])
            .unwrap_or_default()
    }

    /// Runs a program of this machine in the network of a host.
    pub(crate) fn in_network_of(&self, host: &str, words: &[&str]) -> Result<()> {
        let pid = self.inspect(&format!("host-{host}"), "{{.State.Pid}}")?;
        let status = Command::new("nsenter")
            .args(["-t", &pid, "-n"])
            .args(words)
            .status()?;
        if !status.success() {
            bail!("{words:?} in host-{host}: {status}");
        }
        Ok(())
    }

    /// Slows down what a host sends, so that a story can happen in the middle of a transfer.
    pub(crate) fn slow_down(&self, host: &str, rate: &str) -> Result<()> {
        for device in ["eth0", "eth1"] {
            let words = [
                "tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, "burst",
                "64kb", "latency", "50ms",
            ];
            self.in_network_of(host, &words)?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "{}",
                self.compose(&["logs", "--no-color", "--tail", "60"])
                    .unwrap_or_default()
            );
        }
        self.compose(&["down", "--volumes", "--timeout", "2"]).ok();
    }
}

/// Runs docker, which must succeed; gives what it printed.
pub(crate) fn docker(words: &[&str]) -> Result<String> {
    let output = Command::new("docker")
        .args(words)
        .output()
        .context("cannot start docker")?;
    if !output.status.success() {
        bail!(
            "docker {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Waits until `done` says so, at most a minute.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    loop {
        if done()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() > Duration::from_mins(1) {
            bail!("waited a minute in vain: {what}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The project's own directory.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
