//! Places to test in.

use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use zeroshare_api::connect::LocalEndpoint;

/// A directory that is gone when it is dropped, whatever lies in it.
///
/// Its path is short, since that of a socket has at most 107 bytes.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
}

impl Scratch {
    /// Makes a directory below `/tmp`.
    pub fn new() -> Self {
        Self::below(Path::new("/tmp"))
    }

    /// Makes a directory on another file system.
    pub fn below(parent: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("zs-")
            .tempdir_in(parent)
            .expect("a scratch directory can be made");
        Self { directory }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path in it, which need not be there.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// A directory in it, made when it is not there.
    pub fn directory(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).expect("a directory can be made");
        path
    }

    /// The endpoint of a socket in it.
    pub fn endpoint(&self, name: &str) -> LocalEndpoint {
        LocalEndpoint::Unix(self.join(format!("{name}.sock")))
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Trees in stores are read-only, and nobody but root removes from such directories.
        unprotect(self.path());
    }
}

/// Listens on a free port of 127.0.0.1; nonblocking, as tokio wants it.
pub fn loopback_listener() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener
        .set_nonblocking(true)
        .expect("a socket can be nonblocking");
    listener
}

fn unprotect(directory: &Path) {
    let _best_effort = fs::set_permissions(directory, Permissions::from_mode(0o755));
    let Ok(found) = fs::read_dir(directory) else {
        return;
    };
    for entry in found.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unprotect(&entry.path());
        }
    }
}
