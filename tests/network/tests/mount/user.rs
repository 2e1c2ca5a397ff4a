//! An ordinary user of a host, who has the real 0install and a mount among its stores.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use zeroshare_network::Host;

/// Whom every system has, and to whom nothing belongs.
const NOBODY: u32 = 65534;

/// A user with a home of its own.
#[derive(Debug)]
pub(crate) struct User<'a> {
    host: &'a Host,
    number: u32,
    home: TempDir,
}

impl<'a> User<'a> {
    /// A user whose `implementation-dirs` has this directory, and nothing else.
    pub(crate) fn new(host: &'a Host, mount: &Path) -> Result<Self> {
        Self::numbered(host, mount, NOBODY)
    }

    /// The same with another number than all others have.
    pub(crate) fn numbered(host: &'a Host, mount: &Path, number: u32) -> Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("zeroshare-user-")
            .tempdir()?;
        let user = Self { host, number, home };
        let injector = "config/0install.net/injector";
        user.write(
            &format!("{injector}/implementation-dirs"),
            &format!("{}\n", mount.display()),
        )?;
        let global = "[global]\nfreshness = 0\nhelp_with_testing = False\nnetwork_use = full\n";
        user.write(&format!("{injector}/global"), global)?;
        user.own()?;
        Ok(user)
    }

    /// Signs a feed with a key of the user's own, which they trust for all feeds.
    pub(crate) fn sign(&self, feed: &str) -> Result<Vec<u8>> {
        let feed = self.keep("unsigned.xml", feed)?;
        if !self.home().join(".gnupg").exists() {
            self.make_key()?;
        }
        let signed = self.home().join("signature");
        let (signed, name) = (signed.to_string_lossy(), feed.to_string_lossy());
        self.gpg(&["--yes", "--output", &signed, "--detach-sign", &name])?;
        let signature = self.must("base64", &["-w", "76", &signed])?;
        let mut page = fs::read(&feed)?;
        page.extend(format!("<!-- Base64 Signature\n{signature}\n\n-->\n").bytes());
        Ok(page)
    }

    /// Puts a feed into the user's cache, as if it had been fetched and trusted before.
    pub(crate) fn cache_feed(&self, url: &str, feed: &str) -> Result<()> {
        let name = feed_name(url);
        self.write(&format!("cache/0install.net/interfaces/{name}"), feed)?;
        let checked = format!(
            "<?xml version=\"1.0\"?><feed-preferences last-checked=\"{}\" \
             xmlns=\"http://zero-install.sourceforge.net/2004/injector/interface\"/>",
            jiff::Timestamp::now().as_second()
        );
        let name = url.replace('/', "#");
        self.write(
            &format!("config/0install.net/injector/feeds/{name}"),
            &checked,
        )?;
        self.own()
    }

    /// Puts a file into the user's home.
    pub(crate) fn keep(&self, name: &str, text: &str) -> Result<PathBuf> {
        self.write(name, text)?;
        self.own()?;
        Ok(self.home.path().join(name))
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs a program as this user, in this host.
    pub(crate) fn run(&self, program: &str, words: &[&str]) -> Result<Output> {
        let home = self.home.path();
        self.host.within(|| {
            let mut command = self.host.bare_command("setpriv");
            let user = self.number.to_string();
            command
                .args([
                    "--reuid",
                    &user,
                    "--regid",
                    &user,
                    "--clear-groups",
                    "--",
                    program,
                ])
                .args(words)
                .env("HOME", home)
                .env("XDG_RUNTIME_DIR", home)
                .env("XDG_CACHE_HOME", home.join("cache"))
                .env("XDG_CONFIG_HOME", home.join("config"))
                .env("XDG_CACHE_DIRS", home.join("none"))
                .env("XDG_CONFIG_DIRS", home.join("none"))
                .current_dir(home);
            command
                .output()
                .with_context(|| format!("cannot start {program}"))
        })
    }

    /// Runs a program that must succeed, and gives what it printed.
    pub(crate) fn must(&self, program: &str, words: &[&str]) -> Result<String> {
        let output = self.run(program, words)?;
        ensure!(output.status.success(), "{program} {words:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn make_key(&self) -> Result<()> {
        let key = "%no-protection\nKey-Type: eddsa\nKey-Curve: ed25519\nName-Real: a developer\n%commit\n";
        let key = self.keep("key", key)?;
        self.gpg(&["--generate-key", &key.to_string_lossy()])?;
        let listed = self.gpg(&["--list-keys", "--with-colons"])?;
        let line = listed.lines().find_map(|line| line.strip_prefix("fpr:"));
        let fingerprint = line.context("no key")?.trim_matches(':');
        let trusted = format!(
            "<?xml version=\"1.0\"?><trusted-keys xmlns=\"http://zero-install.sourceforge.net/2007/injector/trust\">\
             <key fingerprint=\"{fingerprint}\"><domain value=\"*\"/></key></trusted-keys>"
        );
        self.keep("config/0install.net/injector/trustdb.xml", &trusted)?;
        Ok(())
    }

    fn gpg(&self, words: &[&str]) -> Result<String> {
        self.must("gpg", &[&["--batch", "--quiet"], words].concat())
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.home.path().join(path);
        fs::create_dir_all(path.parent().context("it has a parent")?)?;
        Ok(fs::write(path, text)?)
    }

    fn own(&self) -> Result<()> {
        fs::set_permissions(self.home.path(), fs::Permissions::from_mode(0o755))?;
        own_all(self.home.path(), self.number)
    }
}

/// What a feed is called in a cache.
pub(crate) fn feed_name(url: &str) -> String {
    let escaped = url.chars().map(|found| match found {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => found.to_string(),
        _ => format!("%{:02x}", u32::from(found)),
    });
    escaped.collect()
}

fn own_all(path: &Path, number: u32) -> Result<()> {
    chown(path, Some(number), Some(number))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            own_all(&entry?.path(), number)?;
        }
    }
    Ok(())
}
