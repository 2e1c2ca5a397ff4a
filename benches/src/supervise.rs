//! Everything that a benchmark starts or makes ends with it, however it ends.
//!
//! The program runs itself a second time for the work, and stays behind to kill what runs in its namespaces, and to remove them and the
//! work directories: after Ctrl-C as after success.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::{
    process::{Child, Command as TokioCommand},
    runtime,
    signal::unix::{SignalKind, signal},
};

use zeroshare_network::PROGRAM;

use crate::{lab::unmount, options::Options};

const DISK: &str = "ZEROSHARE_BENCH_DISK";
const TMPFS: &str = "ZEROSHARE_BENCH_TMPFS";

/// Whether this process is the one that cleans up.
pub(crate) fn is_supervisor() -> bool {
    env::var_os(DISK).is_none()
}

/// The work directory on the disk.
pub(crate) fn disk() -> Result<PathBuf> {
    directory(DISK)
}

/// The work directory on the tmpfs.
pub(crate) fn tmpfs() -> Result<PathBuf> {
    directory(TMPFS)
}

/// Dies with the supervisor, should that be killed.
pub(crate) fn die_with_supervisor() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

fn directory(variable: &str) -> Result<PathBuf> {
    let path = env::var_os(variable).context("not supervised")?;
    Ok(path.into())
}

/// Runs the same command line in a child, and cleans up after it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "network namespaces need root: run this as root"
    );
    let name = format!("zsb-{}", std::process::id());
    let disk = options
        .disk
        .clone()
        .unwrap_or_else(env::temp_dir)
        .join(&name);
    let tmpfs = options.tmpfs.join(&name);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _cleaning = Cleaning(vec![disk.clone(), tmpfs.clone()]);
    for work in [&disk, &tmpfs] {
        fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
    }
    let program = options
        .program
        .as_ref()
        .map(std::path::absolute)
        .transpose()?;
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    runtime.block_on(async {
        let child = TokioCommand::new(env::current_exe()?)
            .args(words)
            .env(DISK, &disk)
            .env(TMPFS, &tmpfs)
            .env("TMPDIR", &disk)
            .envs(program.map(|program| (PROGRAM, program)))
            .spawn()?;
        let pid = child.id().context("it runs")?;
        let code = outlive(child).await;
        remove_namespaces(pid);
        code
    })
}

/// Waits for the child, and ends it when this process is told to end.
async fn outlive(mut child: Child) -> Result<ExitCode> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        status = child.wait() => Ok(match status?.code() {
            Some(0) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }),
        _ = interrupted.recv() => stop(child).await,
        _ = terminated.recv() => stop(child).await,
    }
}

async fn stop(mut child: Child) -> Result<ExitCode> {
    child.kill().await?;
    eprintln!("stopped; cleaning up");
    Ok(ExitCode::FAILURE)
}

/// Kills what runs in the namespaces of a dead process, and removes them.
fn remove_namespaces(pid: u32) {
    let prefix = format!("zs{pid}-");
    for line in said("ip", &["netns", "list"]).lines() {
        let Some(name) = line.split_whitespace().next() else {
            continue;
        };
        if !name.starts_with(&prefix) {
            continue;
        }
        for word in said("ip", &["netns", "pids", name]).split_whitespace() {
            if let Some(pid) = word.parse().ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile.
                kill_process(pid, Signal::KILL).ok();
            }
        }
        said("ip", &["netns", "del", name]);
    }
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// Directories that are removed in the end; trees in them may be read-only.
struct Cleaning(Vec<PathBuf>);

impl Drop for Cleaning {
    fn drop(&mut self) {
        for path in &self.0 {
            for dir in mounts_below(path) {
                unmount(&dir);
            }
            if let Err(error) = remove(path) {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Where something is mounted below a directory: what is left of mounts whose processes were killed.
fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    places
        .map(PathBuf::from)
        .filter(|place| place.starts_with(path))
        .collect()
}

/// Removes a directory with all that is in it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let status = Command::new("rm").arg("-rf").arg(path).status()?;
    ensure!(status.success(), "cannot remove {}", path.display());
    Ok(())
}
