//! The service as a whole.

use std::{
    collections::BTreeSet,
    io,
    time::{Instant, SystemTime},
};

use tokio::sync::mpsc;
use tonic::service::Routes;
use tracing::{info, warn};
use zeroshare_api::{
    ReflectionError, connect::local_channel, reflection,
    rpc::discovery::v1::discovery_service_server::DiscoveryServiceServer,
};
use zeroshare_chassis::{
    Lifetime,
    health::Health,
    listen::{ListenError, LocalListener},
    serve,
};
use zeroshare_identity::{GroupSecret, KeyError, node_key};
use zeroshare_membership::{Membership, Memory, Presence, Settings, Subnet};
use zeroshare_wire::datagram::{GroupKey, NodeId, SigningKey};

use crate::{
    advert::{self, Advert},
    api::Api,
    engine::{Command, Engine, Parts, ZeroShare, today},
    interfaces::{self, InterfaceChoice},
    settings::{DiscoveryConfig, Mode},
    sockets::{Sockets, UnicastSockets},
    state, static_peers, store_watch,
};

/// The service's full name, as health knows it.
const SERVICE: &str = "zeroshare.discovery.v1.DiscoveryService";

/// Commands that wait for the engine: a store tells of all it holds at once.
const MOST_COMMANDS: usize = 256;

/// Datagrams that wait for the engine; more wait in the kernel, and then are lost.
const MOST_INCOMING: usize = 256;

/// The bound listeners of the service.
#[derive(Debug)]
pub struct DiscoveryListeners {
    /// The local API's.
    pub local: Vec<LocalListener>,
}

impl DiscoveryListeners {
    /// Binds what the configuration names.
    pub fn bind(config: &DiscoveryConfig) -> Result<Self, ListenError> {
        let local: Result<_, _> = config.local.iter().map(LocalListener::bind).collect();
        Ok(Self { local: local? })
    }
}

