//! `zeroshare add`: puts a tree of one's own into the store.

mod deliver;

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use tracing::{Instrument as _, info_span};
use zeroshare_content::{Algorithm, Manifest};

use crate::command::fetch::absolute;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::render::{Page, Phase, Progress, Report, Step};
use crate::session::{Session, interrupted};
use crate::source::Source;

pub(super) use deliver::Delivery;

const EXAMPLES: &str = "\
Archives are told by their first bytes. Names that lead out of the archive, links out of it, devices and sparse files
are refused; a hard link becomes a file of its own.

Examples:
  zeroshare add ~/hello-1.0
  zeroshare add hello-1.0.tar.xz --extract hello-1.0
  zeroshare add . --algorithm sha1new";

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
    let prepared = preparing.await.map_err(|_| interrupted())??;
    let delivery = prepared.delivery(shown, target_store, no_sync);
    let added = delivery.send(&services, session, &mut track).await?;
    drop(track);
    session.output.report(&AddReport {
        content_id: added.content_id,
        path: added.path,
    })?;
    Ok(Exit::Done)
}

fn prepare(arguments: &AddArguments) -> Result<Prepared, Failure> {
    let shown = arguments.source.display().to_string();
    let max_bytes = arguments.max_size.map(|size| size.as_u64());
    let source = Source::open(&arguments.source, arguments.extract.as_deref(), max_bytes)?;
    Prepared::scan(source, arguments.algorithm, &shown)
}

impl Prepared {
    /// What is to be handed over, under a name for messages.
    pub(in crate::command) fn delivery(
        self,
        shown: String,
        target_store: String,
        no_sync: bool,
    ) -> Delivery {
        Delivery {
            shown,
            directory: self.source.directory().to_owned(),
            manifest: self.manifest,
            target_store,
            no_sync,
            kept: Some(self.source),
        }
    }

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
