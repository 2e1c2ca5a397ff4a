//! `zeroshare node`: all services of a machine in one process.

mod report;
mod services;
mod store_thread;

use clap::{Args, ValueEnum};
use tracing::{info, warn};
use zeroshare_chassis::lock::{LockError, NodeLock};

use crate::command::version::VERSION;
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::session::Session;
use crate::settings::{Resolved, Settings};
use services::Bound;

const EXAMPLES: &str = "\
One node runs for each user: a second one says who runs and ends with exit code 1. It needs neither configuration nor
root. Every option can also be set in the environment or in the configuration file (`zeroshare config show`).

Examples:
  zeroshare node
  zeroshare node --store /srv/trees --allow 10.8.0.0/16
  zeroshare node --interface eth0 --port 4000
  zeroshare node --only store         one service in a process of its own, as in the units of `zeroshare setup`";

/// What the node runs with.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct NodeArguments {
    /// The settings of all services.
    #[command(flatten)]
    pub settings: Settings,

    /// Run this service only, while others run the rest; may be repeated [default: all].
    #[arg(long, value_enum, value_name = "SERVICE")]
    pub only: Vec<Service>,
}

/// A part of a node that can run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Service {
    /// Who is there.
    Discovery,
    /// What this machine offers.
    Store,
    /// What brings trees here.
    Fetcher,
}

impl Service {
    const ALL: [Self; 3] = [Self::Discovery, Self::Store, Self::Fetcher];
}

/// Runs the node until it is asked to stop.
pub async fn run(arguments: NodeArguments, session: &Session) -> Result<Exit, Failure> {
    let settings = session.settings_with(arguments.settings)?;
    let places = settings.common.places.clone();
    if !arguments.only.is_empty() {
        return run_only(&arguments.only, settings, session).await;
    }
    let mut lock = NodeLock::acquire(&places, VERSION).map_err(|error| not_locked(&error))?;
    prepare(&settings)?;
    let bound = Bound::listen(&settings, &Service::ALL)?;
    let ports = bound.ports();
    if let Err(error) = lock.set_ports(ports.clone()) {
        warn!(%error, "cannot write down the ports");
    }
    session.output.event(&report::Started::new(lock.facts()));
    info!(?ports, "listening");
    services::run(settings, bound, session.lifetime.child()).await?;
    info!("stopped");
    drop(lock);
    Ok(Exit::Done)
}

/// Runs a part of the node: its socket alone says that it runs.
async fn run_only(
    only: &[Service],
    settings: Resolved,
    session: &Session,
) -> Result<Exit, Failure> {
    prepare(&settings)?;
    let bound = Bound::listen(&settings, only)?;
    info!(ports = ?bound.ports(), ?only, "listening");
    services::run(settings, bound, session.lifetime.child()).await?;
    info!("stopped");
    Ok(Exit::Done)
}

/// Makes the directories, and logs everything that was settled; no setting is a secret.
fn prepare(settings: &Resolved) -> Result<(), Failure> {
    let prepared = settings.common.places.prepare();
    prepared.map_err(|error| Failure::because("cannot start", &error))?;
    info!(version = VERSION, pid = std::process::id(), "starting");
    info!(common = ?settings.common, "configuration");
    info!(discovery = ?settings.discovery, "configuration");
    info!(store = ?settings.store, "configuration");
    info!(fetcher = ?settings.fetcher, "configuration");
    Ok(())
}

fn not_locked(error: &LockError) -> Failure {
    match error {
        LockError::Running(running) => Failure::new(Exit::Failed, "NODE_RUNS", running.to_string()).advise(
            "`zeroshare status` shows how it is. Another user can run another one; so can you, with a --runtime-dir, \
             --state-dir and --cache-dir of its own.",
        ),
        LockError::Places(_) | LockError::Io { .. } => Failure::failed(chain(error)),
    }
}
