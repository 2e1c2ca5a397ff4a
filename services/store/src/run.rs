//! The service from start to end.

use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::{Notify, broadcast};
use tokio::task::JoinError;
use tonic::service::Routes;
use zeroshare_api::rpc::store::v1::local_store_service_server::LocalStoreServiceServer;
use zeroshare_api::rpc::store::v1::store_service_server::StoreServiceServer;
use zeroshare_api::{ReflectionError, reflection};
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::health::Health;
use zeroshare_chassis::listen::LocalListener;
use zeroshare_chassis::networks::ReadableNetworks;
use zeroshare_chassis::rate::Throttle;
use zeroshare_chassis::serve::{Admission, Entrance, Tls, Welcome, serve_lan, serve_local};
use zeroshare_content::ContentId;
use zeroshare_shelf::{IndexError, Shelf, ShelfError, ShelfEvent, ShelfOptions, boot_id};

use crate::access::Doorkeeper;
use crate::feeds::{self, Feeds};
use crate::kin;
use crate::local::Local;
use crate::pause;
use crate::peers::{Door, Peers};
use crate::settings::StoreConfig;
use crate::slots::Slots;
use crate::status;
use crate::store::{Facts, Parts, Store};
use crate::upkeep;

/// Names in health answers.
const PEERS_NAME: &str = "zeroshare.store.v1.StoreService";
const LOCAL_NAME: &str = "zeroshare.store.v1.LocalStoreService";

/// Changes that a watcher of contents may be behind.
const CHANGES_AHEAD: usize = 4096;

/// The largest request of a peer: many spans, many ranges.
const MAX_PEER_REQUEST_BYTES: usize = 256 * 1024;

/// Who may read in a group, and nobody else of the networks named behind it.
const MEMBERS: &str = "only members of the group";

/// Where the store is reached; all are bound already.
#[derive(Debug, Default)]
pub struct StoreListeners {
    /// By this machine.
    pub local: Vec<LocalListener>,
    /// By peers; none: they are not served.
    pub lan: Vec<TcpListener>,
    /// What peers must prove first, see [`StoreConfig::tls`].
    pub tls: Option<Tls>,
}

