//! Whether what a node keeps and reads is in order: state, sockets, stores, space.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use zeroshare_chassis::Places;
use zeroshare_wire::pb::store::v1::{DescribeStoreResponse, StoreRoot};

use super::finding::Finding;
use crate::reach::SERVICES;
use crate::render::words;

/// A node key is so long.
const KEY_BYTES: usize = 32;

/// Less room than this is soon used up.
const LITTLE_BYTES: u64 = 1 << 30;

/// … and with less than this nothing can be fetched.
const TOO_LITTLE_BYTES: u64 = 64 << 20;

/// The node's places, and the stores that it reads. `runs` says whether it runs.
pub(super) fn places(
    places: &Places,
    runs: bool,
    store: Option<&DescribeStoreResponse>,
) -> Vec<Finding> {
    let mut findings = vec![state(&places.state_dir, runs)];
    findings.extend(left_over(&places.runtime_dir));
    let roots = store.into_iter().flat_map(|store| &store.roots);
    findings.extend(roots.flat_map(root));
    findings.extend(space(&places.cache_dir));
    findings
}

/// The directory with the node's key.
fn state(dir: &Path, runs: bool) -> Finding {
    let shown = dir.display().to_string();
    let finding = match key_len(&dir.join("node-key")) {
        Ok(KEY_BYTES) if is_writable(dir) => {
            Finding::ok("state", format!("this node's key is in {shown}"))
        }
        Ok(KEY_BYTES) => Finding::fault(
            "state",
            format!(
                "{shown} cannot be written to: bans and learnt peers are forgotten with each start"
            ),
        )
        .advise("Give it to the node's user: `chown -R USER` it."),
        Ok(_) => Finding::fault("state", format!("the node key in {shown} is damaged"))
            .advise("Remove the file node-key there: the node makes another, and gets a new id."),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Finding::ok(
            "state",
            format!("no node has run here yet ({shown} has no key)"),
        ),
        Err(error) => unreadable(&shown, runs, &error),
    };
    finding.about(shown)
}

/// A key that this user may not read is in order where the node of another one runs with it.
fn unreadable(shown: &str, runs: bool, error: &io::Error) -> Finding {
    if error.kind() != io::ErrorKind::PermissionDenied {
        let text = format!("the node's key in {shown} cannot be read: {error}");
        let advice = "The node gets a new id with each start, and in a group it does not start. Repair the disk, or name \
            another directory: `--state-dir DIR`.";
        return Finding::fault("state", text).advise(advice);
    }
    if runs {
        let text =
            format!("the node's key in {shown} is for the node's user alone, as it should be");
        return Finding::hint("state", text)
            .advise("`sudo zeroshare doctor`, or that user's, looks at it too.");
    }
    let text = format!("the node's key in {shown} is not for this user, and no node runs with it");
    Finding::fault("state", text).advise(
        "Start the node as the user whose key it is. If it is to be this user's from now on: `sudo chown -R USER` the \
         directory. Else a node of this user gets a new id with each start, and in a group it does not start.",
    )
}

fn key_len(path: &Path) -> io::Result<usize> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)
}

