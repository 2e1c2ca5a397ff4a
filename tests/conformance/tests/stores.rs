//! Where stores lie, by our rules and by those of the 0install that is installed here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use zeroshare_shelf::{Environment, store_roots};

/// Below a configuration directory.
const LIST: &str = "0install.net/injector/implementation-dirs";

#[test]
fn without_variables_the_home_and_the_machine_have_a_store() -> anyhow::Result<()> {
    Place::new()?.check(&[])
}

#[test]
fn cache_variables_move_stores() -> anyhow::Result<()> {
    let place = Place::new()?;
    place.check(&[("XDG_CACHE_HOME", "/x")])?;
    place.check(&[("XDG_CACHE_HOME", "relative")])?;
    place.check(&[("XDG_CACHE_HOME", "")])?;
    place.check(&[("XDG_CACHE_DIRS", "/a::/b:relative:")])?;
    place.check(&[("XDG_CACHE_DIRS", "")])?;
    place.check(&[("XDG_CACHE_HOME", "/x/"), ("XDG_CACHE_DIRS", "/x:/y")])
}

#[test]
fn lists_of_stores_are_read_in_its_strange_order() -> anyhow::Result<()> {
    let place = Place::new()?;
    place.write("home/.config", b"/u1\n# no\n\n/u2\n#/u3\n")?;
    place.check(&[])?;
    place.write(
        "site",
        b"/s1\n /s2 \n#no\n #yes\nrelative\n~/s3\n/u1\nlast\r\n/s4",
    )?;
    place.write("other", b"/o1\n\xff\xfe\n/o2\n")?;
    let [site, other] = ["site", "other"].map(|name| place.path(name));
    let [site, other] = [
        site.to_str().context("a path")?,
        other.to_str().context("a path")?,
    ];
    place.check(&[("XDG_CONFIG_DIRS", site)])?;
    place.check(&[("XDG_CONFIG_DIRS", &format!("{other}::{site}"))])?;
    place.check(&[("XDG_CONFIG_HOME", other), ("XDG_CONFIG_DIRS", site)])?;
    place.check(&[("XDG_CONFIG_HOME", ""), ("XDG_CONFIG_DIRS", "")])
}

#[test]
fn a_portable_base_replaces_all() -> anyhow::Result<()> {
    let place = Place::new()?;
    place.write("home/.config", b"/u1\n")?;
    let injector = place.path("portable/config/injector");
    fs::create_dir_all(&injector)?;
    fs::write(injector.join("implementation-dirs"), "/p1\n/p2\n")?;
    let base = place.path("portable");
    let base = base.to_str().context("a path")?;
    place.check(&[
        ("ZEROINSTALL_PORTABLE_BASE", base),
        ("XDG_CACHE_HOME", "/x"),
    ])
}

#[test]
fn root_uses_its_own_home_when_the_one_given_is_another_users() -> anyhow::Result<()> {
    let place = Place::new()?;
    if !rustix::process::geteuid().is_root() {
        // Nobody else can give a directory away, nor is the rule for them.
        return place.check(&[]);
    }
    std::os::unix::fs::chown(place.path("home"), Some(1234), None)?;
    place.check(&[])
}

/// A home, and configuration directories.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let place = Self {
            dir: TempDir::new()?,
        };
        fs::create_dir(place.path("home"))?;
        fs::create_dir(place.path("none"))?;
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, config: &str, list: &[u8]) -> anyhow::Result<()> {
        let path = self.path(config).join(LIST);
        fs::create_dir_all(path.parent().context("a directory")?)?;
        Ok(fs::write(path, list)?)
    }

    /// Compares both lists; a store named twice counts once, where it comes first.
    fn check(&self, vars: &[(&str, &str)]) -> anyhow::Result<()> {
        let home = self.path("home");
        let none = self.path("none");
        let mut all = vec![("HOME", home.as_os_str())];
        if vars.iter().all(|(name, _)| *name != "XDG_CONFIG_DIRS") {
            // The lists of the machine that runs the test are left alone.
            all.push(("XDG_CONFIG_DIRS", none.as_os_str()));
        }
        all.extend(vars.iter().map(|(name, value)| (*name, OsStr::new(value))));

        let mut expected: Vec<PathBuf> = Vec::new();
        for path in listed(&all, self.dir.path())? {
            if !expected.contains(&path) {
                expected.push(path);
            }
        }
        let vars: BTreeMap<String, OsString> = all
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        let found = store_roots(&Environment::of_variables(vars), &[]);
        let found: Vec<PathBuf> = found.into_iter().map(|root| root.path).collect();
        ensure!(
            found == expected,
            "we found {found:?}, 0install {expected:?}, with {all:?}"
        );
        Ok(())
    }
}

/// What `0install store list` says.
fn listed(vars: &[(&str, &OsStr)], directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let output = Command::new("0install")
        .args(["store", "list"])
        .current_dir(directory)
        .env_clear()
        .env("PATH", path)
        .envs(vars.iter().copied())
        .output()
        .context("these tests need the real 0install (Debian: apt-get install 0install-core)")?;
    ensure!(output.status.success(), "0install failed: {output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let paths = lines.filter_map(|line| {
        let colon = line.windows(2).position(|pair| pair == b": ")?;
        Some(PathBuf::from(OsString::from_vec(
            line.get(colon + 2..)?.to_vec(),
        )))
    });
    let paths: Vec<PathBuf> = paths.collect();
    let said = OsStr::from_bytes(&output.stdout).display();
    ensure!(!paths.is_empty(), "no store in {said}");
    Ok(paths)
}
