//! Where a node keeps its sockets, state, index and configuration.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::Access;

/// The port that every node tries first, for TCP as for UDP.
pub const DEFAULT_PORT: u16 = 38339;

/// What a process was started with, as far as places depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env {
    /// The environment; variables whose names are not UTF-8 are left out.
    pub vars: BTreeMap<String, OsString>,
    /// The effective user.
    pub uid: u32,
}

/// Whose node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The machine's: shares the machine-wide stores with all users.
    Machine,
    /// One user's.
    User,
}

/// The directories of one node. Two nodes see each other only if their places are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Whose node it is.
    pub owner: Owner,
    /// Sockets and the node's lock; gone after a reboot.
    pub runtime_dir: PathBuf,
    /// Node key, bans, learnt peers: what must survive.
    pub state_dir: PathBuf,
    /// The store's index: what can be made anew.
    pub cache_dir: PathBuf,
    /// The configuration file, whether it exists or not.
    pub config_file: PathBuf,
}

/// Why a node's directories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// It could be neither made nor looked at.
    #[error("cannot use the directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else lies there, perhaps put there by somebody else.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Another user could listen in.
    #[error("the directory {} belongs to user {owner}, not to user {user}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who wants to use it.
        user: u32,
    },
}

impl Env {
    /// The process's own, without what was inherited from another user by `sudo` or `su`.
    pub fn of_process() -> Self {
        let vars = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        let mut env = Self {
            vars,
            uid: rustix::process::geteuid().as_raw(),
        };
        for name in ["HOME", "XDG_RUNTIME_DIR"] {
            if env.path(name).is_some_and(|path| env.is_unfit(&path)) {
                env.vars.remove(name);
            }
        }
        env
    }

    /// A variable's value as text, if it is set, not empty, and UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .and_then(|value| value.to_str())
            .filter(|text| !text.is_empty())
    }

    /// A variable's value as an absolute path; the XDG rules have relative ones ignored.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.vars
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }

    /// The home directory; root may have none of its own.
    pub fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Says whether a directory is another user's, and not for this one to write to: root can, and must not.
    fn is_unfit(&self, path: &Path) -> bool {
        let foreign = fs::metadata(path).is_ok_and(|found| found.uid() != self.uid);
        foreign && (self.is_root() || rustix::fs::access(path, Access::WRITE_OK).is_err())
    }
}

impl Places {
    /// The places of a node that is started, or asked for, in this environment.
    ///
    /// Root's node is the machine's, unless a home or an XDG directory of its own says otherwise.
    pub fn find(env: &Env) -> Self {
        if is_machines(env) {
            Self::machine()
        } else {
            Self::of_user(env)
        }
    }

    /// The places of the machine's node.
    pub fn machine() -> Self {
        Self {
            owner: Owner::Machine,
            runtime_dir: "/run/zeroshare".into(),
            state_dir: "/var/lib/zeroshare".into(),
            cache_dir: "/var/cache/zeroshare".into(),
            config_file: "/etc/zeroshare/config.toml".into(),
        }
    }

    /// The socket of a service's local API.
    pub fn socket(&self, service: &str) -> PathBuf {
        self.runtime_dir.join(format!("{service}.sock"))
    }

    /// The mode of a local API's socket: the machine's node is open to all, and tells callers apart by their credentials.
    pub fn socket_mode(&self) -> u32 {
        match self.owner {
            Owner::Machine => 0o666,
            Owner::User => 0o600,
        }
    }

    /// What the running node holds, and no other user can.
    pub fn lock_file(&self) -> PathBuf {
        self.runtime_dir.join("node.lock")
    }

    /// Where the running node says who it is.
    pub fn facts_file(&self) -> PathBuf {
        self.runtime_dir.join("node.json")
    }

    /// Makes the directories, and refuses them where another user could have put them there.
    pub fn prepare(&self) -> Result<(), PlacesError> {
        let runtime_mode = match self.owner {
            Owner::Machine => 0o755,
            Owner::User => 0o700,
        };
        prepare_dir(&self.runtime_dir, runtime_mode)?;
        prepare_dir(&self.state_dir, 0o700)?;
        prepare_dir(&self.cache_dir, 0o700)
    }

