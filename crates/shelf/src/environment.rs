//! What of the process environment decides where stores lie.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where 0install's rules send a user, as plain data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The user's home; `None` when neither `$HOME` nor the user database names one.
    pub home: Option<PathBuf>,
    /// The variables that matter here, where they are set.
    pub vars: BTreeMap<String, OsString>,
    /// Whether the process may write everywhere.
    pub is_root: bool,
}

/// The variables that 0install reads when it looks for stores.
const VARIABLES: [&str; 5] = [
    "XDG_CACHE_HOME",
    "XDG_CACHE_DIRS",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "ZEROINSTALL_PORTABLE_BASE",
];

impl Environment {
    /// Reads the environment of this process.
    ///
    /// Like 0install, root uses its own home when `$HOME` belongs to somebody else (as under `sudo`).
    pub fn of_process() -> Self {
        let value = |name: &str| Some((name.to_owned(), std::env::var_os(name)?));
        Self::of_variables(
            VARIABLES
                .into_iter()
                .chain(["HOME"])
                .filter_map(value)
                .collect(),
        )
    }

    /// Makes what the environment of this process would be, had it these variables.
    pub fn of_variables(mut vars: BTreeMap<String, OsString>) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let home = match vars.remove("HOME").map(PathBuf::from) {
            None => std::env::home_dir(),
            Some(home) if is_root && is_foreign(&home) => {
                let own = home_of_root();
                tracing::warn!(
                    home = %home.display(), own = %own.display(),
                    "running as root, but the home directory is not root's: using root's own"
                );
                Some(own)
            }
            Some(home) => Some(home),
        };
        vars.retain(|name, _| VARIABLES.contains(&name.as_str()));
        Self {
            home,
            vars,
            is_root,
        }
    }

    /// The directories of a colon separated variable, empty elements left out; `default` when unset.
    pub(crate) fn directories(&self, variable: &str, default: &str) -> Vec<PathBuf> {
        match self.vars.get(variable) {
            Some(value) => std::env::split_paths(value)
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
            None => vec![PathBuf::from(default)],
        }
    }

    /// The directory that a variable names, else one below the home.
    pub(crate) fn directory(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        match self.vars.get(variable) {
            Some(value) => Some(PathBuf::from(value)),
            None => self.home.as_ref().map(|home| home.join(below_home)),
        }
    }
}

fn is_foreign(home: &Path) -> bool {
    fs::metadata(home).is_ok_and(|found| found.uid() != 0)
}

fn home_of_root() -> PathBuf {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    root_entry(&users).unwrap_or_else(|| PathBuf::from("/root"))
}

fn root_entry(users: &str) -> Option<PathBuf> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [_, _, "0", _, _, home, ..] if !home.is_empty() => Some(PathBuf::from(home)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_own_home_is_read_from_the_user_database() {
        let users =
            "daemon:x:1:1:daemon:/usr/sbin:/bin/sh\nbroken\nroot:x:0:0:root:/var/root:/bin/sh\n";
        assert_eq!(root_entry(users), Some(PathBuf::from("/var/root")));
        assert_eq!(root_entry("nobody:x:7:7::/:\n"), None);
    }
}
