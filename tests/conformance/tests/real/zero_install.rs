use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use zeroshare_content::Algorithm;

/// The `0install` of this machine, in a home of its own.
pub(crate) struct ZeroInstall {
    home: TempDir,
}

/// What it prints about a directory.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) manifest: Vec<u8>,
    pub(crate) id: String,
}

impl ZeroInstall {
    /// Fails where there is none, so that nobody takes a comparison that did not happen for one
    /// that did.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let found = Self {
            home: TempDir::new()?,
        };
        let version = found.run(["--version"]).context(
            "these tests compare with the real 0install, which is not installed (Debian: apt-get install 0install-core)",
        )?;
        ensure!(
            version.status.success(),
            "0install does not run: {version:?}"
        );
        Ok(found)
    }

    /// The store that it puts trees into.
    pub(crate) fn store(&self) -> PathBuf {
        self.home
            .path()
            .join("system-cache/0install.net/implementations")
    }

    /// Manifest and digest of a directory, or why it refuses it.
    pub(crate) fn digest(
        &self,
        algorithm: Algorithm,
        dir: &Path,
    ) -> anyhow::Result<Result<Said, String>> {
        let algorithm = format!("--algorithm={algorithm}");
        let words = ["digest", "--manifest", "--digest", &algorithm].map(OsStr::new);
        let output = self.run(words.into_iter().chain([dir.as_os_str()]))?;
        if !output.status.success() {
            return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let text = output
            .stdout
            .strip_suffix(b"\n")
            .context("no line at all")?;
        let end = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let (manifest, id) = text.split_at(end);
        Ok(Ok(Said {
            manifest: manifest.to_vec(),
            id: str::from_utf8(id)?.to_owned(),
        }))
    }

    /// Puts a directory into the store under a digest that it must have, or says why not.
    pub(crate) fn store_add(&self, id: &str, dir: &Path) -> anyhow::Result<Result<(), String>> {
        self.succeeds(
            ["store", "add", id]
                .map(OsStr::new)
                .into_iter()
                .chain([dir.as_os_str()]),
        )
    }

    /// Compares a stored tree with its name, or says what is wrong.
    pub(crate) fn store_verify(&self, dir: &Path) -> anyhow::Result<Result<(), String>> {
        self.succeeds([OsStr::new("store"), OsStr::new("verify"), dir.as_os_str()])
    }

    fn succeeds(
        &self,
        words: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<Result<(), String>> {
        let output = self.run(words)?;
        if output.status.success() {
            return Ok(Ok(()));
        }
        Ok(Err(String::from_utf8_lossy(
            &[output.stdout, output.stderr].concat(),
        )
        .into_owned()))
    }

    fn run(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> anyhow::Result<Output> {
        let home = self.home.path();
        let mut command = Command::new("0install");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("LC_ALL", "C.UTF-8")
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CONFIG_DIRS", home.join("system-config"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            // It adds to the first of these where it may write there, and to the user's own store
            // elsewhere.
            .env("XDG_CACHE_DIRS", home.join("system-cache"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_DATA_DIRS", home.join("system-data"))
            .args(words);
        Ok(command.output()?)
    }
}
