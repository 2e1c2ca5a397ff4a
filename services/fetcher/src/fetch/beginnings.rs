//! Taking the beginning of a large file from another version of it that lies here.
//!
//! Two files whose SHA-256 is in the same state at a grain's border are equal up to there. So the peer's midstates, compared
//! with those that this machine's store knows of its files, say what need not travel.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::timeout;
use tonic::Status;
use tracing::{Instrument as _, debug, info_span};
use zeroshare_content::{BlobId, ContentId, GRAIN, ItemKind, Piece};
use zeroshare_proof::{GrainVerdict, Midstates, check_grain, grain_count};
use zeroshare_staging::{PutError, SourceId, Staged};
use zeroshare_wire::pb::store::v1::{
    DescribeStoreRequest, FindBeginningsRequest, FindBeginningsResponse, ReadMidstatesRequest,
};

use super::blocking;
use super::failure::FetchFailure;
use crate::peers::Peer;
use crate::shared::Shared;

/// Files whose beginnings are looked for, the first ones of the tree; a question has room for a thousand.
const MAX_FILES: usize = 256;

/// Midstates that are compared at once: those of 32 GiB.
const MAX_LIST_BYTES: u64 = 8 * 1024 * 1024;

/// Midstates of one file that the store is asked for: those of the first 8 GiB fit into a message.
const MAX_ASKED_BYTES: usize = 2 * 1024 * 1024;

/// A midstate.
const STATE_BYTES: usize = 32;

/// Nobody of this fetch: who sent it once is not known any more.
const UNKNOWN: SourceId = SourceId(u32::MAX);

/// A file that is wanted, and what its midstates are by the word of a peer.
#[derive(Debug)]
struct Wanted {
    item: u32,
    size: u64,
    digest: [u8; 32],
    list: Midstates,
}

/// A file here that begins like a wanted one.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    grains: u32,
}

/// Copies whole slices that a local file begins with, and gives their bytes. Only a disk that is full or broken is an error.
pub(crate) async fn reuse_beginnings(
    shared: &Arc<Shared>,
    staged: &Arc<Staged>,
    peer: &Peer,
) -> Result<u64, FetchFailure> {
    let large = large_files(staged);
    if large.is_empty() || holds_nothing(shared).await {
        return Ok(0);
    }
    let span = info_span!("reuse beginnings", files = large.len());
    async {
        let limit = shared.config.patience.local_call;
        let found = timeout(limit, find(shared, staged, peer, &large)).await;
        let pairs = match found {
            Ok(Ok(pairs)) => pairs,
            Ok(Err(error)) => {
                debug!(%error, "beginnings of files are not reused");
                return Ok(0);
            }
            Err(_) => return Ok(0),
        };
        if pairs.is_empty() {
            return Ok(0);
        }
        let staged = staged.clone();
        blocking(shared, "reuse beginnings", move || {
            copy_all(&staged, &pairs)
        })
        .await?
    }
    .instrument(span)
    .await
}

/// Lines and items of the files that come in slices and are not here.
fn large_files(staged: &Staged) -> BTreeMap<u32, u32> {
    let layout = staged.layout();
    let mut bytes = 0;
    let items = layout.items().iter().zip(0_u32..);
    items
        .filter(|(found, item)| {
            let pieces = layout.pieces_of_item(*item).unwrap_or(0..0);
            let is_sliced = matches!(layout.piece(pieces.start), Some(Piece::Slice { .. }));
            is_sliced
                && found.kind == ItemKind::File
                && matches!(found.blob, BlobId::Sha256(_))
                && found.size > GRAIN
                && !staged.is_proven(*item)
                && !pieces.into_iter().any(|piece| staged.holds_piece(piece))
        })
        .take_while(|(found, _)| {
            bytes += list_bytes(found.size);
            bytes <= MAX_LIST_BYTES
        })
        .map(|(found, item)| (found.line, item))
        .take(MAX_FILES)
        .collect()
}

fn list_bytes(size: u64) -> u64 {
    u64::from(grain_count(size) - 1) * STATE_BYTES as u64
}

/// Whether there is nothing here that could be of use.
async fn holds_nothing(shared: &Shared) -> bool {
    let limit = shared.config.patience.local_call;
    let mut store = shared.store();
    let asking = store.describe_store(DescribeStoreRequest {});
    match timeout(limit, asking).await {
        Ok(Ok(answer)) => {
            let store = answer.into_inner();
            store.shared_files == 0 && store.roots.iter().all(|root| root.held_trees == 0)
        }
        Ok(Err(_)) | Err(_) => true,
    }
}

