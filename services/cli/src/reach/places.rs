//! Where nodes may run, and who runs there.

use std::os::unix::net::UnixStream;

use rustix::net::sockopt::socket_peercred;
use zeroshare_chassis::Places;

use super::SERVICES;

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
pub(super) fn owner(places: &Places) -> Option<u32> {
    SERVICES.iter().find_map(|service| {
        let stream = UnixStream::connect(places.socket(service)).ok()?;
        Some(socket_peercred(&stream).ok()?.uid.as_raw())
    })
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

    #[test]
    fn a_socket_that_answers_tells_whose_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let places = places(directory.path());
        assert_eq!(owner(&places), None);
        let listener = UnixListener::bind(places.socket("store")).unwrap();
        assert_eq!(owner(&places), Some(rustix::process::geteuid().as_raw()));
        drop(listener);
        assert_eq!(
            owner(&places),
            None,
            "what a dead node left behind is no node"
        );
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
