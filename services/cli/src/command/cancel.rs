//! `zeroshare cancel`: stops a fetch of the running node.

use std::path::PathBuf;

use clap::Args;
use zeroshare_content::ContentId;
use zeroshare_wire::pb::fetcher::v1::CancelFetchRequest;

use crate::command::fetch::{absolute, parse_id};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::session::Session;
use crate::words::of_status;

const EXAMPLES: &str = "\
Examples:
  zeroshare fetches
  zeroshare cancel sha256new_…";

/// Which fetch.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct CancelArguments {
    /// What is fetched.
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub id: ContentId,

    /// The copy that was asked for with `fetch --into`.
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
}

/// Cancels it, whoever wants it.
pub async fn run(arguments: CancelArguments, session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::RUNNING_NODE)?;
    let request = CancelFetchRequest {
        content_id: arguments.id.to_string(),
        into_path: arguments
            .into
            .as_deref()
            .map(absolute)
            .transpose()?
            .unwrap_or_default(),
        client: String::new(),
    };
    let answer = services.fetcher().cancel_fetch(request).await;
    answer.map_err(|status| of_status(&arguments.id.to_string(), &status))?;
    session.output.note(&format!(
        "cancelled; `zeroshare fetch {}` goes on where it was",
        arguments.id
    ));
    Ok(Exit::Done)
}
