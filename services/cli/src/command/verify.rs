//! `zeroshare verify`: hashes what is here, and names what does not match.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use clap::Args;
use serde::Serialize;
use tokio_stream::StreamExt as _;
use zeroshare_content::ContentId;
use zeroshare_wire::pb::store::v1::{VerifyContentRequest, VerifyContentResponse};

use crate::command::fetch::parse_id;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::render::{Page, Phase, Progress, Report, Step, Track};
use crate::session::Session;
use crate::words::of_status;

const EXAMPLES: &str = "\
Examples:
  zeroshare verify                   all that this machine holds
  zeroshare verify sha256new_…";

/// What to verify.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArguments {
    /// Trees; without any, all.
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub ids: Vec<ContentId>,
}

#[derive(Debug, Serialize)]
struct VerifyReport {
    contents: Vec<Verified>,
}

#[derive(Debug, Serialize)]
struct Verified {
    content_id: String,
    verifies: bool,
    size_bytes: u64,
    corrupt_files: Vec<String>,
}

impl Report for VerifyReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        for content in &self.contents {
            if content.verifies {
                page.good("ok       ")?;
            } else {
                page.bad("corrupt  ")?;
            }
            writeln!(page, "{}", content.content_id)?;
            for file in &content.corrupt_files {
                writeln!(page, "           {file}")?;
            }
        }
        Ok(())
    }
}

/// Verifies, and fails if anything does not match.
pub async fn run(arguments: VerifyArguments, session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::STORE)?;
    let what = match arguments.ids.as_slice() {
        [only] => only.to_string(),
        _ => "what is here".to_owned(),
    };
    let request = VerifyContentRequest {
        content_ids: arguments.ids.iter().map(ToString::to_string).collect(),
    };
    let answer = services.store().verify_content(request).await;
    let mut answers = answer
        .map_err(|status| of_status(&what, &status))?
        .into_inner();

    let progress = Progress::new(&session.output);
    let mut tracks = BTreeMap::new();
    let mut contents = Vec::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|status| of_status(&what, &status))?;
        if answer.finished {
            tracks.remove(&answer.content_id);
            contents.push(Verified {
                verifies: answer.corrupt_files.is_empty(),
                content_id: answer.content_id,
                size_bytes: answer.total_bytes,
                corrupt_files: answer.corrupt_files,
            });
        } else {
            let track = tracks
                .entry(answer.content_id.clone())
                .or_insert_with(|| progress.track(&answer.content_id));
            show(track, &answer);
        }
    }
    drop(tracks);
    contents.sort_by(|left, right| left.content_id.cmp(&right.content_id));
    let corrupt = contents.iter().filter(|content| !content.verifies).count();
    session.output.report(&VerifyReport { contents })?;
    if corrupt == 0 {
        Ok(Exit::Done)
    } else {
        Err(corrupted(corrupt))
    }
}

fn corrupted(number: usize) -> Failure {
    let words = if number == 1 {
        "one of them does not verify".to_owned()
    } else {
        format!("{number} do not verify")
    };
    Failure::new(Exit::Failed, "STORE_CORRUPT", words)
        .advise("`zeroshare repair ID` fetches a tree anew and replaces it. It is not offered to others meanwhile.")
}

fn show(track: &mut Track<'_>, answer: &VerifyContentResponse) {
    track.show(Step {
        done_bytes: answer.done_bytes,
        total_bytes: answer.total_bytes,
        ..Step::new(Phase::Verifying)
    });
}
