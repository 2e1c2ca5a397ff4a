//! Where stores lie, by 0install's own rules.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use zeroshare_content::TreeId;

use crate::environment::Environment;

/// A list of store directories is written by hand; more than this is something else.
const MAX_DIRECTORY_LIST_BYTES: u64 = 1024 * 1024;

/// Below each cache directory.
const IMPLEMENTATIONS: &str = "0install.net/implementations";

/// Below each cache directory.
const INTERFACES: &str = "0install.net/interfaces";

/// Below each configuration directory.
const DIRECTORY_LIST: &str = "0install.net/injector/implementation-dirs";

/// A directory that holds trees, existing or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRoot {
    /// As 0install spells it; may be relative where the environment is.
    pub path: PathBuf,
    /// How it was found.
    pub kind: RootKind,
}

/// How a store was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKind {
    /// The user's own: the one that 0install writes.
    User,
    /// Machine-wide, of `XDG_CACHE_DIRS`.
    System,
    /// A line of an `implementation-dirs` file.
    Configured,
    /// Named to this program alone.
    Named,
    /// Below `ZEROINSTALL_PORTABLE_BASE`: the one that 0install writes.
    Portable,
}

/// Lists the stores in 0install's order of lookup, those named last, each path once.
pub fn store_roots(environment: &Environment, extra: &[PathBuf]) -> Vec<StoreRoot> {
    let mut found = match environment.vars.get("ZEROINSTALL_PORTABLE_BASE") {
        Some(base) => portable_roots(Path::new(base)),
        None => ordinary_roots(environment),
    };
    found.extend(roots_of(RootKind::Named, extra.iter().cloned()));

    let mut roots: Vec<StoreRoot> = Vec::with_capacity(found.len());
    for root in found {
        if roots.iter().all(|known| known.path != root.path) {
            roots.push(root);
        }
    }
    roots
}

/// Lists where 0install keeps the feeds that it fetched, in its order of lookup: of the user, then of the system.
pub fn feed_caches(environment: &Environment) -> Vec<PathBuf> {
    if let Some(base) = environment.vars.get("ZEROINSTALL_PORTABLE_BASE") {
        return vec![Path::new(base).join("cache/interfaces")];
    }
    let own = environment.directory("XDG_CACHE_HOME", ".cache");
    let system = environment.directories("XDG_CACHE_DIRS", "/var/cache");
    let caches = own.into_iter().chain(system);
    caches.map(|cache| cache.join(INTERFACES)).collect()
}

/// Where 0install keeps whom its user trusts; `None` for a user without a home.
pub fn trusted_keys(environment: &Environment) -> Option<PathBuf> {
    if let Some(base) = environment.vars.get("ZEROINSTALL_PORTABLE_BASE") {
        return Some(Path::new(base).join("config/injector/trustdb.xml"));
    }
    let own = environment.directory("XDG_CONFIG_HOME", ".config")?;
    Some(own.join("0install.net/injector/trustdb.xml"))
}

/// Finds a tree as 0install does at run time: the first hit of the first spelling, unverified.
///
/// Follows symbolic links, as 0install does; nothing is served by this road.
pub fn find_tree(roots: &[StoreRoot], id: &TreeId) -> Option<PathBuf> {
    id.directory_names().iter().find_map(|name| {
        roots
            .iter()
            .map(|root| root.path.join(name))
            .find(|path| fs::metadata(path).is_ok_and(|found| found.is_dir()))
    })
}

fn portable_roots(base: &Path) -> Vec<StoreRoot> {
    let own = StoreRoot {
        path: base.join("cache/implementations"),
        kind: RootKind::Portable,
    };
    let lists = [base.join("config/injector/implementation-dirs")];
    std::iter::once(own)
        .chain(configured_roots(&lists))
        .collect()
}

fn ordinary_roots(environment: &Environment) -> Vec<StoreRoot> {
    let below_cache = |directory: PathBuf| directory.join(IMPLEMENTATIONS);
    let own = environment
        .directory("XDG_CACHE_HOME", ".cache")
        .map(below_cache);
    let system = environment
        .directories("XDG_CACHE_DIRS", "/var/cache")
        .into_iter()
        .map(below_cache);

    let lists: Vec<PathBuf> = environment
        .directory("XDG_CONFIG_HOME", ".config")
        .into_iter()
        .chain(environment.directories("XDG_CONFIG_DIRS", "/etc/xdg"))
        .map(|directory| directory.join(DIRECTORY_LIST))
        .collect();

    roots_of(RootKind::User, own)
        .chain(roots_of(RootKind::System, system))
        .chain(configured_roots(&lists))
        .collect()
}

/// All lines of all lists in one row, the last first: that is what 0install makes of them.
fn configured_roots(lists: &[PathBuf]) -> Vec<StoreRoot> {
    let mut paths = Vec::new();
    for list in lists {
        match listed_directories(list) {
            Ok(found) => paths.extend(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(list = %list.display(), %error, "cannot read list of stores");
            }
        }
    }
    paths.reverse();
    roots_of(RootKind::Configured, paths).collect()
}

fn listed_directories(list: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(list)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    File::open(list)?
        .take(MAX_DIRECTORY_LIST_BYTES)
        .read_to_end(&mut text)?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| PathBuf::from(OsStr::from_bytes(line)))
        .collect())
}

