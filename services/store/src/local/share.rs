//! Offering single files, because somebody asks.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;
use zeroshare_chassis::process::chain;
use zeroshare_shelf::{IndexError, ShareError};
use zeroshare_wire::convert::blob_ids;
use zeroshare_wire::pb::store::v1::{
    ShareFilesResponse, UnshareFilesRequest, UnshareFilesResponse, UnsharedFile,
};

use super::refused;
use crate::answer::{Answer, Teller};
use crate::peers::malformed;
use crate::slots::Slot;
use crate::status;
use crate::store::Store;

/// Paths in one question.
const MAX_PATHS: usize = 10_000;
/// How often somebody is told how far it is.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// Hashes one file after the other; stops when nobody listens any more.
pub(super) fn start(
    store: &Arc<Store>,
    paths: Vec<String>,
    slot: Slot,
) -> Result<Answer<ShareFilesResponse>, Status> {
    check_count(paths.len())?;
    let hashing = Arc::clone(store);
    Ok(Answer::start(store, "share", move |teller| {
        let _slot = slot;
        for path in paths {
            share(&hashing, teller, &path)?;
        }
        Ok(())
    }))
}

/// Takes back what was shared under these paths or ids.
pub(super) async fn unshare(
    store: &Arc<Store>,
    request: UnshareFilesRequest,
) -> Result<UnshareFilesResponse, Status> {
    check_count(request.paths.len())?;
    let blobs = blob_ids("blob_ids", &request.blob_ids, MAX_PATHS).map_err(malformed)?;
    let done = store.on_disk("unshare", move |store| {
        let mut paths: Vec<PathBuf> = request.paths.iter().map(PathBuf::from).collect();
        for blob in &blobs {
            paths.extend(store.shelf.shared_paths(blob));
        }
        let mut files = Vec::new();
        for path in paths {
            if let Some(blob) = store.shelf.unshare(&path)? {
                files.push(UnsharedFile {
                    path: path.to_string_lossy().into_owned(),
                    blob_id: blob.to_string(),
                });
            }
        }
        Ok::<_, IndexError>(files)
    });
    let files = done.await?.map_err(|error| status::index_status(&error))?;
    Ok(UnshareFilesResponse { files })
}

fn check_count(count: usize) -> Result<(), Status> {
    if count > MAX_PATHS {
        return Err(refused("paths", "more than 10,000"));
    }
    Ok(())
}

fn share(store: &Store, teller: &Teller<ShareFilesResponse>, path: &str) -> Result<(), Status> {
    let total_bytes = Path::new(path).metadata().map_or(0, |found| found.len());
    let message = |done_bytes: u64| ShareFilesResponse {
        path: path.to_owned(),
        done_bytes,
        total_bytes: total_bytes.max(done_bytes),
        ..ShareFilesResponse::default()
    };
    let mut done_bytes = 0;
    let mut told = Instant::now();
    let shared = store.shelf.share(Path::new(path), &mut |bytes| {
        done_bytes += bytes;
        if told.elapsed() >= TELL_INTERVAL {
            told = Instant::now();
            teller.mention(message(done_bytes));
        }
        if teller.is_wanted() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    match shared {
        Ok(blob) => {
            tracing::info!(%blob, path, "file is shared");
            teller.tell(ShareFilesResponse {
                blob_id: blob.to_string(),
                ..message(total_bytes)
            })
        }
        Err(ShareError::Stopped) => Err(Status::cancelled("nobody reads")),
        Err(ShareError::Index(error)) => Err(status::index_status(&error)),
        Err(error) => teller.tell(ShareFilesResponse {
            problem: chain(&error),
            ..message(done_bytes)
        }),
    }
}
