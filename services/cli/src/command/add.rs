//! `zeroshare add`: puts a tree of one's own into the store.

mod send;

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{Instrument as _, info_span};
use zeroshare_content::{Algorithm, Manifest};

use crate::command::fetch::absolute;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::render::{Page, Phase, Progress, Report, Step, Track};
use crate::session::{Session, interrupted};
use crate::source::Source;
use crate::words::of_status;
use send::Parcel;

const EXAMPLES: &str = "\
Archives are told by their first bytes. Names that lead out of the archive, links out of it, devices and sparse files
are refused; a hard link becomes a file of its own.

Examples:
  zeroshare add ~/hello-1.0
  zeroshare add hello-1.0.tar.xz --extract hello-1.0
  zeroshare add . --algorithm sha1new";

/// Parts on their way to the service, of at most 1 MiB each.
const PARTS_AHEAD: usize = 4;

/// What to add, and how.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct AddArguments {
    /// A directory, or an archive (tar, alone or with gzip, bzip2, xz or zstd; zip).
    #[arg(value_name = "DIR|ARCHIVE")]
    pub source: PathBuf,

    /// How its id is made: sha256new, sha256 or sha1new.
    #[arg(long, value_name = "NAME", default_value = "sha256new")]
    pub algorithm: Algorithm,

    /// The directory inside that is meant.
    #[arg(long, value_name = "DIR")]
    pub extract: Option<PathBuf>,

    /// Refuse an archive that unpacks to more [default: what is free].
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<ByteSize>,

    /// Add to this store instead of the usual one.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Do not wait until the disk has it.
    #[arg(long)]
    pub no_sync: bool,
}

#[derive(Debug, Serialize)]
struct AddReport {
    content_id: String,
    path: String,
}

impl Report for AddReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "{}", self.content_id)
    }
}

/// A tree that was read once, and is read again while it is sent.
struct Prepared {
    source: Source,
    manifest: Manifest,
}

/// Adds it, and prints its id.
pub async fn run(arguments: AddArguments, session: &Session) -> Result<Exit, Failure> {
    if arguments.algorithm == Algorithm::Sha1 {
        return Err(Failure::usage(
            "trees of the oldest algorithm, sha1, are ambiguous and are not added: take sha256new",
        ));
    }
    let span = info_span!(parent: None, "cli.add", source = %arguments.source.display());
    add(arguments, session).instrument(span).await
}

async fn add(arguments: AddArguments, session: &Session) -> Result<Exit, Failure> {
    let target_store = arguments
        .store
        .as_deref()
        .map(absolute)
        .transpose()?
        .unwrap_or_default();
    let no_sync = arguments.no_sync;
    let shown = arguments.source.display().to_string();
    let needs = if target_store.is_empty() {
        Needs::ADD
    } else {
        Needs::ADD_OF_SAME_USER
    };
    let services = session.services(needs)?;
    let progress = Progress::new(&session.output);
    let mut track = progress.track(&shown);
    track.show(Step::new(Phase::Verifying));
    let preparing = session
        .lifetime
        .spawn_blocking("read a tree", move || prepare(&arguments));
    let prepared = Arc::new(preparing.await.map_err(|_| interrupted())??);

    let (parts, stream) = mpsc::channel(PARTS_AHEAD);
    let (counted, sent) = mpsc::channel(PARTS_AHEAD);
    let parcel = Parcel {
        target_store,
        no_sync,
        parts,
        counted,
    };
    let ours = Arc::clone(&prepared);
    let sending = session.lifetime.spawn_blocking("send a tree", move || {
        parcel.send(&ours.manifest, ours.source.directory())
    });
    let mut fetcher = services.fetcher();
    let call = fetcher.add_content(ReceiverStream::new(stream));
    let answer = watched(call, sent, &mut track, &prepared.manifest).await;
    drop(track);
    // What went wrong while reading is the cause of what the service says.
    sending
        .await
        .map_err(|_| interrupted())?
        .map_err(|error| Failure::because(&shown, &error))?;
    let added = answer
        .map_err(|status| of_status(&shown, &status))?
        .into_inner();
    session.output.report(&AddReport {
        content_id: added.content_id,
        path: added.path,
    })?;
    Ok(Exit::Done)
}

/// Waits for the call, and shows what was sent meanwhile.
async fn watched<T>(
    call: impl Future<Output = T>,
    mut sent: mpsc::Receiver<u64>,
    track: &mut Track<'_>,
    manifest: &Manifest,
) -> T {
    let mut call = std::pin::pin!(call);
    let mut step = Step {
        total_bytes: manifest.total_size(),
        ..Step::new(Phase::Adding)
    };
    loop {
        tokio::select! {
            answer = &mut call => return answer,
            Some(bytes) = sent.recv() => {
                step.done_bytes = step.done_bytes.saturating_add(bytes);
                if step.done_bytes >= step.total_bytes {
                    step.phase = Phase::Committing;
                }
                track.show(step.clone());
            }
        }
    }
}

fn prepare(arguments: &AddArguments) -> Result<Prepared, Failure> {
    let shown = arguments.source.display().to_string();
    let max_bytes = arguments.max_size.map(|size| size.as_u64());
    let source = Source::open(&arguments.source, arguments.extract.as_deref(), max_bytes)?;
    let family = arguments.algorithm.family();
    let scanned =
        zeroshare_shelf::scan_tree(source.directory(), &[family.hash_kind()], &mut |_| {})
            .map_err(|error| Failure::because(&shown, &error))?;
    let text = scanned
        .manifest_text(arguments.algorithm)
        .map_err(|error| Failure::because(&shown, &error))?;
    let manifest =
        Manifest::parse(family, text).map_err(|error| Failure::because(&shown, &error))?;
    Ok(Prepared { source, manifest })
}
