//! `zeroshare doctor`: what keeps machines from finding each other, and what to do about it.

mod clock;
mod finding;
mod firewall;
mod network;
mod places;
mod ports;
mod programs;
mod setup;
mod stores;

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use zeroshare_api::deadline;
use zeroshare_api::health::{Health, check_health_over};
use zeroshare_wire::pb::discovery::v1::{DescribeNetworkRequest, DescribeNetworkResponse};
use zeroshare_wire::pb::store::v1::{DescribeStoreRequest, DescribeStoreResponse};

use crate::command::peers::listen;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{Needs, SERVICES, Services};
use crate::render::{Page, Report, words};
use crate::session::Session;
use finding::{Finding, Level};

const EXAMPLES: &str = "\
Examples:
  zeroshare doctor
  sudo zeroshare doctor          read the firewall's rules too
  zeroshare doctor --json";

/// A service of this machine that takes longer is in trouble.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// Nothing to choose.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArguments {}

#[derive(Debug, Serialize)]
struct DoctorReport {
    /// Whether nothing is wrong.
    healthy: bool,
    findings: Vec<Finding>,
}

impl Report for DoctorReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        for finding in &self.findings {
            match finding.level {
                Level::Ok => page.good("ok     ")?,
                Level::Hint => page.strong("note   ")?,
                Level::Fault => page.bad("WRONG  ")?,
            }
            writeln!(page, "{}", finding.text)?;
            if let Some(advice) = &finding.advice {
                writeln!(page, "       → {}", advice.replace('\n', "\n         "))?;
            }
        }
        Ok(())
    }
}

/// Tests everything, and fails when something is wrong.
pub async fn run(session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::DIAGNOSIS)?;
    let findings = examine(session, &services).await?;
    let faults = findings
        .iter()
        .filter(|finding| finding.level == Level::Fault)
        .count();
    let report = DoctorReport {
        healthy: faults == 0,
        findings,
    };
    session.output.report(&report)?;
    if report.healthy {
        return Ok(Exit::Done);
    }
    let count = words::count(faults as u64, "thing");
    let verb = if faults == 1 { "is" } else { "are" };
    let message = format!("{count} {verb} wrong");
    Err(Failure::new(Exit::Failed, "UNHEALTHY", message))
}

async fn examine(session: &Session, services: &Services) -> Result<Vec<Finding>, Failure> {
    let mut findings = node(services).await;
    if services.are_our_own() {
        listen(session, services).await;
    }
    let facts = network::gather(services.discovery()).await?;
    let (described, store) = describe(services).await;
    let settings = session.settings()?;
    findings.extend(network::interfaces(&facts));
    findings.extend(network::roads(&facts));
    let outsiders = described.as_ref().map(|one| !one.outsiders.is_empty());
    findings.extend(network::neighbours(&facts, outsiders.unwrap_or(false)));
    let in_group = described.as_ref().map(|described| described.in_group);
    findings.extend(stores::stores(network::stores(&facts), &settings, in_group).await);
    if let Some(described) = &described {
        findings.extend(network::strangers(&facts, described));
        findings.extend(clock::clock(described));
    }
    let usual = settings.discovery.group_port;
    if !services.are_our_own() {
        let taken = described.as_ref().map(|described| described.unicast_port);
        findings.extend(ports::ports(usual, taken, store.as_ref()));
    }
    findings.extend(firewall::firewall(usual).await);
    let (node, usual) = (services.places(), &settings.common.places);
    let looked_at = if services.are_our_own() { usual } else { node };
    let runs = !services.are_our_own();
    findings.extend(places::places(looked_at, runs, store.as_ref()));
    findings.extend(setup::setup(&session.env).await);
    Ok(findings)
}

/// Whether a node runs, and all of it.
async fn node(services: &Services) -> Vec<Finding> {
    if services.are_our_own() {
        let text = "no node runs here, so others can neither find nor read what this machine has";
        return vec![Finding::hint("node", text).advise("Start one: `zeroshare node`.")];
    }
    let mut findings = Vec::new();
    for name in SERVICES {
        let health = check_health_over(services.channel(name), "").await;
        findings.push(match health {
            Ok(Health::Serving) => {
                Finding::ok("node", format!("the node's {name} runs")).about(name)
            }
            Ok(Health::NotServing | Health::Unknown) | Err(_) => {
                Finding::fault("node", format!("the node's {name} does not answer"))
                    .about(name)
                    .advise(
                        "Its log says why. Stop the node, and start it again: `zeroshare node`.",
                    )
            }
        });
    }
    findings
}

async fn describe(
    services: &Services,
) -> (
    Option<DescribeNetworkResponse>,
    Option<DescribeStoreResponse>,
) {
    let (mut discovery, mut store) = (services.discovery(), services.store());
    let network = discovery.describe_network(DescribeNetworkRequest {});
    let network = deadline::within(ANSWER_TIME, network);
    let store = deadline::within(ANSWER_TIME, store.describe_store(DescribeStoreRequest {}));
    let (network, store) = tokio::join!(network, store);
    (
        network.ok().map(tonic::Response::into_inner),
        store.ok().map(tonic::Response::into_inner),
    )
}
