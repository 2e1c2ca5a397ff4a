//! Binds and runs the services of a node.

use std::net::TcpListener;
use std::pin::Pin;

use tokio::sync::oneshot;
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::listen::{ListenError, LocalAddress, LocalListener, bind_lan};
use zeroshare_discovery::DiscoveryListeners;
use zeroshare_fetcher::FetcherListeners;
use zeroshare_store::StoreListeners;

use super::{Service, store_thread};
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::settings::Resolved;
use crate::together::all;

/// The sockets of a node's services, bound before the first one starts.
#[derive(Debug)]
pub(super) struct Bound {
    discovery: Option<DiscoveryListeners>,
    store: Option<StoreListeners>,
    fetcher: Option<FetcherListeners>,
}

impl Bound {
    /// Binds what these services listen on.
    pub(super) fn listen(settings: &Resolved, wanted: &[Service]) -> Result<Self, Failure> {
        let is_wanted = |service| wanted.contains(&service);
        let listen_store = || {
            Ok::<_, Failure>(StoreListeners {
                lan: listen_on_lan(settings)?,
                local: listen(&settings.store.local)?,
                tls: settings
                    .store
                    .tls()
                    .map_err(|error| Failure::because("cannot serve the group", &error))?,
            })
        };
        let store = is_wanted(Service::Store).then(listen_store).transpose()?;
        let discovery = is_wanted(Service::Discovery).then(|| listen(&settings.discovery.local));
        let fetcher = is_wanted(Service::Fetcher).then(|| listen(&settings.fetcher.local));
        Ok(Self {
            discovery: discovery
                .transpose()?
                .map(|local| DiscoveryListeners { local }),
            store,
            fetcher: fetcher.transpose()?.map(|local| FetcherListeners { local }),
        })
    }

    /// The ports on the LAN.
    pub(super) fn ports(&self) -> Vec<u16> {
        let lan = self.store.iter().flat_map(|store| &store.lan);
        let mut ports: Vec<u16> = lan
            .filter_map(|listener| Some(listener.local_addr().ok()?.port()))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// Runs all services that were bound until the lifetime stops; when one fails, all stop.
pub(super) async fn run(
    settings: Resolved,
    bound: Bound,
    lifetime: Lifetime,
) -> Result<(), Failure> {
    let writable = vec![settings.common.places.cache_dir.clone()];
    let mut running: Vec<Running<'_>> = Vec::new();
    if let Some(listeners) = bound.store {
        let store = store_thread::start(settings.store, listeners, writable, lifetime.clone())?;
        running.push(Box::pin(watched("store", flatten(store), &lifetime)));
    }
    if let Some(listeners) = bound.discovery {
        let discovery = zeroshare_discovery::run(settings.discovery, listeners, lifetime.clone());
        let discovery = lifetime.spawn("discovery", discovery);
        let ended = async { ended(discovery.await) };
        running.push(Box::pin(watched("discovery", ended, &lifetime)));
    }
    if let Some(listeners) = bound.fetcher {
        let fetcher = zeroshare_fetcher::run(settings.fetcher, listeners, lifetime.clone());
        let fetcher = lifetime.spawn("fetcher", fetcher);
        let ended = async { ended(fetcher.await) };
        running.push(Box::pin(watched("fetcher", ended, &lifetime)));
    }
    all(running).await.into_iter().collect()
}

/// A service that runs, and how it ends.
type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

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

fn listen_on_lan(settings: &Resolved) -> Result<Vec<TcpListener>, Failure> {
    if !settings.store.lan {
        return Ok(Vec::new());
    }
    let common = &settings.common;
    bind_lan(common.port, common.port_may_change).map_err(|error| taken(&error))
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
