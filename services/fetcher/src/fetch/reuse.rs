//! Taking what this machine holds already: the same contents, wherever they lie.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::Status;
use tracing::{Instrument as _, debug, info_span};
use zeroshare_content::{BlobId, Entry, Item, ItemKind, Layout, Manifest};
use zeroshare_staging::{PutError, Staged};
use zeroshare_wire::pb::store::v1::FindFilesRequest;

use zeroshare_chassis::process::chain;

use super::failure::FetchFailure;
use crate::shared::Shared;

/// Ids in one message, as `FindFiles` allows.
const IDS_IN_MESSAGE: usize = 10_000;

/// Files that are taken over by one blocking job.
const FILES_IN_JOB: usize = 64;

/// Such jobs at once; how many really run is for the writers' permits to say.
const MAX_JOBS: usize = 4;

/// Contents that are being looked for in this machine's stores.
pub(crate) struct Looking {
    sources: Sources,
    found: Option<JoinHandle<Result<Sources, Status>>>,
}

impl Looking {
    /// Begins to look for what a manifest's tree consists of, but for what lies in `known`, a whole copy of it.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        (manifest, layout): (&Manifest, &Layout),
        known: Option<PathBuf>,
    ) -> Self {
        let sources = match known {
            Some(tree) => items_of_tree(manifest, &tree),
            None => BTreeMap::new(),
        };
        let wanted = wanted_items(layout, &sources);
        let found = (!wanted.is_empty()).then(|| {
            let own = shared.clone();
            let finding = async move { find_files(&own, &wanted).await };
            let span = info_span!("find what is here");
            shared
                .lifetime
                .spawn("find files", finding.instrument(span))
        });
        Self { sources, found }
    }
}

/// Adopts what is found, and gives its bytes and files. Only a disk that is full or broken is an error.
pub(crate) async fn reuse(
    shared: &Arc<Shared>,
    staged: &Arc<Staged>,
    looking: Looking,
) -> Result<Reused, FetchFailure> {
    let span = info_span!("reuse");
    async {
        let Looking { mut sources, found } = looking;
        if let Some(found) = found {
            match found.await.map_err(|_| FetchFailure::Stopping)? {
                Ok(found) => sources.extend(found),
                Err(error) => debug!(%error, "the store does not say what can be reused"),
            }
        }
        adopt_all(shared, staged, sources).await
    }
    .instrument(span)
    .await
}

/// What did not have to be read from anybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reused {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// Where contents lie: a file and a target of a symlink are different things even if their bytes are the same.
type Sources = BTreeMap<(ItemKind, BlobId), PathBuf>;

/// Where the files and symlinks of a tree lie that is here as a whole.
fn items_of_tree(manifest: &Manifest, tree: &std::path::Path) -> Sources {
    let item = |line: &zeroshare_content::Line| {
        let key = match line.entry {
            Entry::File { blob, .. } => (ItemKind::File, blob),
            Entry::Symlink { blob, .. } => (ItemKind::Link, blob),
            Entry::Directory => return None,
        };
        Some((key, tree.join(line.path.as_path())))
    };
    manifest.lines().iter().filter_map(item).collect()
}

fn wanted_items(layout: &Layout, known: &Sources) -> Vec<BlobId> {
    let is_wanted =
        |item: &&Item| item.kind == ItemKind::File && !known.contains_key(&(item.kind, item.blob));
    let items = layout.items().iter().filter(is_wanted);
    items.map(|item| item.blob).collect()
}

/// Where a file with these contents lies; `None`: nowhere here.
pub(crate) async fn find_file(shared: &Shared, blob: BlobId) -> Result<Option<PathBuf>, Status> {
    let found = find_files(shared, &[blob]).await?;
    Ok(found.into_values().next())
}

async fn find_files(shared: &Shared, wanted: &[BlobId]) -> Result<Sources, Status> {
    let messages: Vec<FindFilesRequest> = wanted
        .chunks(IDS_IN_MESSAGE)
        .map(|ids| FindFilesRequest {
            blob_ids: ids.iter().map(ToString::to_string).collect(),
        })
        .collect();
    let limit = shared.config.patience.local_call;
    let late = || Status::deadline_exceeded("the store did not answer in time");
    let mut store = shared.store();
    let call = store.find_files(tokio_stream::iter(messages));
    let answers = tokio::time::timeout(limit, call)
        .await
        .map_err(|_| late())??
        .into_inner();
    let mut answers = std::pin::pin!(answers.timeout(limit));
    let mut found = BTreeMap::new();
    // No more than was asked for, whatever comes.
    let mut left = wanted.len();
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|_| late())??;
        let Some(rest) = left.checked_sub(1) else {
            break;
        };
        left = rest;
        if let Ok(zeroshare_content::ContentId::Blob(blob)) = answer.blob_id.parse() {
            found.insert((ItemKind::File, blob), PathBuf::from(answer.path));
        }
    }
    Ok(found)
}

async fn adopt_all(
    shared: &Arc<Shared>,
    staged: &Arc<Staged>,
    sources: Sources,
) -> Result<Reused, FetchFailure> {
    let items = staged.layout().items().iter().zip(0_u32..);
    let jobs: Vec<(u32, PathBuf)> = items
        .filter(|(_, index)| !staged.is_proven(*index))
        .filter_map(|(item, index)| Some((index, sources.get(&(item.kind, item.blob))?.clone())))
        .collect();
    let mut sum = Reused::default();
    let mut running: VecDeque<JoinHandle<Result<Reused, FetchFailure>>> = VecDeque::new();
    let mut batches = jobs.chunks(FILES_IN_JOB).peekable();
    while batches.peek().is_some() || !running.is_empty() {
        if let Some(batch) = batches.next_if(|_| running.len() < MAX_JOBS) {
            let Ok(permit) = shared.writers.clone().acquire_owned().await else {
                return Err(FetchFailure::Stopping);
            };
            let (staged, batch) = (staged.clone(), batch.to_vec());
            running.push_back(shared.lifetime.spawn_blocking("reuse", move || {
                let adopted = adopt(&staged, &batch);
                drop(permit);
                adopted
            }));
        } else if let Some(oldest) = running.pop_front() {
            match oldest.await.map_err(|_| FetchFailure::Stopping).flatten() {
                Ok(adopted) => {
                    sum.bytes += adopted.bytes;
                    sum.files += adopted.files;
                }
                Err(failure) => {
                    // Nothing may write any more when the fetch is over.
                    for job in running {
                        drop(job.await);
                    }
                    return Err(failure);
                }
            }
        }
    }
    Ok(sum)
}

fn adopt(staged: &Staged, batch: &[(u32, PathBuf)]) -> Result<Reused, FetchFailure> {
    let mut sum = Reused::default();
    for (item, path) in batch {
        match staged.adopt(*item, path) {
            Ok(true) => {
                sum.bytes += super::writing::item_size(staged.layout(), *item);
                sum.files += 1;
            }
            Ok(false) => {}
            Err(error @ (PutError::NoSpace { .. } | PutError::NameTaken { .. })) => {
                return Err(FetchFailure::of_put(&error));
            }
            // A file that cannot be read is as good as one that is not there.
            Err(error) => debug!(path = %path.display(), error = %chain(&error), "not reused"),
        }
    }
    Ok(sum)
}
