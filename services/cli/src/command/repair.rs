//! `zeroshare repair`: fetches anew what does not verify.

use clap::Args;
use zeroshare_content::ContentId;

use crate::command::fetch::{self, FetchArguments, parse_id};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  zeroshare verify
  zeroshare repair sha256new_…";

/// What to repair.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RepairArguments {
    /// The tree that does not verify.
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub id: ContentId,

    /// Ask this host only, and nobody by datagram; may be repeated.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = fetch::parse_host)]
    pub from: Vec<String>,
}

/// Fetches it, replacing what is there if that does not verify.
pub async fn run(arguments: RepairArguments, session: &Session) -> Result<Exit, Failure> {
    let fetch = FetchArguments {
        replace: true,
        ..FetchArguments::of(vec![arguments.id], arguments.from)
    };
    fetch::run(fetch, session).await
}
