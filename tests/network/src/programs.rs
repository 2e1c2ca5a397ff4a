//! Where the programs under test are, and waiting for what they do.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// The environment variable that names another `zeroshare` than the one built from these sources.
pub const PROGRAM: &str = "ZEROSHARE_PROGRAM";

/// Builds the workspace's programs once in the profile of this test, and says where the named one is.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let (Some(other), "zeroshare") = (env::var_os(PROGRAM), name) {
        return Ok(other.into());
    }
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    match built {
        Ok(directory) => Ok(directory.join(name)),
        Err(error) => bail!("{error}"),
    }
}

fn build() -> anyhow::Result<PathBuf> {
    let test = env::current_exe()?;
    // target/PROFILE/deps/TEST or target/PROFILE/PROGRAM
    let directory = test
        .ancestors()
        .find(|path| path.join(".fingerprint").exists())
        .context("not started by cargo")?
        .to_owned();
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--locked", "--profile", profile])
        .args(["-p", "zeroshare", "--bins"])
        .arg("--manifest-path")
        .arg(manifest)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the programs do not build");
    }
    Ok(directory)
}

/// Waits until `done` says so; fails with `what` when that takes longer than `deadline`.
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut done: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    loop {
        if done()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() > deadline {
            bail!("waited {deadline:?} in vain: {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
