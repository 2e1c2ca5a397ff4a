//! `zeroshare digest`: what a directory is called in each algorithm, and a file by itself.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use zeroshare_content::{Algorithm, HashKind, Hasher};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::{Page, Report};
use crate::session::{Session, interrupted};
use crate::source::Source;

const EXAMPLES: &str = "\
Examples:
  zeroshare digest ~/hello-1.0
  zeroshare digest hello-1.0.tar.gz --extract hello-1.0
  zeroshare digest . --algorithm sha256new
  zeroshare digest debian-13.iso --blob";

/// Larger reads gain nothing.
const READ_BYTES: usize = 256 * 1024;

/// What to hash, and how.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct DigestArguments {
    /// A directory, or an archive (tar, alone or with gzip, bzip2, xz or zstd; zip); with --blob any file.
    #[arg(value_name = "DIR|ARCHIVE|FILE")]
    pub source: PathBuf,

    /// Only this algorithm: sha1, sha1new, sha256 or sha256new; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub algorithm: Vec<Algorithm>,

    /// The id of the file itself, whatever is in it: that under which `zeroshare share` offers it.
    #[arg(long, conflicts_with_all = ["algorithm", "extract"])]
    pub blob: bool,

    /// The directory inside that is meant.
    #[arg(long, value_name = "DIR")]
    pub extract: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct DigestReport {
    digests: Vec<Digest>,
}

#[derive(Debug, Serialize)]
struct Digest {
    algorithm: String,
    id: String,
}

impl Report for DigestReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        self.digests
            .iter()
            .try_for_each(|digest| writeln!(page, "{}", digest.id))
    }
}

/// Prints a line for each algorithm, spelled like the directory in a store.
pub async fn run(arguments: DigestArguments, session: &Session) -> Result<Exit, Failure> {
    let hashing = session
        .lifetime
        .spawn_blocking("hash a tree", move || digests(&arguments));
    let report = hashing.await.map_err(|_| interrupted())??;
    session.output.report(&report)?;
    Ok(Exit::Done)
}

fn digests(arguments: &DigestArguments) -> Result<DigestReport, Failure> {
    if arguments.blob {
        return blob_digest(&arguments.source);
    }
    let algorithms = match arguments.algorithm.as_slice() {
        [] => Algorithm::ALL.to_vec(),
        some => some.to_vec(),
    };
    let mut kinds: Vec<HashKind> = algorithms
        .iter()
        .map(|algorithm| algorithm.family().hash_kind())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let source = Source::open(&arguments.source, arguments.extract.as_deref(), None)?;
    let shown = arguments.source.display().to_string();
    let scanned = zeroshare_shelf::scan_tree(source.directory(), &kinds, &mut |_| {})
        .map_err(|error| Failure::because(&shown, &error))?;
    let digests = algorithms.iter().map(|algorithm| {
        let id = scanned
            .tree_id(*algorithm)
            .map_err(|error| Failure::because(&shown, &error))?;
        let id = id
            .directory_name(*algorithm)
            .unwrap_or_else(|| id.to_string());
        Ok(Digest {
            algorithm: algorithm.to_string(),
            id,
        })
    });
    Ok(DigestReport {
        digests: digests.collect::<Result<_, Failure>>()?,
    })
}

/// Hashes one file.
fn blob_digest(path: &Path) -> Result<DigestReport, Failure> {
    let failed =
        |error: io::Error| Failure::because(&format!("cannot read {}", path.display()), &error);
    let mut file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        let shown = path.display();
        return Err(Failure::usage(format!("{shown} is not a regular file")));
    }
    let mut hasher = Hasher::new(HashKind::Sha256);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        hasher.update(bytes);
    }
    let digest = Digest {
        algorithm: "sha256".to_owned(),
        id: hasher.finish().to_string(),
    };
    Ok(DigestReport {
        digests: vec![digest],
    })
}
