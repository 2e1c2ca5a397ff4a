//! Mounting, and serving until somebody unmounts it or the lifetime stops.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};
use zeroshare_chassis::Lifetime;
use zeroshare_shelf::MOUNT_NAME;

use crate::filesystem::Trees;
use crate::held;
use crate::mountpoint::{MountError, prepare, unmount};
use crate::readahead;
use crate::refreshed;
use crate::settings::{Backing, MountConfig};
use crate::shared::Shared;

/// How long those who use it while it ends may hold it up.
const END: Duration = Duration::from_secs(2);

/// Threads that take the kernel's requests; none waits for anything but a disk.
const THREADS: usize = 4;

/// Why a mount failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The kernel said something that the file system does not understand.
    #[error("the file system failed")]
    Session(#[source] io::Error),
    /// The process ends.
    #[error("stopped while mounting")]
    Stopping,
}

/// A file system that is mounted.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
    lifetime: Lifetime,
    end: oneshot::Receiver<io::Result<()>>,
}

/// Mounts, and serves from then on; must be called inside a tokio runtime.
pub async fn mount(
    config: MountConfig,
    backing: Backing,
    lifetime: Lifetime,
) -> Result<Mounted, RunError> {
    let options = options(&config);
    let wanted = config.dir.clone();
    let tasks = lifetime.child();
    let shared = Arc::new(Shared::new(config, backing, tasks.clone()));
    let trees = Trees::new(shared.clone());
    let mounting = lifetime.spawn_blocking("mount", move || {
        let dir = prepare(&wanted)?;
        let session =
            Session::new(trees, &dir, &options).map_err(|source| MountError::Refused {
                dir: dir.clone(),
                source,
            })?;
        Ok::<_, MountError>((dir, session))
    });
    let (dir, session) = mounting.await.map_err(|_| RunError::Stopping)??;
    shared.spawn("watch the store", held::watch(shared.clone()));
    shared.spawn("watch refreshes", refreshed::watch(shared.clone()));
    let (ended, end) = oneshot::channel();
    // Not one of the runtime's: it lives as long as the mount.
    let thread = std::thread::Builder::new().name("mount".to_owned());
    let serving = thread.spawn(move || drop(ended.send(session.run())));
    serving.map_err(RunError::Session)?;
    let place = dir.clone();
    let raising = lifetime.spawn_blocking("read ahead", move || readahead::raise(&place));
    if let Ok(Err(error)) = raising.await {
        debug!(%error, "the kernel reads no further ahead than it does by itself");
    }
    info!(dir = %dir.display(), "mounted");
    Ok(Mounted {
        dir,
        lifetime: tasks,
        end,
    })
}

impl Mounted {
    /// The directory where the file system is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Serves until somebody unmounts it, or until the lifetime stops, and unmounts it then.
    pub async fn serve(self) -> Result<(), RunError> {
        let Self {
            dir,
            lifetime,
            mut end,
        } = self;
        let ended = tokio::select! {
            ended = &mut end => Some(ended),
            () = lifetime.stopping() => None,
        };
        let ended = if let Some(ended) = ended {
            info!(dir = %dir.display(), "unmounted by somebody else");
            Some(ended)
        } else {
            let place = dir.clone();
            let unmounting = lifetime.spawn_blocking("unmount", move || unmount(&place));
            let unmounting = unmounting.await;
            if let Ok(Err(error)) = unmounting {
                warn!(dir = %dir.display(), %error, "cannot unmount");
            }
            // Whoever still uses it hears from the kernel when this process is gone.
            tokio::time::timeout(END, end).await.ok()
        };
        lifetime.end(END).await;
        match ended {
            Some(Ok(Err(error))) => Err(RunError::Session(error)),
            Some(Ok(Ok(())) | Err(_)) | None => Ok(()),
        }
    }
}

fn options(config: &MountConfig) -> Config {
    let mut options = Config::default();
    options.mount_options.extend([
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::DefaultPermissions,
        MountOption::FSName(MOUNT_NAME.to_owned()),
        MountOption::Subtype(MOUNT_NAME.to_owned()),
    ]);
    options.acl = if config.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    options.n_threads = Some(THREADS);
    options
}
