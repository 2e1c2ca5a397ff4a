//! Services of our own, in this process and for its time.
//!
//! Discovery asks and says nothing of itself, the store has no LAN listener, and sockets lie in a private directory: two
//! commands at once do not meet but in the stores, where locks keep them apart.

use std::env;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zeroshare_chassis::listen::{LocalAddress, LocalListener};
use zeroshare_chassis::{Lifetime, Places};
use zeroshare_discovery::DiscoveryListeners;
use zeroshare_fetcher::FetcherListeners;
use zeroshare_store::StoreListeners;

use super::Needs;
use crate::failure::{Failure, chain};
use crate::session::Session;
use crate::settings::Resolved;

/// The longest directory in which the names of our sockets still fit the kernel's 107 bytes.
const MAX_PARENT_BYTES: usize = 70;

/// Services that stop when this is dropped.
#[derive(Debug)]
pub(super) struct OwnServices {
    places: Places,
    lifetime: Lifetime,
    _directory: TempDir,
}

impl OwnServices {
    /// Starts what is needed; their sockets take calls at once.
    pub(super) fn start(session: &Session, needs: Needs) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("zeroshare-")
            .tempdir_in(short_parent())
            .map_err(|error| Failure::because("cannot make a directory for sockets", &error))?;
        let settings = session.own_settings(directory.path())?;
        let places = settings.common.places.clone();
        let lifetime = session.lifetime.child();
        let own = Self {
            places,
            lifetime,
            _directory: directory,
        };
        own.run(settings, needs)?;
        Ok(own)
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    fn run(&self, settings: Resolved, needs: Needs) -> Result<(), Failure> {
        let lifetime = &self.lifetime;
        // All sockets are there before the first service looks for another.
        let discovery = needs
            .own
            .contains(&"discovery")
            .then(|| self.listen("discovery"))
            .transpose()?;
        let store = needs
            .own
            .contains(&"store")
            .then(|| self.listen("store"))
            .transpose()?;
        let fetcher = needs
            .own
            .contains(&"fetcher")
            .then(|| self.listen("fetcher"))
            .transpose()?;
        if let Some(local) = store {
            let listeners = StoreListeners {
                local: vec![local],
                lan: Vec::new(),
                tls: None,
            };
            let run = zeroshare_store::run(settings.store, listeners, lifetime.clone());
            lifetime.spawn("own store", logged("store", run));
        }
        if let Some(local) = discovery {
            let listeners = DiscoveryListeners { local: vec![local] };
            let run = zeroshare_discovery::run(settings.discovery, listeners, lifetime.clone());
            lifetime.spawn("own discovery", logged("discovery", run));
        }
        if let Some(local) = fetcher {
            let listeners = FetcherListeners { local: vec![local] };
            let run = zeroshare_fetcher::run(settings.fetcher, listeners, lifetime.clone());
            lifetime.spawn("own fetcher", logged("fetcher", run));
        }
        Ok(())
    }

    fn listen(&self, service: &str) -> Result<LocalListener, Failure> {
        LocalListener::bind(&LocalAddress::of(&self.places, service))
            .map_err(|error| Failure::because("cannot start what is needed", &error))
    }
}

impl Drop for OwnServices {
    fn drop(&mut self) {
        self.lifetime.stop();
    }
}

/// Whoever asks it hears only that it is gone; the log says why.
async fn logged<E: std::error::Error + 'static>(
    service: &'static str,
    run: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = run.await {
        tracing::error!(
            service,
            error = chain(&error),
            "a service of this command failed"
        );
    }
}

/// A directory for temporary files whose path leaves room for the names of sockets.
fn short_parent() -> PathBuf {
    let usual = env::temp_dir();
    if usual.as_os_str().len() <= MAX_PARENT_BYTES {
        usual
    } else {
        Path::new("/tmp").to_owned()
    }
}
