//! `zeroshare find`: who has it, and how much it is.

mod ask;
mod explain;
pub(in crate::command) mod story;
mod why;

use std::fmt::{self, Write as _};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio_stream::StreamExt as _;
use tracing::{Instrument as _, info_span};
use zeroshare_api::errors;
use zeroshare_content::{ContentId, Entry, MAX_MANIFEST_BYTES, Manifest, TreeId};
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::errors::v1::ErrorReason;
use zeroshare_wire::pb::fetcher::v1::ReadManifestRequest;

use crate::command::fetch::{parse_duration, parse_host, parse_id};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{Needs, Services};
use crate::render::{Page, Report, Table, words};
use crate::session::Session;
use crate::words::{of_reason, of_status};
use ask::{Asker, Holder, holders};
use story::Line;
use why::Why;

const EXAMPLES: &str = "\
Examples:
  zeroshare find sha256new_…
  zeroshare find sha256new_… --wait 5s
  zeroshare find sha256new_… --explain
  zeroshare find sha256new_… --from 192.168.1.7";

/// As long as a fetch looks for peers by default.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// What to look for, and how long.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct FindArguments {
    /// A tree.
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub id: ContentId,

    /// How long to wait for answers, such as 500ms or 10s [default: 1s].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,

    /// Ask this host only, and nobody by datagram; may be repeated.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_host)]
    pub from: Vec<String>,

    /// Tell what happens: whose summaries match, who is asked how and when, who answers, and why nobody has it.
    #[arg(long, conflicts_with = "from")]
    pub explain: bool,
}

#[derive(Debug, Serialize)]
struct FindReport {
    content_id: String,
    /// Where it lies here; null when it is not here whole.
    path: Option<String>,
    /// Sum of its files, each as often as it occurs; null while nobody described it.
    size_bytes: Option<u64>,
    /// Its files and links; null for a blob, and while nobody described it.
    files: Option<u64>,
    providers: Vec<Holder>,
    /// What happened, with `--explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    story: Option<Vec<Line>>,
    /// Why nobody has it, with `--explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Vec<Why>>,
}

impl Report for FindReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        page.strong(&self.content_id)?;
        if let Some(bytes) = self.size_bytes {
            write!(page, "  {}", words::size(bytes))?;
        }
        if let Some(files) = self.files {
            write!(page, " in {}", words::count(files, "file"))?;
        }
        writeln!(page)?;
        if let Some(path) = &self.path {
            writeln!(page, "here: {path}")?;
        }
        if let Some(story) = &self.story {
            write_story(story, page)?;
        }
        for why in self.why.iter().flatten() {
            page.bad("nobody: ")?;
            writeln!(page, "{}", why.text)?;
            writeln!(page, "        {}", why.advice)?;
        }
        if self.providers.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&["PEER", "ADDRESS", "HAS", "SAYS"]);
        for holder in &self.providers {
            table.row(holder.cells());
        }
        table.write(page)
    }
}

fn write_story(story: &[Line], page: &mut Page) -> fmt::Result {
    for line in story {
        writeln!(page, "{:>9.1} ms  {}", line.after_ms, line.text)?;
    }
    Ok(())
}

/// What a manifest tells up front.
struct Described {
    path: Option<String>,
    size_bytes: u64,
    files: u64,
}

/// Finds it, or ends with the exit code for "nobody has it".
pub async fn run(arguments: FindArguments, session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::ALL)?;
    let span = info_span!(parent: None, "cli.find", id = %arguments.id);
    let finding = async {
        if arguments.explain {
            explain(&arguments, session, &services).await
        } else {
            find(&arguments, session, &services).await
        }
    };
    finding.instrument(span).await
}

/// Tells the whole story, also that of finding nobody.
async fn explain(
    arguments: &FindArguments,
    session: &Session,
    services: &Services,
) -> Result<Exit, Failure> {
    let id = arguments.id;
    let wait = arguments.wait.unwrap_or(DEFAULT_WAIT);
    let asker = Asker::new(session)?;
    let explained = explain::explained(&asker, services.discovery(), id, wait).await?;
    // Only now: another lookup beside it would mix with the story.
    let described = describe_any(services, id, &[], wait).await?;
    let providers = holders(explained.asked);
    let is_nobody = providers.is_empty() && described.is_none();
    let mut report = report(id, providers, described);
    report.why = Some(if report.path.is_some() {
        Vec::new()
    } else {
        explained.why
    });
    report.story = Some(explained.story);
    session.output.report(&report)?;
    if is_nobody {
        return Err(nobody_has(id));
    }
    conclude(&report)
}

async fn find(
    arguments: &FindArguments,
    session: &Session,
    services: &Services,
) -> Result<Exit, Failure> {
    let id = arguments.id;
    let wait = arguments.wait.unwrap_or(DEFAULT_WAIT);
    let asker = Asker::new(session)?;
    let asking = async {
        if arguments.from.is_empty() {
            asker.discovered(services.discovery(), id, wait).await
        } else {
            Ok(asker.named(&arguments.from, id).await)
        }
    };
    let describing = describe_any(services, id, &arguments.from, wait);
    let (providers, described) = tokio::join!(asking, describing);
    let (providers, described) = (providers?, described?);
    if providers.is_empty() && described.is_none() {
        return Err(nobody_has(id));
    }
    let report = report(id, providers, described);
    session.output.report(&report)?;
    conclude(&report)
}

