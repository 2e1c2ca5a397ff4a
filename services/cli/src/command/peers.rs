//! `zeroshare peers`: the machines that are heard, and those that are not believed any more.

pub mod forgive;
mod show;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;
use zeroshare_wire::pb::discovery::v1::watch_peers_response::Event;
use zeroshare_wire::pb::discovery::v1::{ListBansRequest, WatchPeersRequest};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{DiscoveryClient, Needs, Services};
use crate::session::Session;
use crate::words::of_status;
use show::{BanDocument, PeerDocument, PeersReport};

const EXAMPLES: &str = "\
Examples:
  zeroshare peers
  zeroshare peers --watch
  zeroshare peers --json
  zeroshare peers forgive 192.168.1.7";

/// Without a node nobody listened before: how long to do so now.
const LISTEN_TIME: Duration = Duration::from_secs(2);

/// Between two looks with `--watch`.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What to do with peers.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct PeersArguments {
    /// Go on, and show what changes until Ctrl-C.
    #[arg(long)]
    pub watch: bool,

    /// What else to do.
    #[command(subcommand)]
    pub command: Option<PeersCommand>,
}

/// What can be done with peers beside listing them.
#[derive(Debug, Clone, Subcommand)]
pub enum PeersCommand {
    /// Lift bans: of a peer, of an address, or all.
    Forgive(forgive::ForgiveArguments),
}

/// Lists the peers that are heard now, or lifts bans.
pub async fn run(arguments: PeersArguments, session: &Session) -> Result<Exit, Failure> {
    match arguments.command {
        Some(PeersCommand::Forgive(whom)) => {
            session.unless_stopped(forgive::run(whom, session)).await
        }
        None if arguments.watch => {
            tokio::select! {
                shown = watch(session) => shown,
                // The usual end.
                () = session.lifetime.stopping() => Ok(Exit::Done),
            }
        }
        None => session.unless_stopped(list(session)).await,
    }
}

async fn list(session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::DISCOVERY)?;
    if services.are_our_own() {
        listen(session, &services).await;
    }
    session.output.report(&look(services.discovery()).await?)?;
    Ok(Exit::Done)
}

/// Gives peers time to be heard.
pub(super) async fn listen(session: &Session, services: &Services) {
    session
        .output
        .note("no node runs here, so nobody listened before: listening for 2 s");
    // The stream keeps our own discovery busy; its time being over is the usual end.
    let end = Instant::now() + LISTEN_TIME;
    let _ready = services.discovery().watch_peers(WatchPeersRequest {}).await;
    tokio::time::sleep_until(end).await;
}

/// Shows the peers again whenever something changed; on a terminal every second, in the same place.
async fn watch(session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::DISCOVERY)?;
    let mut shown: Option<PeersReport> = None;
    loop {
        let now = look(services.discovery()).await?;
        if session.output.redraws() {
            session.output.redraw(&now)?;
        } else if shown.as_ref().is_none_or(|shown| !shown.is_like(&now)) {
            session.output.report(&now)?;
        }
        shown = Some(now);
        sleep(LOOK_INTERVAL).await;
    }
}

async fn look(mut discovery: DiscoveryClient) -> Result<PeersReport, Failure> {
    let failed = |status| of_status("the peers", &status);
    let mut events = discovery
        .watch_peers(WatchPeersRequest {})
        .await
        .map_err(failed)?
        .into_inner();
    let mut peers = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event.map_err(failed)?.event {
            Some(Event::Up(peer)) => {
                let key = (peer.peer_id.clone(), peers.len());
                peers.insert(key, PeerDocument::from(&peer));
            }
            Some(Event::Down(_)) | None => {}
            Some(Event::SnapshotDone(_)) => break,
        }
    }
    let bans = discovery.list_bans(ListBansRequest {}).await;
    let bans = bans.map_err(failed)?.into_inner().bans;
    Ok(PeersReport {
        peers: peers.into_values().collect(),
        bans: bans.iter().map(BanDocument::from).collect(),
    })
}