fn roots_of(
    kind: RootKind,
    paths: impl IntoIterator<Item = PathBuf>,
) -> impl Iterator<Item = StoreRoot> {
    paths.into_iter().map(move |path| StoreRoot { path, kind })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn a_user_has_a_store_of_its_own_before_the_machines() {
        check(
            &[],
            &[
                "/home/u/.cache/0install.net/implementations",
                "/var/cache/0install.net/implementations",
            ],
        );
    }

    #[test]
    fn feeds_lie_beside_stores() {
        let caches = |vars: &[(&str, &str)]| feed_caches(&environment(vars));
        let usual = [
            "/home/u/.cache/0install.net/interfaces",
            "/var/cache/0install.net/interfaces",
        ];
        assert_eq!(caches(&[]), usual.map(PathBuf::from));
        let named = caches(&[("XDG_CACHE_HOME", "/c"), ("XDG_CACHE_DIRS", "/a::/b")]);
        let expected = ["/c", "/a", "/b"].map(|cache| Path::new(cache).join(INTERFACES));
        assert_eq!(named, expected);
        let portable = caches(&[("ZEROINSTALL_PORTABLE_BASE", "/p")]);
        assert_eq!(portable, [PathBuf::from("/p/cache/interfaces")]);
    }

    #[test]
    fn cache_variables_replace_both_and_empty_elements_are_left_out() {
        check(
            &[("XDG_CACHE_HOME", "/c"), ("XDG_CACHE_DIRS", "/a::/b")],
            &[
                "/c/0install.net/implementations",
                "/a/0install.net/implementations",
                "/b/0install.net/implementations",
            ],
        );
    }

    #[test]
    fn an_empty_list_of_cache_directories_means_none() {
        check(
            &[("XDG_CACHE_DIRS", "")],
            &["/home/u/.cache/0install.net/implementations"],
        );
    }

    #[test]
    fn lines_of_all_lists_come_out_in_reverse_untrimmed_and_without_comments() {
        let place = tempfile::tempdir().unwrap();
        let user = write_list(place.path(), "user", b"/u1\n#/no\n\n /u2 \n");
        let site = write_list(place.path(), "site", b"/s1\n\xff\n/u1");
        let roots = store_roots(
            &environment(&[
                ("XDG_CONFIG_HOME", user.to_str().unwrap()),
                ("XDG_CONFIG_DIRS", site.to_str().unwrap()),
                ("XDG_CACHE_DIRS", ""),
            ]),
            &[PathBuf::from("/named"), PathBuf::from("/s1/")],
        );
        let paths: Vec<&[u8]> = roots
            .iter()
            .skip(1)
            .map(|root| root.path.as_os_str().as_bytes())
            .collect();
        assert_eq!(
            paths,
            [b"/u1".as_slice(), b"\xff", b"/s1", b" /u2 ", b"/named"]
        );
    }

    #[test]
    fn a_portable_base_replaces_everything() {
        let place = tempfile::tempdir().unwrap();
        let lists = place.path().join("config/injector");
        fs::create_dir_all(&lists).unwrap();
        fs::write(lists.join("implementation-dirs"), "/p1\n/p2\n").unwrap();
        let base = place.path().to_str().unwrap();
        let own = format!("{base}/cache/implementations");
        check(
            &[
                ("ZEROINSTALL_PORTABLE_BASE", base),
                ("XDG_CACHE_HOME", "/c"),
            ],
            &[&own, "/p2", "/p1"],
        );
    }

    #[test]
    fn a_tree_is_found_under_either_spelling_in_the_first_store_that_has_it() {
        let place = tempfile::tempdir().unwrap();
        let roots: Vec<StoreRoot> = ["one", "two"]
            .map(|name| StoreRoot {
                path: place.path().join(name),
                kind: RootKind::Named,
            })
            .into();
        let id = TreeId::of_manifest(zeroshare_content::Family::Sha256, b"");
        assert_eq!(find_tree(&roots, &id), None);
        let names = id.directory_names();
        let other = place.path().join("one").join(&names[1]);
        fs::create_dir_all(&other).unwrap();
        assert_eq!(find_tree(&roots, &id), Some(other));
        let best = place.path().join("two").join(&names[0]);
        fs::create_dir_all(&best).unwrap();
        assert_eq!(find_tree(&roots, &id), Some(best));
    }

    fn check(vars: &[(&str, &str)], expected: &[&str]) {
        let mut vars = vars.to_vec();
        if vars.iter().all(|(name, _)| *name != "XDG_CONFIG_DIRS") {
            vars.push(("XDG_CONFIG_DIRS", "/nonexistent"));
        }
        let roots = store_roots(&environment(&vars), &[]);
        let paths: Vec<&str> = roots
            .iter()
            .map(|root| root.path.to_str().unwrap())
            .collect();
        assert_eq!(paths, expected);
    }

    fn environment(vars: &[(&str, &str)]) -> Environment {
        let vars: BTreeMap<String, OsString> = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        Environment {
            home: Some(PathBuf::from("/home/u")),
            vars,
            is_root: false,
        }
    }

    fn write_list(place: &Path, name: &str, text: &[u8]) -> PathBuf {
        let directory = place.join(name);
        fs::create_dir_all(directory.join("0install.net/injector")).unwrap();
        fs::write(directory.join(DIRECTORY_LIST), text).unwrap();
        directory
    }
}