fn nobody_has(id: ContentId) -> Failure {
    of_reason(&id.to_string(), ErrorReason::NoProviders, "", &|_| None)
}

fn report(id: ContentId, providers: Vec<Holder>, described: Option<Described>) -> FindReport {
    let stated = providers.iter().find_map(|holder| holder.size_bytes);
    let size = described.as_ref().map(|described| described.size_bytes);
    FindReport {
        content_id: id.to_string(),
        size_bytes: size.or(stated),
        files: described.as_ref().map(|described| described.files),
        path: described.and_then(|described| described.path),
        providers,
        story: None,
        why: None,
    }
}

/// What is said by datagram only is no success: it may be of a node that is gone.
fn conclude(report: &FindReport) -> Result<Exit, Failure> {
    let is_known = report.path.is_some() || report.size_bytes.is_some();
    if is_known || report.providers.iter().any(Holder::answers) {
        return Ok(Exit::Done);
    }
    let message = format!(
        "none of those who are said to have {} answers",
        report.content_id
    );
    let reason = crate::words::name(ErrorReason::NoProviders);
    Err(Failure::new(Exit::Nobody, reason, message).advise(
        "They may have gone, or a firewall keeps their port closed; `zeroshare peers` lists those that are heard.",
    ))
}

async fn describe_any(
    services: &Services,
    id: ContentId,
    from: &[String],
    wait: Duration,
) -> Result<Option<Described>, Failure> {
    match id {
        ContentId::Tree(tree) => describe(services, tree, from, wait).await,
        ContentId::Blob(_) => Ok(None),
    }
}

/// Reads the tree's manifest, from here or from a peer; `None` when nobody has it.
async fn describe(
    services: &Services,
    tree: TreeId,
    from: &[String],
    wait: Duration,
) -> Result<Option<Described>, Failure> {
    let shown = tree.to_string();
    let failed = |status| of_status(&shown, &status);
    let request = ReadManifestRequest {
        content_ids: vec![shown.clone()],
        locate_timeout: Some(to_duration(wait)),
        from: from.to_vec(),
    };
    let mut parts = match services.fetcher().read_manifest(request).await {
        Ok(parts) => parts.into_inner(),
        Err(status) if nobody(&status) => return Ok(None),
        Err(status) => return Err(failed(status)),
    };
    let (mut text, mut path) = (Vec::new(), None);
    while let Some(part) = parts.next().await {
        let part = match part {
            Ok(part) => part,
            Err(status) if nobody(&status) => return Ok(None),
            Err(status) => return Err(failed(status)),
        };
        if !part.path.is_empty() {
            path = Some(part.path);
        }
        text.extend_from_slice(&part.data);
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(Failure::failed(format!(
                "the manifest of {shown} is too long"
            )));
        }
    }
    let manifest = Manifest::verified(&tree, text)
        .map_err(|error| Failure::because(&format!("the manifest of {shown}"), &error))?;
    let is_file = |entry: &Entry| !matches!(entry, Entry::Directory);
    let files = manifest
        .lines()
        .iter()
        .filter(|line| is_file(&line.entry))
        .count() as u64;
    Ok(Some(Described {
        path,
        size_bytes: manifest.total_size(),
        files,
    }))
}

fn nobody(status: &tonic::Status) -> bool {
    matches!(
        errors::reason(status),
        Some(
            ErrorReason::NoProviders
                | ErrorReason::ProvidersExhausted
                | ErrorReason::ContentNotFound
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(claim: &'static str) -> FindReport {
        FindReport {
            content_id: "x".to_owned(),
            path: None,
            size_bytes: None,
            files: None,
            providers: vec![Holder {
                peer_id: Some("p".to_owned()),
                address: Some("10.77.0.3:38339".to_owned()),
                claim,
                held_pieces: None,
                total_pieces: None,
                size_bytes: None,
            }],
            story: None,
            why: None,
        }
    }

    #[test]
    fn a_provider_that_does_not_answer_is_shown_as_such_and_is_nobody() {
        let silent = report("stated");
        let failure = conclude(&silent).unwrap_err();
        assert_eq!(failure.exit, Exit::Nobody);
        assert_eq!(failure.reason, "NO_PROVIDERS");
        let mut page = Page::new(false);
        silent.write(&mut page).unwrap();
        assert!(page.into_text().contains("stated, does not answer"));
    }

    #[test]
    fn one_that_answers_or_a_tree_that_is_here_is_found() {
        assert_eq!(conclude(&report("confirmed")), Ok(Exit::Done));
        let here = FindReport {
            path: Some("/store/x".to_owned()),
            ..report("stated")
        };
        assert_eq!(conclude(&here), Ok(Exit::Done));
    }
}