fn is_writable(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Sockets to which nobody listens.
fn left_over(dir: &Path) -> Option<Finding> {
    let is_stale = |name: &&str| {
        let socket = dir.join(format!("{name}.sock"));
        let refused = UnixStream::connect(&socket)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        socket.exists() && refused
    };
    let stale: Vec<&str> = SERVICES
        .iter()
        .copied()
        .filter(|name| is_stale(name))
        .collect();
    if stale.is_empty() {
        return None;
    }
    let shown = dir.display();
    let text = format!(
        "{shown} has sockets of a node that was killed: {}",
        stale.join(", ")
    );
    Some(
        Finding::hint("state", text)
            .about(shown.to_string())
            .advise("Nothing has to be done: the next node replaces them."),
    )
}

/// A store, and the room in it.
fn root(root: &StoreRoot) -> Vec<Finding> {
    let path = Path::new(&root.path);
    if let Err(error) = fs::read_dir(path) {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let finding = if is_missing {
            Finding::ok("store", format!("{} does not exist yet", root.path))
        } else {
            Finding::fault(
                "store",
                format!("the store {} cannot be read: {error}", root.path),
            )
            .advise("Let the node's user read it, or leave it out of the configuration.")
        };
        return vec![finding.about(&root.path)];
    }
    let trees = words::count(root.held_trees.into(), "tree");
    let finding = if root.quarantined_trees > 0 {
        let damaged = words::count(root.quarantined_trees.into(), "tree");
        let text = format!(
            "the store {} has {damaged} that do not verify, and are not offered",
            root.path
        );
        let advice = "`zeroshare verify` names them, `zeroshare repair ID` fetches one anew.";
        Finding::fault("store", text).advise(advice)
    } else if root.shared {
        Finding::ok(
            "store",
            format!("the store {} is offered: {trees}", root.path),
        )
    } else {
        Finding::ok(
            "store",
            format!("the store {} is read, and not offered: {trees}", root.path),
        )
    };
    let mut findings = vec![finding.about(&root.path)];
    findings.extend(
        space(path)
            .into_iter()
            .filter(|found| found.advice.is_some()),
    );
    findings
}

/// The room where a directory lies, or would.
fn space(dir: &Path) -> Option<Finding> {
    let there = dir.ancestors().find(|one| one.exists())?;
    let vfs = rustix::fs::statvfs(there).ok()?;
    Some(of_space(dir, vfs.f_bavail.saturating_mul(vfs.f_frsize)))
}

fn of_space(dir: &Path, free: u64) -> Finding {
    let shown = dir.display().to_string();
    let text = format!("{} are free for {shown}", words::size(free));
    if free >= LITTLE_BYTES {
        return Finding::ok("space", text).about(shown);
    }
    let finding = Finding::fault_if(free < TOO_LITTLE_BYTES, "space", text).about(shown);
    finding.advise("Make room: what is fetched lies there.")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_damaged_key_is_wrong_and_a_missing_one_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(state(dir.path(), false).level, Level::Ok);
        fs::write(dir.path().join("node-key"), [7; 32]).unwrap();
        assert_eq!(state(dir.path(), false).level, Level::Ok);
        for damaged in [31, 33] {
            fs::write(dir.path().join("node-key"), vec![7; damaged]).unwrap();
            let found = state(dir.path(), false);
            assert_eq!(found.level, Level::Fault);
            assert!(found.text.contains("damaged"));
        }
        fs::remove_file(dir.path().join("node-key")).unwrap();
        fs::create_dir(dir.path().join("node-key")).unwrap();
        assert!(state(dir.path(), false).text.contains("cannot be read"));
    }

    #[test]
    fn a_key_of_another_user_is_in_order_while_a_node_runs_with_it() {
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(unreadable("/x", true, &refused).level, Level::Hint);
        let found = unreadable("/x", false, &refused);
        assert_eq!(found.level, Level::Fault);
        assert!(found.advice.unwrap().contains("chown -R USER"));
    }

    #[test]
    fn sockets_of_a_killed_node_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(left_over(dir.path()), None);
        let listener = UnixListener::bind(dir.path().join("store.sock")).unwrap();
        assert_eq!(left_over(dir.path()), None, "somebody listens");
        drop(listener);
        let found = left_over(dir.path()).unwrap();
        assert_eq!(found.level, Level::Hint);
        assert!(found.text.ends_with("killed: store"), "{}", found.text);
    }

    #[test]
    fn a_store_that_cannot_be_read_or_has_damaged_trees_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let of = |path: &Path, quarantined_trees| {
            root(&StoreRoot {
                path: path.display().to_string(),
                shared: true,
                held_trees: 3,
                quarantined_trees,
            })
            .remove(0)
        };
        assert_eq!(of(dir.path(), 0).level, Level::Ok);
        assert_eq!(of(dir.path(), 1).level, Level::Fault);
        assert_eq!(of(&dir.path().join("none"), 0).level, Level::Ok);
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(of(&file, 0).text.contains("cannot be read"));
    }

    #[test]
    fn too_little_room_is_wrong_and_little_worth_a_note() {
        let level = |free| of_space(Path::new("/x"), free).level;
        assert_eq!(level(LITTLE_BYTES), Level::Ok);
        assert_eq!(level(LITTLE_BYTES - 1), Level::Hint);
        assert_eq!(level(TOO_LITTLE_BYTES - 1), Level::Fault);
    }
}
