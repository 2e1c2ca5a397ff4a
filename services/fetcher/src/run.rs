//! Serving the local API until the lifetime stops.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinError;
use tonic::service::Routes;
use tracing::{info, warn};
use zeroshare_api::rpc::fetcher::v1::fetcher_service_server::{FetcherServiceServer, SERVICE_NAME};
use zeroshare_api::{ReflectionError, reflection};
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::health::Health;
use zeroshare_chassis::listen::LocalListener;
use zeroshare_chassis::process::chain;
use zeroshare_chassis::serve::serve_local;

use crate::group::JoinGroupError;
use crate::service::Service;
use crate::settings::FetcherConfig;
use crate::shared::Shared;

/// What nobody went on with for a week is not wanted any more.
const STALE: Duration = Duration::from_hours(7 * 24);

/// Between two looks for it.
const DAY: Duration = Duration::from_hours(24);

/// A megabyte of content and what belongs to it.
const MAX_MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// Bound sockets of the local API.
#[derive(Debug)]
pub struct FetcherListeners {
    /// Unix sockets, and addresses that were named; never the LAN.
    pub local: Vec<LocalListener>,
}

/// Why the fetcher ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its own descriptors are damaged.
    #[error("cannot describe the local API")]
    Reflection(#[from] ReflectionError),
    /// It cannot prove to peers that it is of their group.
    #[error(transparent)]
    Join(JoinGroupError),
    /// A thread died.
    #[error("a thread ended too early")]
    Thread(#[source] JoinError),
    /// The sockets cannot be served.
    #[error("cannot serve the local API")]
    Serve(#[source] io::Error),
}

/// Serves the local API until the lifetime stops; fetches that run are stopped then, and can be resumed.
pub async fn run(
    mut config: FetcherConfig,
    listeners: FetcherListeners,
    lifetime: Lifetime,
) -> Result<(), RunError> {
    info!(
        target_store = config.target_store.as_ref().map(|path| path.display().to_string()),
        stores = config.roots.len(),
        locate_timeout = ?config.locate_timeout,
        no_sync = config.no_sync,
        quota = config.quota,
        in_group = config.group.is_some(),
        "fetcher starts"
    );
    let joining = config.clone();
    let joining = lifetime.spawn_blocking("join the group", move || joining.member());
    let member = joining.await.map_err(RunError::Thread)?;
    config.patience.connect.member = member.map_err(RunError::Join)?;
    sweep(&config, &lifetime);
    let (health, health_server) = Health::new(&[SERVICE_NAME]).await;
    let (reflection_v1, reflection_v1alpha) = reflection()?;
    let shared = Arc::new(Shared::new(config, lifetime.clone()));
    let service = FetcherServiceServer::new(Service::new(shared))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let routes = Routes::new(service)
        .add_service(health_server)
        .add_service(reflection_v1)
        .add_service(reflection_v1alpha);
    health.serving().await;
    let stopping = lifetime.stopping();
    let draining = lifetime.spawn("drain", async move {
        stopping.await;
        health.not_serving().await;
    });
    let served = serve_local(listeners.local, routes, lifetime.clone()).await;
    if served.is_err() {
        draining.abort();
    }
    served.map_err(RunError::Serve)
}

/// Removes in the background what nobody went on with, each day anew.
fn sweep(config: &FetcherConfig, lifetime: &Lifetime) {
    let roots = config.roots.iter().map(|root| root.path.clone());
    let stores: BTreeSet<PathBuf> = roots.collect();
    let (tasks, stopping) = (lifetime.clone(), lifetime.stopping());
    let sweeping = async move {
        let mut days = tokio::time::interval(DAY);
        days.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            days.tick().await;
            let stores = stores.clone();
            let swept = tasks.spawn_blocking("sweep", move || sweep_once(&stores));
            if swept.await.is_err() {
                warn!("sweeping leftovers failed");
            }
        }
    };
    let until_stopped = async move {
        tokio::select! {
            () = sweeping => {}
            () = stopping => {}
        }
    };
    drop(lifetime.spawn("sweep", until_stopped));
}

fn sweep_once(stores: &BTreeSet<PathBuf>) {
    for store in stores.iter().filter(|path| path.is_dir()) {
        match zeroshare_staging::sweep(store, SystemTime::now(), STALE) {
            Ok(swept) if swept.removed.is_empty() => {}
            Ok(swept) => {
                info!(store = %store.display(), removed = swept.removed.len(), "leftovers removed");
            }
            // A store of somebody else is theirs to tend.
            Err(error) => {
                let error = chain(&error);
                tracing::debug!(store = %store.display(), error, "not swept");
            }
        }
    }
}
