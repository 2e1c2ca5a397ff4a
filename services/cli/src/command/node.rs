//! `zeroshare node`: all services of a machine in one process.

mod report;
mod services;
mod store_thread;

use clap::Args;
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
  zeroshare node --interface eth0 --port 4000";

/// What the node runs with.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct NodeArguments {
    /// The settings of all services.
    #[command(flatten)]
    pub settings: Settings,
}

/// Runs the node until it is asked to stop.
pub async fn run(arguments: NodeArguments, session: &Session) -> Result<Exit, Failure> {
    let settings = session.settings_with(arguments.settings)?;
    let places = settings.common.places.clone();
    let mut lock = NodeLock::acquire(&places, VERSION).map_err(|error| not_locked(&error))?;
    places
        .prepare()
        .map_err(|error| Failure::because("cannot start", &error))?;
    log_start(&settings);
    let bound = Bound::listen(&settings)?;
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

/// Everything that was settled; no setting is a secret.
fn log_start(settings: &Resolved) {
    info!(version = VERSION, pid = std::process::id(), "starting");
    info!(common = ?settings.common, "configuration");
    info!(discovery = ?settings.discovery, "configuration");
    info!(store = ?settings.store, "configuration");
    info!(fetcher = ?settings.fetcher, "configuration");
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
