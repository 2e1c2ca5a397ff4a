//! Where nodes may run, who runs there, and who may.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::sockopt::socket_peercred;
use zeroshare_chassis::Places;
use zeroshare_chassis::places::Owner;

use super::SERVICES;
use crate::exit::Exit;
use crate::failure::Failure;

/// The users whose services are believed in some places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trusted(Vec<u32>);

/// Somebody listens where a node would, and is not trusted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    socket: PathBuf,
    user: u32,
}

impl Trusted {
    /// In a user's places the user alone: others can make `/tmp/zeroshare-UID` first. In the machine's also root, and
    /// whom root gave the directory.
    pub(super) fn of(places: &Places, user: u32) -> Self {
        let mut users = vec![user];
        let machine = Places::machine();
        if places.owner == Owner::Machine || places.runtime_dir == machine.runtime_dir {
            users.push(0);
            users.extend(fs::metadata(&places.runtime_dir).map(|found| found.uid()));
        }
        Self(users)
    }

    pub(super) fn users(&self) -> &[u32] {
        &self.0
    }
}

impl From<Foreign> for Failure {
    fn from(foreign: Foreign) -> Self {
        let Foreign { socket, user } = foreign;
        let message = format!(
            "user {user} listens at {}, where only a node of yours should: nothing was said to it",
            socket.display()
        );
        Self::new(Exit::Failed, "FOREIGN_NODE", message).advise(
            "Set XDG_RUNTIME_DIR, or --runtime-dir, to a directory that only you can write to;\n\
             an administrator can remove the other one.",
        )
    }
}

/// The user's places first, then the machine's; whoever names other places than the usual ones means only those.
pub(super) fn candidates(own: &Places, usual: &Places) -> Vec<Places> {
    let mut candidates = vec![own.clone()];
    let machine = Places::machine();
    let is_named = own.runtime_dir != usual.runtime_dir;
    if !is_named && machine.runtime_dir != own.runtime_dir {
        candidates.push(machine);
    }
    candidates
}

/// The user whose services answer there; `None` when none does.
pub(super) fn owner(places: &Places, trusted: &Trusted) -> Result<Option<u32>, Foreign> {
    let mut owner = None;
    for service in SERVICES {
        let socket = places.socket(service);
        let Some(user) = listener(&socket) else {
            continue;
        };
        if !trusted.users().contains(&user) {
            return Err(Foreign { socket, user });
        }
        owner = owner.or(Some(user));
    }
    Ok(owner)
}

/// The user who listens there.
fn listener(socket: &PathBuf) -> Option<u32> {
    let stream = UnixStream::connect(socket).ok()?;
    Some(socket_peercred(&stream).ok()?.uid.as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;

    fn places(runtime_dir: &Path) -> Places {
        Places {
            runtime_dir: runtime_dir.to_owned(),
            ..Places::machine()
        }
    }

    fn us() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn a_socket_that_answers_tells_whose_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let places = places(directory.path());
        let trusted = Trusted::of(&places, us());
        assert_eq!(owner(&places, &trusted), Ok(None));
        let listener = UnixListener::bind(places.socket("store")).unwrap();
        assert_eq!(owner(&places, &trusted), Ok(Some(us())));
        drop(listener);
        assert_eq!(
            owner(&places, &trusted),
            Ok(None),
            "what a dead node left behind is no node"
        );
    }

    #[test]
    fn another_users_socket_in_a_users_places_is_no_node() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            owner: Owner::User,
            ..places(directory.path())
        };
        let _listener = UnixListener::bind(places.socket("fetcher")).unwrap();
        let trusted = Trusted::of(&places, us() + 1);
        let foreign = owner(&places, &trusted).unwrap_err();
        assert_eq!(foreign.user, us());
        let failure = Failure::from(foreign);
        assert!(
            failure.message.contains("fetcher.sock"),
            "{}",
            failure.message
        );
        assert!(failure.advice.unwrap().contains("--runtime-dir"));
    }

    #[test]
    fn the_machines_directory_is_believed_for_its_owner_and_for_root() {
        let directory = tempfile::tempdir().unwrap();
        let machines = places(directory.path());
        let trusted = Trusted::of(&machines, us() + 1);
        assert_eq!(trusted.users(), [us() + 1, 0, us()]);
        let users = Places {
            owner: Owner::User,
            ..machines
        };
        assert_eq!(Trusted::of(&users, us() + 1).users(), [us() + 1]);
    }

    #[test]
    fn the_machines_node_comes_after_the_users() {
        let own = places(Path::new("/run/user/1000/zeroshare"));
        assert_eq!(candidates(&own, &own), [own.clone(), Places::machine()]);
        assert_eq!(
            candidates(&Places::machine(), &Places::machine()),
            [Places::machine()]
        );
    }

    #[test]
    fn whoever_names_a_node_means_no_other() {
        let usual = places(Path::new("/run/user/1000/zeroshare"));
        let named = places(Path::new("/tmp/elsewhere"));
        assert_eq!(candidates(&named, &usual), std::slice::from_ref(&named));
    }
}
