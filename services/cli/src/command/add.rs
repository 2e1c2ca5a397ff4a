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
use zeroshare_wire::pb::fetcher::v1::AddContentResponse;

use crate::command::fetch::absolute;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{Needs, Services};
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
#[derive(Debug)]
pub(crate) struct Prepared {
    source: Source,
    manifest: Manifest,
}

/// How a tree is handed over.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// What it is called in messages.
    pub(crate) shown: String,
    /// Where it goes; empty: to the usual store.
    pub(crate) target_store: String,
    /// Whether not to wait until the disk has it.
    pub(crate) no_sync: bool,
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
    let delivery = Delivery {
        shown: arguments.source.display().to_string(),
        target_store,
        no_sync: arguments.no_sync,
    };
    let needs = if delivery.target_store.is_empty() {
        Needs::ADD
    } else {
        Needs::ADD_OF_SAME_USER
    };
    let services = session.services(needs)?;
    let progress = Progress::new(&session.output);
    let mut track = progress.track(&delivery.shown);
    track.show(Step::new(Phase::Verifying));
    let preparing = session
        .lifetime
        .spawn_blocking("read a tree", move || prepare(&arguments));
    let prepared = preparing.await.map_err(|_| interrupted())??;
    let added = deliver(prepared, delivery, (session, &services), &mut track).await?;
    drop(track);
    session.output.report(&AddReport {
        content_id: added.content_id,
        path: added.path,
    })?;
    Ok(Exit::Done)
}

/// Hands a tree to the service that writes.
pub(crate) async fn deliver(
    prepared: Prepared,
    delivery: Delivery,
    (session, services): (&Session, &Services),
    track: &mut Track<'_>,
) -> Result<AddContentResponse, Failure> {
    let prepared = Arc::new(prepared);
    let (parts, stream) = mpsc::channel(PARTS_AHEAD);
    let (counted, sent) = mpsc::channel(PARTS_AHEAD);
    let parcel = Parcel {
        target_store: delivery.target_store,
        no_sync: delivery.no_sync,
        parts,
        counted,
    };
    let ours = Arc::clone(&prepared);
    let sending = session.lifetime.spawn_blocking("send a tree", move || {
        parcel.send(&ours.manifest, ours.source.directory())
    });
    let mut fetcher = services.fetcher();
    let call = fetcher.add_content(ReceiverStream::new(stream));
    let answer = watched(call, sent, track, &prepared.manifest).await;
    // What went wrong while reading is the cause of what the service says.
    sending
        .await
        .map_err(|_| interrupted())?
        .map_err(|error| Failure::because(&delivery.shown, &error))?;
    let added = answer.map_err(|status| of_status(&delivery.shown, &status))?;
    Ok(added.into_inner())
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
    Prepared::scan(source, arguments.algorithm, &shown)
}

impl Prepared {
    /// Reads a tree; `shown` is what it is called in messages. Blocks.
    pub(crate) fn scan(source: Source, algorithm: Algorithm, shown: &str) -> Result<Self, Failure> {
        let family = algorithm.family();
        let scanned =
            zeroshare_shelf::scan_tree(source.directory(), &[family.hash_kind()], &mut |_| {})
                .map_err(|error| Failure::because(shown, &error))?;
        let text = scanned
            .manifest_text(algorithm)
            .map_err(|error| Failure::because(shown, &error))?;
        let manifest =
            Manifest::parse(family, text).map_err(|error| Failure::because(shown, &error))?;
        Ok(Self { source, manifest })
    }

    /// What it consists of.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}