    fn of_user(env: &Env) -> Self {
        let temporary = env.path("TMPDIR").unwrap_or_else(|| "/tmp".into());
        let fallback = temporary.join(format!("zeroshare-{}", env.uid));
        let base = |variable: &str, below_home: &str| {
            env.path(variable)
                .or_else(|| env.home().map(|home| home.join(below_home)))
                .map_or_else(|| fallback.join(below_home), |base| base.join("zeroshare"))
        };
        let state_dir = base("XDG_STATE_HOME", ".local/state");
        let cache_dir = base("XDG_CACHE_HOME", ".cache");
        let config_dir = base("XDG_CONFIG_HOME", ".config");
        let runtime_dir = match env.path("XDG_RUNTIME_DIR") {
            Some(dir) => dir.join("zeroshare"),
            None => fallback.join(fingerprint(&[&state_dir, &cache_dir, &config_dir])),
        };
        let config_file = config_dir.join("config.toml");
        Self {
            owner: Owner::User,
            runtime_dir,
            state_dir,
            cache_dir,
            config_file,
        }
    }
}

/// Variables that give root places of its own.
const PLACE_VARIABLES: [&str; 4] = [
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
];

/// Says whether the environment is that of the machine's node.
fn is_machines(env: &Env) -> bool {
    // systemd says so of a system unit with `RuntimeDirectory=zeroshare`, under whatever user it runs.
    if env
        .path("RUNTIME_DIRECTORY")
        .is_some_and(|dir| dir == Path::new("/run/zeroshare"))
    {
        return true;
    }
    let usual_home = |home: PathBuf| home == Path::new("/root") || home == Path::new("/");
    // What a login of root sets by itself.
    let usual_runtime = |dir: PathBuf| dir == Path::new("/run/user/0");
    env.is_root()
        && env.home().is_none_or(usual_home)
        && env.path("XDG_RUNTIME_DIR").is_none_or(usual_runtime)
        && PLACE_VARIABLES.iter().all(|name| env.path(name).is_none())
}

