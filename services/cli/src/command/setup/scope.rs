//! For whom it is set up, and where that puts things.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroshare_chassis::Env;

use super::disk::{Disk, DiskError, Links};
use crate::failure::Failure;

/// The store of all users, by 0install's rules.
pub(crate) const SHARED_STORE: &str = "/var/cache/0install.net/implementations";

/// Whose Debian's package of 0install makes it.
const USUAL_OWNER: &str = "zeroinst";

/// Below each directory for configuration.
const LIST: &str = "0install.net/injector/implementation-dirs";

/// For whom it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All users of a machine, or of an image of one that lies in this directory.
    System {
        /// What stands for `/`.
        root: PathBuf,
    },
    /// One user.
    User {
        /// Where the user's programs are configured.
        config: PathBuf,
        /// What is gone with the user's last session.
        runtime: PathBuf,
    },
}

/// Where everything lies, as seen from the root of the scope's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    /// Units.
    pub(crate) units: PathBuf,
    /// What systemd starts by itself: the links to units that are enabled.
    pub(crate) wants: PathBuf,
    /// 0install's list of further stores.
    pub(crate) list: PathBuf,
    /// What 0install runs after a download; none of a user's own.
    pub(crate) helper: Option<PathBuf>,
    /// Declares the owner of the shared store.
    pub(crate) account: Option<PathBuf>,
    /// Declares the shared store.
    pub(crate) directories: Option<PathBuf>,
    /// Where the mount appears, unless another place is named.
    pub(crate) mount: PathBuf,
}

/// Who owns the shared store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreOwner {
    /// An account that is there, and that the administrator chose.
    Chosen(String),
    /// The usual one, which may have to be made, as may be the store.
    Usual,
}

impl StoreOwner {
    /// The account's name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Chosen(name) => name,
            Self::Usual => USUAL_OWNER,
        }
    }
}

impl Scope {
    /// The whole machine.
    pub(crate) fn machine() -> Self {
        Self::System { root: "/".into() }
    }

    /// The user of this environment.
    pub(crate) fn user(env: &Env) -> Result<Self, Failure> {
        let config = env.path("XDG_CONFIG_HOME");
        let config = config.or_else(|| Some(env.home()?.join(".config")));
        let config =
            config.ok_or_else(|| Failure::failed("this user has no home: set HOME to it"))?;
        let runtime = env.path("XDG_RUNTIME_DIR");
        let runtime = runtime.unwrap_or_else(|| format!("/run/user/{}", env.uid).into());
        Ok(Self::User { config, runtime })
    }

    /// Opens the file system on which it is set up.
    pub(crate) fn disk(&self) -> Result<Disk, DiskError> {
        match self {
            Self::System { root } => Disk::open(root, Links::Refused),
            Self::User { .. } => Disk::open(Path::new("/"), Links::Followed),
        }
    }

    /// Where everything lies.
    pub(crate) fn paths(&self) -> Paths {
        match self {
            Self::System { .. } => Paths {
                units: "/etc/systemd/system".into(),
                wants: "/etc/systemd/system/multi-user.target.wants".into(),
                list: Path::new("/etc/xdg").join(LIST),
                helper: Some("/usr/local/bin/0store-secure-add-helper".into()),
                account: Some("/etc/sysusers.d/zeroshare.conf".into()),
                directories: Some("/etc/tmpfiles.d/zeroshare.conf".into()),
                // Not in the node's own directory, where whoever took over the node could lead root elsewhere.
                mount: "/run/zeroshare-lan".into(),
            },
            Self::User { config, runtime } => Paths {
                units: config.join("systemd/user"),
                wants: config.join("systemd/user/default.target.wants"),
                list: config.join(LIST),
                helper: None,
                account: None,
                directories: None,
                mount: runtime.join("zeroshare-lan"),
            },
        }
    }

    /// Whether its systemd runs, so that units can be started.
    pub(crate) fn has_systemd(&self) -> bool {
        let booted = Path::new("/run/systemd/system").is_dir();
        match self {
            Self::System { root } => booted && root == Path::new("/"),
            Self::User { runtime, .. } => booted && runtime.join("systemd").is_dir(),
        }
    }