/// Why the service ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The node has no key.
    #[error("cannot get this node's key")]
    Key(#[source] KeyError),
    /// The UDP port is taken, or the system refused.
    #[error("cannot take UDP port {port}")]
    Sockets {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The local API cannot be served.
    #[error("cannot serve discovery's local API")]
    Serve(#[source] io::Error),
    /// The local API cannot describe itself.
    #[error(transparent)]
    Reflection(ReflectionError),
}

/// Runs discovery until the lifetime stops.
pub async fn run(
    config: DiscoveryConfig,
    listeners: DiscoveryListeners,
    lifetime: Lifetime,
) -> Result<(), RunError> {
    let unicast = UnicastSockets::bind(config.unicast_port, config.unicast_port_may_change)
        .map_err(|source| RunError::Sockets {
            port: config.unicast_port,
            source,
        })?;
    let (commands, receiver) = mpsc::channel(MOST_COMMANDS);
    let (inbox, incoming) = mpsc::channel(MOST_INCOMING);
    let parts = parts(&config, unicast, inbox, &lifetime)?;
    let engine = Engine::new(parts, commands.downgrade(), lifetime.clone());
    lifetime.spawn("engine", engine.run(receiver, incoming));
    watch(&config, &commands, &lifetime);

    let (health, health_service) = Health::new(&[SERVICE]).await;
    let (v1, v1alpha) = reflection().map_err(RunError::Reflection)?;
    let routes = Routes::new(DiscoveryServiceServer::new(Api::new(
        commands,
        InterfaceChoice::of(&config),
        local_channel(&config.store),
    )))
    .add_service(health_service)
    .add_service(v1)
    .add_service(v1alpha);
    health.serving().await;
    let stopping = lifetime.stopping();
    lifetime.spawn("health", async move {
        stopping.await;
        health.not_serving().await;
    });
    serve::serve_local(listeners.local, routes, lifetime)
        .await
        .map_err(RunError::Serve)
}

fn parts(
    config: &DiscoveryConfig,
    unicast: UnicastSockets,
    inbox: mpsc::Sender<crate::sockets::Incoming>,
    lifetime: &Lifetime,
) -> Result<Parts, RunError> {
    let (key, state_dir, memory) = match config.mode {
        Mode::AsksOnly => (
            node_key::in_memory().map_err(RunError::Key)?,
            None,
            Memory::default(),
        ),
        Mode::Full => {
            let memory = state::load_memory(&config.state_dir, SystemTime::now());
            (own_key(config)?, Some(config.state_dir.clone()), memory)
        }
    };
    let unicast_port = unicast.port();
    info!(node = %key.node_id(), unicast_port, group_port = config.group_port, "discovery starts");
    let settings = settings(config, key, unicast_port, memory.clone())?;
    let seed = u64::from_ne_bytes(node_key::random().map_err(RunError::Key)?);
    let machine = Membership::new(Instant::now(), settings, fastrand::Rng::with_seed(seed));
    let sockets =
        Sockets::new(config.group_port, unicast, inbox, lifetime.clone()).map_err(|source| {
            RunError::Sockets {
                port: unicast_port,
                source,
            }
        })?;
    Ok(Parts {
        advert: advert(config, machine.node_id(), lifetime),
        machine,
        sockets: sockets.hearing_0share(config.has_0share()),
        zero_share: config
            .has_0share()
            .then(|| ZeroShare::new(config.group_port)),
        unicast_port,
        state_dir,
        memory,
    })
}

/// Starts to tell Zero Install for .NET where the store is, unless that is switched off.
fn advert(config: &DiscoveryConfig, node: NodeId, lifetime: &Lifetime) -> Advert {
    if !config.has_dotnet() {
        return Advert::default();
    }
    let (advert, place) = Advert::followed(node);
    let stopping = lifetime.stopping();
    lifetime.spawn("mDNS", advert::advertise(node, place, stopping));
    advert
}

/// The key on disk; where the disk refuses, one in memory: who is there matters more than who was.
///
/// In a group the store proves to have the same key, so both must find it.
fn own_key(config: &DiscoveryConfig) -> Result<SigningKey, RunError> {
    match node_key::on_disk(&config.state_dir) {
        Err(error @ (KeyError::Io { .. } | KeyError::Forbidden { .. }))
            if config.group.is_none() =>
        {
            warn!(
                error = zeroshare_chassis::process::chain(&error),
                "this node gets a new id with each start"
            );
            node_key::in_memory().map_err(RunError::Key)
        }
        key => key.map_err(RunError::Key),
    }
}

fn settings(
    config: &DiscoveryConfig,
    key: SigningKey,
    unicast_port: u16,
    memory: Memory,
) -> Result<Settings, RunError> {
    let allowed: BTreeSet<Subnet> = config
        .allowed
        .iter()
        .filter_map(|network| Subnet::new(network.base(), network.prefix()).ok())
        .collect();
    Ok(Settings {
        key,
        incarnation: u64::from_ne_bytes(node_key::random().map_err(RunError::Key)?),
        unicast_port,
        group: config
            .group
            .as_ref()
            .map_or_else(GroupKey::none, GroupSecret::datagrams),
        presence: match config.mode {
            Mode::Full => Presence::Announced,
            Mode::AsksOnly => Presence::Hidden,
        },
        allowed: allowed.into_iter().collect(),
        day: today(),
        memory,
        assumed_nodes: 0,
    })
}

/// Spawns the watches over interfaces, static peers and the store.
fn watch(config: &DiscoveryConfig, commands: &mpsc::Sender<Command>, lifetime: &Lifetime) {
    let engine = commands.clone();
    let choice = InterfaceChoice::of(config);
    let interfaces = interfaces::watch(choice, move |interfaces| {
        let engine = engine.clone();
        async move { engine.send(Command::Interfaces(interfaces)).await.is_ok() }
    });
    spawn_until_stop(lifetime, "interfaces", interfaces);
    if !config.static_peers.is_empty() {
        let engine = commands.clone();
        let peers = static_peers::watch(config.static_peers.clone(), move |peers| {
            let engine = engine.clone();
            async move { engine.send(Command::StaticPeers(peers)).await.is_ok() }
        });
        spawn_until_stop(lifetime, "static peers", peers);
    }
    if config.mode == Mode::Full {
        let follow = store_watch::watch(config.store.clone(), commands.clone());
        spawn_until_stop(lifetime, "store", follow);
    }
}

fn spawn_until_stop(
    lifetime: &Lifetime,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let stopping = lifetime.stopping();
    lifetime.spawn(name, async move {
        tokio::select! {
            () = stopping => {}
            () = task => {}
        }
    });
}