/// Tells nodes with different homes apart where there is no runtime directory of the session.
fn fingerprint(paths: &[&Path]) -> String {
    // FNV-1a: it must only be the same in every version.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for path in paths {
        for byte in path.as_os_str().as_encoded_bytes().iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// Makes a directory, and all above it that are missing, and checks whose it is.
pub(crate) fn prepare_dir(path: &Path, mode: u32) -> Result<(), PlacesError> {
    let exposed: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .filter(|dir| is_in_public(dir))
        .collect();
    for dir in exposed.into_iter().rev() {
        make_dir(dir, 0o700).map_err(|source| PlacesError::Io {
            path: dir.to_owned(),
            source,
        })?;
        check_dir(dir)?;
    }
    let failed = |source| PlacesError::Io {
        path: path.to_owned(),
        source,
    };
    make_dir(path, mode).map_err(failed)?;
    let found = check_dir(path)?;
    if found.mode() & 0o777 & !mode != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

/// Refuses what is no directory, or is another user's; a link counts only where nobody else can have put it.
fn check_dir(path: &Path) -> Result<fs::Metadata, PlacesError> {
    let found = if is_in_public(path) {
        fs::symlink_metadata(path)
    } else {
        fs::metadata(path)
    };
    let found = found.map_err(|source| PlacesError::Io {
        path: path.to_owned(),
        source,
    })?;
    let user = rustix::process::geteuid().as_raw();
    if !found.is_dir() {
        return Err(PlacesError::NotADirectory {
            path: path.to_owned(),
        });
    }
    if found.uid() != user {
        return Err(PlacesError::Foreign {
            path: path.to_owned(),
            owner: found.uid(),
            user,
        });
    }
    Ok(found)
}

/// Makes a directory and what is missing above it, with this mode whatever the umask.
fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Says whether others may put things beside it: the parent has the sticky bit, as `/tmp` has.
fn is_in_public(path: &Path) -> bool {
    let parent = path.parent().and_then(|parent| fs::metadata(parent).ok());
    parent.is_some_and(|parent| parent.mode() & 0o1000 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn env(uid: u32, vars: &[(&str, &str)]) -> Env {
        let vars = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        Env { vars, uid }
    }

    #[test]
    fn a_user_has_the_xdg_places() {
        let places = Places::find(&env(
            1000,
            &[
                ("HOME", "/home/a"),
                ("XDG_RUNTIME_DIR", "/run/user/1000"),
                ("XDG_CACHE_HOME", "/c"),
            ],
        ));
        assert_eq!(places.owner, Owner::User);
        assert_eq!(
            places.socket("store"),
            Path::new("/run/user/1000/zeroshare/store.sock")
        );
        assert_eq!(
            places.state_dir,
            Path::new("/home/a/.local/state/zeroshare")
        );
        assert_eq!(places.cache_dir, Path::new("/c/zeroshare"));
        assert_eq!(
            places.config_file,
            Path::new("/home/a/.config/zeroshare/config.toml")
        );
        assert_eq!(places.socket_mode(), 0o600);
    }

    #[test]
    fn root_on_a_fresh_machine_runs_the_machines_node() {
        for vars in [
            &[][..],
            &[("HOME", "/root")],
            &[("HOME", "/")],
            &[("HOME", "/root"), ("XDG_RUNTIME_DIR", "/run/user/0")],
        ] {
            assert_eq!(Places::find(&env(0, vars)), Places::machine(), "{vars:?}");
        }
    }

    #[test]
    fn root_with_places_of_its_own_is_a_user() {
        for vars in [
            &[("HOME", "/tmp/a")][..],
            &[("HOME", "/root"), ("XDG_RUNTIME_DIR", "/tmp/a/run")],
            &[("HOME", "/root"), ("XDG_CACHE_HOME", "/tmp/a/cache")],
        ] {
            assert_eq!(Places::find(&env(0, vars)).owner, Owner::User, "{vars:?}");
        }
    }

    #[test]
    fn a_system_unit_is_the_machines_under_any_user() {
        let unit = env(990, &[("RUNTIME_DIRECTORY", "/run/zeroshare")]);
        assert_eq!(Places::find(&unit).owner, Owner::Machine);
        let user_unit = env(1000, &[("RUNTIME_DIRECTORY", "/run/user/1000/zeroshare")]);
        assert_eq!(Places::find(&user_unit).owner, Owner::User);
    }

    #[test]
    fn homes_keep_apart_where_there_is_no_runtime_directory() {
        let of = |home| Places::find(&env(1000, &[("HOME", home), ("TMPDIR", "/t")])).runtime_dir;
        assert!(of("/home/a").starts_with("/t/zeroshare-1000"));
        assert_ne!(of("/home/a"), of("/home/b"));
        assert_eq!(of("/home/a"), of("/home/a"));
    }

    #[test]
    fn relative_and_empty_variables_are_ignored() {
        let places = Places::find(&env(
            1000,
            &[
                ("HOME", "/home/a"),
                ("XDG_CACHE_HOME", "cache"),
                ("XDG_STATE_HOME", ""),
            ],
        ));
        assert_eq!(places.cache_dir, Path::new("/home/a/.cache/zeroshare"));
        assert_eq!(
            places.state_dir,
            Path::new("/home/a/.local/state/zeroshare")
        );
    }

    #[test]
    fn a_fallback_directory_is_made_private() {
        let public = public_dir();
        let dir = public.path().join("zeroshare-0/feed");
        prepare_dir(&dir, 0o700).unwrap();
        for made in [&dir, dir.parent().unwrap()] {
            assert_eq!(
                fs::metadata(made).unwrap().mode() & 0o777,
                0o700,
                "{}",
                made.display()
            );
        }
    }

    #[test]
    fn a_fallback_that_somebody_else_linked_is_refused() {
        let public = public_dir();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), public.path().join("zeroshare-0")).unwrap();
        let error = prepare_dir(&public.path().join("zeroshare-0/feed"), 0o700).unwrap_err();
        assert!(
            matches!(error, PlacesError::NotADirectory { .. }),
            "{error}"
        );
        assert!(!elsewhere.path().join("feed").exists());
    }

    #[test]
    fn an_open_directory_of_ours_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        prepare_dir(&path, 0o700).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    fn public_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        dir
    }
}