    /// `systemctl` for this scope.
    pub(crate) fn systemctl(&self, words: &[&str]) -> Vec<String> {
        let mut all = vec!["systemctl".to_owned()];
        match self {
            Self::System { root } if root == Path::new("/") => {}
            Self::System { root } => all.push(format!("--root={}", root.display())),
            Self::User { .. } => all.push("--user".to_owned()),
        }
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all
    }

    /// Another of systemd's tools, for all users of the machine or image.
    pub(crate) fn tool(&self, name: &str, words: &[&str]) -> Vec<String> {
        let mut all = vec![name.to_owned()];
        if let Self::System { root } = self
            && root != Path::new("/")
        {
            all.push(format!("--root={}", root.display()));
        }
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all
    }

    /// Who owns the shared store of this machine or image.
    pub(crate) fn store_owner(&self) -> StoreOwner {
        let Self::System { root } = self else {
            return StoreOwner::Usual;
        };
        let inside = |path: &str| root.join(path.trim_start_matches('/'));
        let owner = fs::metadata(inside(SHARED_STORE)).map(|found| found.uid());
        match owner {
            // Root's node would be stronger than it needs to be.
            Err(_) | Ok(0) => StoreOwner::Usual,
            Ok(uid) => {
                let users = fs::read_to_string(inside("/etc/passwd")).unwrap_or_default();
                match name_of(&users, uid) {
                    Some(name) if name == USUAL_OWNER => StoreOwner::Usual,
                    Some(name) => StoreOwner::Chosen(name),
                    None => StoreOwner::Chosen(uid.to_string()),
                }
            }
        }
    }
}

/// The name of a user, as the file of users has it.
pub(crate) fn name_of(users: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_things_lie_in_the_users_places() {
        let vars = [("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.into()));
        let mut env = Env {
            vars: vars.into_iter().collect(),
            uid: 7,
        };
        let paths = Scope::user(&env).unwrap().paths();
        assert_eq!(paths.units, Path::new("/home/u/.config/systemd/user"));
        assert_eq!(paths.mount, Path::new("/run/user/7/zeroshare-lan"));
        env.vars.remove("XDG_RUNTIME_DIR");
        env.vars.insert("XDG_CONFIG_HOME".to_owned(), "/c".into());
        let paths = Scope::user(&env).unwrap().paths();
        assert_eq!(
            paths.list,
            Path::new("/c/0install.net/injector/implementation-dirs")
        );
        assert_eq!(paths.mount, Path::new("/run/user/7/zeroshare-lan"));
        env.vars.clear();
        assert!(Scope::user(&env).is_err());
    }

    #[test]
    fn the_shared_store_keeps_its_owner_unless_that_is_root() {
        let users = "root:x:0:0::/root:/bin/sh\nodd\nzeroinst:x:102:106::/x:/bin/false\n";
        assert_eq!(name_of(users, 102).as_deref(), Some("zeroinst"));
        assert_eq!(name_of(users, 10), None);

        let root = tempfile::tempdir().unwrap();
        let scope = Scope::System {
            root: root.path().to_owned(),
        };
        assert_eq!(scope.store_owner(), StoreOwner::Usual);
        let store = root.path().join(&SHARED_STORE[1..]);
        fs::create_dir_all(&store).unwrap();
        let uid = fs::metadata(&store).unwrap().uid();
        let owner = scope.store_owner();
        if uid == 0 {
            assert_eq!(owner, StoreOwner::Usual);
        } else {
            assert_eq!(owner, StoreOwner::Chosen(uid.to_string()));
        }
    }

    #[test]
    fn tools_are_told_of_images_and_users() {
        let image = Scope::System { root: "/i".into() };
        assert_eq!(
            image.systemctl(&["enable", "x"]),
            ["systemctl", "--root=/i", "enable", "x"]
        );
        assert_eq!(image.tool("systemd-sysusers", &[])[1], "--root=/i");
        assert!(!image.has_systemd());
        assert_eq!(Scope::machine().systemctl(&["x"]), ["systemctl", "x"]);
    }
}