/// Why the store ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its index could not be used.
    #[error("cannot open the index of the stores")]
    Shelf(#[source] ShelfError),
    /// The stores could not be looked at.
    #[error("cannot look at the stores")]
    Look(#[source] IndexError),
    /// It does not know which boot this is.
    #[error("cannot tell which boot this is")]
    Boot(#[source] io::Error),
    /// A listener failed.
    #[error("cannot serve")]
    Serve(#[source] io::Error),
    /// The program is damaged.
    #[error(transparent)]
    Reflection(ReflectionError),
    /// A thread died.
    #[error("a thread ended too early")]
    Thread(#[source] JoinError),
}

/// Serves until the lifetime stops.
///
/// Listeners take calls from the start; they are answered once the stores were listed, which reads names only. What was
/// not verified by an earlier run is hashed meanwhile, and offered as it is done.
pub async fn run(
    config: StoreConfig,
    listeners: StoreListeners,
    lifetime: Lifetime,
) -> Result<(), RunError> {
    let (changes, _) = broadcast::channel(CHANGES_AHEAD);
    let work = Arc::new(Notify::new());
    let shelf = open_shelf(&config, &changes, &work, &lifetime).await?;
    let store = Arc::new(Store::new(Parts {
        shelf,
        feeds: Feeds::new(config.feeds.clone()),
        networks: Arc::new(ReadableNetworks::new(
            config.allow.clone(),
            config.left_alone.clone(),
        )),
        transfers: Slots::new(
            config.max_transfers as usize,
            config.max_transfers_per_peer as usize,
        ),
        uploads: Throttle::new(config.upload_limit_bytes),
        changes,
        work,
        lifetime: lifetime.clone(),
        facts: facts(&config, &listeners),
    }));

    lifetime.spawn("look at stores", upkeep::look(Arc::clone(&store)));
    lifetime.spawn("look at feeds", feeds::follow(Arc::clone(&store)));
    lifetime.spawn("end pauses", pause::follow(Arc::clone(&store)));
    lifetime.spawn("verify new trees", upkeep::verify_new(Arc::clone(&store)));
    if let Some(age) = config.reverify_age {
        let again = upkeep::verify_old(Arc::clone(&store), age, config.reverify_rate_bytes);
        lifetime.spawn("verify old trees", again);
    }
    if !config.static_peers.is_empty() {
        let friends = upkeep::resolve_friends(Arc::clone(&store), config.static_peers.clone());
        lifetime.spawn("look up static peers", friends);
    }
    serve(&config, &store, listeners).await
}

/// Opens the index and lists the stores for the first time.
async fn open_shelf(
    config: &StoreConfig,
    changes: &broadcast::Sender<ContentId>,
    work: &Arc<Notify>,
    lifetime: &Lifetime,
) -> Result<Shelf, RunError> {
    let (changes, work) = (changes.clone(), Arc::clone(work));
    let options = ShelfOptions {
        roots: config.roots.clone(),
        index: config.index.clone(),
        boot: boot_id().map_err(RunError::Boot)?,
        observer: Box::new(move |event| match event {
            ShelfEvent::Changed(id) => {
                // Fails when nobody watches.
                let _watchers = changes.send(id);
            }
            ShelfEvent::Work => work.notify_one(),
        }),
    };
    let opened = lifetime.spawn_blocking("open index", move || {
        let shelf = Shelf::open_index(options).map_err(RunError::Shelf)?;
        shelf.rescan(SystemTime::now()).map_err(RunError::Look)?;
        Ok(shelf)
    });
    opened.await.map_err(RunError::Thread)?
}

fn facts(config: &StoreConfig, listeners: &StoreListeners) -> Facts {
    let lan_addresses = listeners
        .lan
        .iter()
        .filter_map(|listener| listener.local_addr().ok());
    let networks = config.allow.iter().map(ToString::to_string);
    let peers = config.static_peers.iter().map(ToString::to_string);
    Facts {
        lan_addresses: lan_addresses.map(|address| address.to_string()).collect(),
        readers: config
            .group
            .iter()
            .map(|_| MEMBERS.to_owned())
            .chain(std::iter::once("directly connected".to_owned()))
            .chain(networks)
            .chain(peers)
            .collect(),
        restriction: match &config.restriction {
            Some(restriction) => restriction.to_string(),
            None => "none: it shares its threads".to_owned(),
        },
        listing: config.listing,
        part_deadline: config.part_deadline,
    }
}

async fn serve(
    config: &StoreConfig,
    store: &Arc<Store>,
    listeners: StoreListeners,
) -> Result<(), RunError> {
    let lifetime = &store.lifetime;
    let (lan_health, lan_routes) = lan_routes(config, store).await;
    let (local_health, local_routes) = local_routes(store).await?;
    tracing::info!(
        lan = ?store.facts.lan_addresses,
        restriction = store.facts.restriction,
        trees = store.shelf.counts().iter().map(|count| count.held_trees).sum::<u32>(),
        "store serves"
    );
    lan_health.serving().await;
    local_health.serving().await;
    let is_lan = !listeners.lan.is_empty();
    let lan = async {
        if !is_lan {
            return Ok(());
        }
        let bounds = config.bounds.clone();
        let entrance = Entrance {
            admission: admission(store),
            tls: listeners.tls,
        };
        serve_lan(
            listeners.lan,
            lan_routes,
            bounds,
            entrance,
            lifetime.clone(),
        )
        .await
    };
    let local = serve_local(listeners.local, local_routes, lifetime.clone());
    let mut serving = pin!(async { tokio::try_join!(lan, local) });
    tokio::select! {
        end = &mut serving => return end.map(drop).map_err(RunError::Serve),
        () = lifetime.stopping() => {}
    }
    lan_health.not_serving().await;
    local_health.not_serving().await;
    serving.await.map(drop).map_err(RunError::Serve)
}

/// What strangers can call: reads, and health.
async fn lan_routes(config: &StoreConfig, store: &Arc<Store>) -> (Health, Routes) {
    let (health, health_service) = Health::new(&[PEERS_NAME]).await;
    let peers = StoreServiceServer::new(Peers::new(Arc::clone(store), Door::Lan))
        .max_decoding_message_size(MAX_PEER_REQUEST_BYTES);
    let routes = Routes::new(peers).add_service(health_service);
    (health, kin::beside(routes, store, config.kin()))
}

async fn local_routes(store: &Arc<Store>) -> Result<(Health, Routes), RunError> {
    let (health, health_service) = Health::new(&[PEERS_NAME, LOCAL_NAME]).await;
    let (reflection, reflection_alpha) = reflection().map_err(RunError::Reflection)?;
    let routes = Routes::new(StoreServiceServer::new(Peers::new(
        Arc::clone(store),
        Door::Local,
    )))
    .add_service(LocalStoreServiceServer::new(Local::new(Arc::clone(store))))
    .add_service(health_service)
    .add_service(reflection)
    .add_service(reflection_alpha);
    Ok((health, routes))
}

/// Readers are served; of others a few are told that they are none, whichever service they ask, health too.
fn admission(store: &Arc<Store>) -> Admission {
    let networks = Arc::clone(&store.networks);
    let door = Doorkeeper::new(Instant::now());
    Arc::new(move |address| {
        if networks.allows(address) {
            Welcome::Served
        } else if door.admits(Instant::now()) {
            Welcome::Told(status::not_allowed("address", address.to_string()))
        } else {
            Welcome::HungUpOn
        }
    })
}
