//! `zeroshare refresh`: what nobody had is asked for anew.

use std::fmt;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio_stream::StreamExt as _;
use zeroshare_content::ContentId;
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::discovery::v1::{
    FindProvidersRequest, FindProvidersResponse, RefreshRequest,
};
use zeroshare_wire::pb::errors::v1::ErrorReason;

use crate::command::fetch::{parse_duration, parse_id};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{Needs, Services};
use crate::render::{Page, Report, Table};
use crate::session::Session;
use crate::together::all;
use crate::words::{of_reason, of_status};

const EXAMPLES: &str = "\
What nobody had is remembered for 3 seconds, in which it is looked for only shortly, and by a mount
not at all. This forgets it, in mounts of the running node too. Trees that are named are looked for
then; exit code 3 when nobody has one of them.

Examples:
  zeroshare refresh
  zeroshare refresh sha256new_…";

/// The most trees that are looked for at once.
const MOST_IDS: usize = 64;

/// What to look for anew.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RefreshArguments {
    /// Trees and files [default: all that nobody had].
    #[arg(value_name = "ID", value_parser = parse_id, num_args = 0..=MOST_IDS)]
    pub ids: Vec<ContentId>,

    /// How long they are looked for, such as 500ms or 10s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s")]
    pub wait: Duration,
}

#[derive(Debug, Serialize)]
struct RefreshReport {
    contents: Vec<ContentDocument>,
}

/// What was looked for, for programs.
#[derive(Debug, Serialize)]
struct ContentDocument {
    content_id: String,
    /// The first who said to have it; null: nobody.
    peer_id: Option<String>,
}

impl Report for RefreshReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        if self.contents.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&["ID", "PEER"]);
        for content in &self.contents {
            let peer = content.peer_id.as_deref().unwrap_or("nobody");
            table.row([content.content_id.clone(), peer.to_owned()]);
        }
        table.write(page)
    }
}

/// Forgets, and asks anew.
pub async fn run(arguments: RefreshArguments, session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::RUNNING_NODE)?;
    let request = RefreshRequest {
        content_ids: arguments.ids.iter().map(ToString::to_string).collect(),
    };
    let answer = services.discovery().refresh(request).await;
    answer.map_err(|status| of_status("what nobody had", &status))?;
    let asking = arguments.ids.iter();
    let asking = asking.map(|id| look_for(&services, *id, arguments.wait));
    let found: Result<Vec<_>, Failure> = all(asking.collect()).await.into_iter().collect();
    let contents = found?;
    let missing = contents.iter().find(|found| found.peer_id.is_none());
    let missing =
        missing.map(|found| of_reason(&found.content_id, ErrorReason::NoProviders, "", &|_| None));
    session.output.report(&RefreshReport { contents })?;
    missing.map_or(Ok(Exit::Done), Err)
}

async fn look_for(
    services: &Services,
    id: ContentId,
    wait: Duration,
) -> Result<ContentDocument, Failure> {
    let content_id = id.to_string();
    let failed = |status| of_status(&content_id, &status);
    let request = FindProvidersRequest {
        content_ids: vec![content_id.clone()],
        wait: Some(to_duration(wait)),
        enough: 0,
        with_askers: false,
    };
    let found = services.discovery().find_providers(request).await;
    let mut found = found.map_err(failed)?.into_inner();
    let first: Option<FindProvidersResponse> = found.next().await.transpose().map_err(failed)?;
    let peer_id = first.map(|first| first.provider.unwrap_or_default().peer_id);
    Ok(ContentDocument {
        content_id,
        peer_id,
    })
}