async fn find(
    shared: &Shared,
    staged: &Staged,
    peer: &Peer,
    large: &BTreeMap<u32, u32>,
) -> Result<Vec<(Wanted, Source)>, Status> {
    let mut wanted = read_lists(staged, peer, large).await?;
    let questions: Vec<_> = wanted
        .iter()
        .map(|(line, wanted)| {
            let states = wanted.list.as_bytes();
            let asked = states.len().min(MAX_ASKED_BYTES);
            FindBeginningsRequest {
                file: *line,
                midstates: states.get(..asked).unwrap_or_default().to_vec().into(),
            }
        })
        .collect();
    let mut store = shared.store();
    let answers = store.find_beginnings(tokio_stream::iter(questions)).await?;
    let mut answers = answers.into_inner();
    let mut pairs = Vec::new();
    while let Some(FindBeginningsResponse { file, path, grains }) = answers.message().await? {
        // No file twice, whatever comes.
        if let Some(wanted) = wanted.remove(&file) {
            let path = PathBuf::from(path);
            pairs.push((wanted, Source { path, grains }));
        }
    }
    Ok(pairs)
}

/// Reads from a peer the midstates of the files on these lines; a peer that does not know them ends the search.
async fn read_lists(
    staged: &Staged,
    peer: &Peer,
    large: &BTreeMap<u32, u32>,
) -> Result<BTreeMap<u32, Wanted>, Status> {
    let is_blob = matches!(staged.content(), ContentId::Blob(_));
    let request = ReadMidstatesRequest {
        content_id: staged.content().to_string(),
        files: if is_blob {
            Vec::new()
        } else {
            large.keys().copied().collect()
        },
        ..ReadMidstatesRequest::default()
    };
    let mut answers = peer.store().read_midstates(request).await?.into_inner();
    let mut lists: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut left = usize::try_from(MAX_LIST_BYTES).unwrap_or(usize::MAX);
    while let Some(answer) = answers.message().await? {
        let Some(rest) = left.checked_sub(answer.midstates.len()) else {
            break;
        };
        left = rest;
        if large.contains_key(&answer.file) {
            let list = lists.entry(answer.file).or_default();
            list.extend_from_slice(&answer.midstates);
        }
    }
    let wanted = |(line, list): (u32, Vec<u8>)| {
        let item = *large.get(&line)?;
        let found = staged.layout().items().get(item as usize)?;
        let BlobId::Sha256(digest) = found.blob else {
            return None;
        };
        let list = Midstates::from_bytes(found.size, list).ok()?;
        let size = found.size;
        Some((
            line,
            Wanted {
                item,
                size,
                digest,
                list,
            },
        ))
    };
    Ok(lists.into_iter().filter_map(wanted).collect())
}

fn copy_all(staged: &Staged, pairs: &[(Wanted, Source)]) -> Result<u64, FetchFailure> {
    let mut sum = 0;
    for (wanted, source) in pairs {
        match copy(staged, wanted, source) {
            Ok(bytes) => sum += bytes,
            Err(Stop::Put(error)) => return Err(FetchFailure::of_put(&error)),
            // A file that cannot be read is as good as one that is not there.
            Err(Stop::Read(error)) => {
                debug!(path = %source.path.display(), %error, "its beginning is not reused");
            }
        }
    }
    Ok(sum)
}

enum Stop {
    Read(std::io::Error),
    Put(PutError),
}

/// Copies grain by grain, up to the first that is not what the list says.
fn copy(staged: &Staged, wanted: &Wanted, source: &Source) -> Result<u64, Stop> {
    let file = open(&source.path).map_err(Stop::Read)?;
    let piece_size = staged.layout().piece_size();
    // What is no whole slice would be fetched all the same.
    let end = u64::from(source.grains) * GRAIN / piece_size * piece_size;
    let end = end.min(wanted.size);
    let mut offset = 0;
    let mut bytes = vec![0; usize::try_from(GRAIN).unwrap_or(0)];
    while offset < end {
        file.read_exact_at(&mut bytes, offset).map_err(Stop::Read)?;
        let grain = u32::try_from(offset / GRAIN).unwrap_or(u32::MAX);
        let verdict = check_grain(&wanted.list, wanted.size, &wanted.digest, grain, &bytes);
        if verdict != GrainVerdict::Linked {
            break;
        }
        staged
            .put_slice(wanted.item, offset, &bytes, UNKNOWN)
            .map_err(Stop::Put)?;
        offset += GRAIN;
    }
    Ok(offset)
}

/// Opens a regular file, and waits for nothing.
fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(std::io::Error::other("not a regular file"))
    }
}
