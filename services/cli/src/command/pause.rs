//! `zeroshare pause`: shares nothing for a while.

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::store::v1::PauseSharingRequest;

use crate::command::fetch::parse_duration;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::render::{Page, Report, words};
use crate::session::Session;
use crate::words::of_status;

const EXAMPLES: &str = "\
Examples:
  zeroshare pause               for an hour
  zeroshare pause 20m
  zeroshare pause --resume

Fetching goes on; only peers get nothing meanwhile. It ends by itself, and with the node.";

/// For how long.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct PauseArguments {
    /// How long nothing is shared, such as 20m or 8h; at most 31 days.
    #[arg(value_name = "DURATION", value_parser = parse_duration, default_value = "1h", conflicts_with = "resume")]
    pub duration: Duration,

    /// Share again, now.
    #[arg(long)]
    pub resume: bool,
}

#[derive(Debug, Serialize)]
struct PauseReport {
    paused: bool,
    /// When sharing goes on by itself; null when it is not paused.
    resume_time: Option<String>,
}

impl Report for PauseReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        match &self.resume_time {
            Some(time) => writeln!(page, "nothing is shared until {time}"),
            None => writeln!(page, "sharing"),
        }
    }
}

/// Pauses the running node, or lets it go on.
pub async fn run(arguments: PauseArguments, session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::RUNNING_NODE)?;
    let duration = (!arguments.resume).then(|| to_duration(arguments.duration));
    let answer = services
        .store()
        .pause_sharing(PauseSharingRequest { duration })
        .await
        .map_err(|status| of_status("sharing", &status))?;
    let resume_time = words::moment(answer.into_inner().resume_time.as_ref());
    session.output.report(&PauseReport {
        paused: resume_time.is_some(),
        resume_time,
    })?;
    Ok(Exit::Done)
}
