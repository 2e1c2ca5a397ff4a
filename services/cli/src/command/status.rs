//! `zeroshare status`: how the running node is, and what it fetches.

mod gather;
mod show;
mod watch;

use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::session::Session;

const EXAMPLES: &str = "\
With --watch on a terminal the arrow keys select a transfer, c cancels it (after a question), q quits. Elsewhere each transfer's
changes are lines; with --json each change is a document on a line.

Examples:
  zeroshare status
  zeroshare status --json
  zeroshare status --watch";

/// What of the status.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArguments {
    /// Show the transfers that run, from whom and for whom, until Ctrl-C; and cancel them with a key.
    #[arg(long)]
    pub watch: bool,
}

/// How a node is; a part that did not answer is null.
#[derive(Debug, Serialize)]
struct StatusReport {
    /// Whether all services serve.
    serving: bool,
    node: NodePart,
    services: Vec<ServicePart>,
    discovery: Option<DiscoveryPart>,
    store: Option<StorePart>,
    fetcher: Option<FetcherPart>,
}

#[derive(Debug, Serialize)]
struct NodePart {
    /// "user" or "machine".
    owner: &'static str,
    runtime_dir: String,
    /// Null when the services run as processes of their own.
    pid: Option<u32>,
    version: Option<String>,
    start_time: Option<String>,
    ports: Vec<u16>,
}

#[derive(Debug, Serialize)]
struct ServicePart {
    name: &'static str,
    /// "serving", "not serving", or "no answer".
    health: &'static str,
}

#[derive(Debug, Serialize)]
struct DiscoveryPart {
    node_id: String,
    unicast_port: u32,
    interfaces: Vec<InterfacePart>,
    sent_datagrams: u64,
    received_datagrams: u64,
    dropped_datagrams: u64,
    live_peers: u32,
    /// Whether it hears members of its group only.
    in_group: bool,
    /// Machines heard that are not of its group, or of one.
    outsiders: Vec<OutsiderPart>,
}

#[derive(Debug, Serialize)]
struct OutsiderPart {
    address: String,
    datagrams: u64,
    last_seen_time: Option<String>,
    in_group: bool,
}

#[derive(Debug, Serialize)]
struct InterfacePart {
    name: String,
    addresses: Vec<String>,
    roads: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StorePart {
    roots: Vec<RootPart>,
    lan_addresses: Vec<String>,
    readers: Vec<String>,
    active_transfers: u32,
    sent_bytes: u64,
    restriction: String,
    /// While nothing is shared: when that ends.
    resume_time: Option<String>,
    upload_limit_bytes: u64,
    /// Single files.
    shared_files: u32,
}

#[derive(Debug, Serialize)]
struct RootPart {
    path: String,
    shared: bool,
    held_trees: u32,
    quarantined_trees: u32,
}

#[derive(Debug, Serialize)]
struct FetcherPart {
    running_fetches: usize,
    known_fetches: usize,
}

/// Says how the node is, or shows what it fetches.
pub async fn run(arguments: &StatusArguments, session: &Session) -> Result<Exit, Failure> {
    if !arguments.watch {
        return session.unless_stopped(report(session)).await;
    }
    tokio::select! {
        shown = watch::run(session) => shown,
        // The usual end.
        () = session.lifetime.stopping() => Ok(Exit::Done),
    }
}

/// Says how the node is, and fails unless all of it serves.
async fn report(session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::RUNNING_NODE)?;
    let report = gather::gather(&services).await;
    session.output.report(&report)?;
    if report.serving {
        return Ok(Exit::Done);
    }
    let silent = report
        .services
        .iter()
        .filter(|service| service.health != gather::SERVING);
    let silent = silent.map(|service| format!("{} ({})", service.name, service.health));
    let silent = silent.collect::<Vec<_>>().join(", ");
    Err(Failure::new(
        Exit::Failed,
        "NOT_SERVING",
        format!("not all services serve: {silent}"),
    )
    .advise("Just started? Ask again in a second. Otherwise its log says why."))
}
