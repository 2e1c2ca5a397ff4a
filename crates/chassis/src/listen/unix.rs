//! Unix sockets that appear complete, and replace none that is alive.

use std::{
    fs::{self, File},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use super::ListenError;
use crate::{lock, places::prepare_dir};

/// What fits into `sockaddr_un` with a zero at its end.
const MAX_PATH_BYTES: usize = 107;

/// Added to a socket's name until it is ready.
const UNFINISHED: &str = "~";

/// Added to a socket's name for the file that is locked while the socket is placed or removed.
const LOCK: &str = ".lock";

/// How long another may take to place the same socket.
const PATIENCE: Duration = Duration::from_secs(5);

/// A bound socket's file, removed when dropped unless another took its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    mode: u32,
    inode: (u64, u64),
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Best effort: what is left behind is found dead and replaced by the next one. Only read, which restricted
        // threads can, and never waited for.
        let Ok(lock) = File::open(beside(&self.path, LOCK)) else {
            return;
        };
        if lock.try_lock().is_ok() && self.is_ours() {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Binds a socket with this mode; one that is there already must be dead.
///
/// Missing directories above it are made for this user alone.
pub(super) fn bind(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), ListenError> {
    let limit = MAX_PATH_BYTES - UNFINISHED.len();
    if path.as_os_str().len() > limit {
        return Err(ListenError::PathTooLong {
            path: path.to_owned(),
            limit,
        });
    }
    let address = || format!("unix:{}", path.display());
    let failed = |source| ListenError::Io {
        address: address(),
        source,
    };
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !dir.is_dir() {
        prepare_dir(dir, 0o700).map_err(ListenError::Directory)?;
    }
    let lock = lock(path).map_err(failed)?;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) if is_alive(path) => return Err(ListenError::InUse { address: address() }),
        Ok(_) => {}
    }
    let (listener, inode) = place(path, mode).map_err(failed)?;
    drop(lock);
    Ok((
        listener,
        SocketFile {
            path: path.to_owned(),
            mode,
            inode,
        },
    ))
}

/// Makes the socket beside its place, and moves it there with its mode set: nobody can connect before.
fn place(path: &Path, mode: u32) -> io::Result<(UnixListener, (u64, u64))> {
    let unfinished = beside(path, UNFINISHED);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(mode))?;
    let made = fs::symlink_metadata(&unfinished)?;
    fs::rename(&unfinished, path)?;
    Ok((listener, (made.dev(), made.ino())))
}

/// Only a refused connection proves that nobody listens any more.
fn is_alive(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        ),
    }
}

/// Two processes that start at once must not both find the same socket dead.
///
/// The lock is a file of its own, since other users can open the directory and so hold its lock.
fn lock(path: &Path) -> io::Result<File> {
    let file = lock::open(&beside(path, LOCK))?;
    if lock::lock_within(&file, PATIENCE)? {
        Ok(file)
    } else {
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_its_mode_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/deeper/api.sock");
        let (listener, file) = bind(&path, 0o600).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777,
            0o700
        );
        UnixStream::connect(&path).unwrap();
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let first = bind(&path, 0o600).unwrap();
        let error = bind(&path, 0o600).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        UnixStream::connect(&path).unwrap();
        drop(first);
    }

    #[test]
    fn a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let bound = bind(&path, 0o666).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn the_first_to_bind_does_not_remove_the_socket_of_its_successor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let (listener, file) = bind(&path, 0o600).unwrap();
        drop(listener);
        let second = bind(&path, 0o600).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
        drop(second);
    }

    #[test]
    fn other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        fs::write(&path, "mine").unwrap();
        let error = bind(&path, 0o600).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_path_that_the_kernel_would_refuse_is_named() {
        let path = Path::new("/tmp").join("a".repeat(MAX_PATH_BYTES));
        let error = bind(&path, 0o600).unwrap_err();
        assert!(matches!(error, ListenError::PathTooLong { .. }), "{error}");
    }

    #[test]
    fn who_locks_the_directory_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let held = File::open(dir.path()).unwrap();
        held.lock().unwrap();
        drop(bind(&path, 0o666).unwrap());
        assert!(!path.exists());
        let locked = fs::metadata(beside(&path, LOCK)).unwrap();
        assert_eq!(locked.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_end_does_not_wait_for_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let bound = bind(&path, 0o600).unwrap();
        let held = lock(&path).unwrap();
        drop(bound);
        drop(held);
        assert!(path.exists(), "left behind");
        drop(bind(&path, 0o600).unwrap());
    }

    #[test]
    fn of_many_that_start_at_once_one_gets_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        let bound: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| bind(&path, 0o600))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1);
        UnixStream::connect(&path).unwrap();
    }
}
