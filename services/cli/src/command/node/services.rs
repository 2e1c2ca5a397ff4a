//! Binds and runs the three services of a node.

use std::net::TcpListener;

use tokio::sync::oneshot;
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::listen::{ListenError, LocalAddress, LocalListener, bind_lan};
use zeroshare_chassis::serve::Tls;
use zeroshare_discovery::DiscoveryListeners;
use zeroshare_fetcher::FetcherListeners;
use zeroshare_store::StoreListeners;

use super::store_thread;
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::settings::Resolved;

/// All sockets of a node, bound before the first service starts.
#[derive(Debug)]
pub(super) struct Bound {
    discovery: Vec<LocalListener>,
    store: Vec<LocalListener>,
    fetcher: Vec<LocalListener>,
    lan: Vec<TcpListener>,
    tls: Option<Tls>,
}

impl Bound {
    pub(super) fn listen(settings: &Resolved) -> Result<Self, Failure> {
        let common = &settings.common;
        let lan = if settings.store.lan {
            bind_lan(common.port, common.port_may_change).map_err(|error| taken(&error))?
        } else {
            Vec::new()
        };
        Ok(Self {
            discovery: listen(&settings.discovery.local)?,
            store: listen(&settings.store.local)?,
            fetcher: listen(&settings.fetcher.local)?,
            lan,
            tls: settings
                .store
                .tls()
                .map_err(|error| Failure::because("cannot serve the group", &error))?,
        })
    }

    /// The ports on the LAN.
    pub(super) fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self
            .lan
            .iter()
            .filter_map(|listener| Some(listener.local_addr().ok()?.port()))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// Runs all services until the lifetime stops; when one fails, all stop.
pub(super) async fn run(
    settings: Resolved,
    bound: Bound,
    lifetime: Lifetime,
) -> Result<(), Failure> {
    let listeners = StoreListeners {
        local: bound.store,
        lan: bound.lan,
        tls: bound.tls,
    };
    let writable = vec![settings.common.places.cache_dir.clone()];
    let store = store_thread::start(settings.store, listeners, writable, lifetime.clone())?;

    let listeners = DiscoveryListeners {
        local: bound.discovery,
    };
    let discovery = zeroshare_discovery::run(settings.discovery, listeners, lifetime.clone());
    let discovery = lifetime.spawn("discovery", discovery);

    let listeners = FetcherListeners {
        local: bound.fetcher,
    };
    let fetcher = zeroshare_fetcher::run(settings.fetcher, listeners, lifetime.clone());
    let fetcher = lifetime.spawn("fetcher", fetcher);

    let store = watched("store", flatten(store), &lifetime);
    let discovery = watched("discovery", async { ended(discovery.await) }, &lifetime);
    let fetcher = watched("fetcher", async { ended(fetcher.await) }, &lifetime);
    let (store, discovery, fetcher) = tokio::join!(store, discovery, fetcher);
    store.and(discovery).and(fetcher)
}

/// Stops the others when one ends; a node without one of its services would only seem to work.
async fn watched(
    service: &'static str,
    end: impl Future<Output = Result<(), String>>,
    lifetime: &Lifetime,
) -> Result<(), Failure> {
    let end = end.await;
    let was_asked = lifetime.is_stopping();
    lifetime.stop();
    match end {
        Err(error) => Err(Failure::failed(format!("the {service} failed: {error}"))),
        Ok(()) if was_asked => Ok(()),
        Ok(()) => Err(Failure::failed(format!("the {service} ended by itself"))),
    }
}

fn ended<E: std::error::Error + 'static>(
    end: Result<Result<(), E>, tokio::task::JoinError>,
) -> Result<(), String> {
    match end {
        Ok(end) => end.map_err(|error| chain(&error)),
        // Aborted because it outstayed the end.
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

async fn flatten(end: oneshot::Receiver<Result<(), String>>) -> Result<(), String> {
    match end.await {
        Ok(end) => end,
        Err(_) => Err("its thread ended without a word".to_owned()),
    }
}

fn listen(addresses: &[LocalAddress]) -> Result<Vec<LocalListener>, Failure> {
    let listen = |address| LocalListener::bind(address).map_err(|error| taken(&error));
    addresses.iter().map(listen).collect()
}

fn taken(error: &ListenError) -> Failure {
    let failure = Failure::new(Exit::Failed, "CANNOT_LISTEN", chain(error));
    match error {
        ListenError::InUse { .. } => failure.advise(
            "Another program listens there. `zeroshare status` shows whether it is a node; --port 0 takes any other port.",
        ),
        ListenError::NotASocket { .. }
        | ListenError::PathTooLong { .. }
        | ListenError::Unspecified { .. }
        | ListenError::Directory(_)
        | ListenError::Io { .. } => failure,
    }
}
