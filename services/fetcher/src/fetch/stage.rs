//! Where the tree or blob is put together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;
use tracing::debug;
use zeroshare_content::ContentId;
use zeroshare_staging::{StageError, StageOptions, Staged};

use super::opening::Described;
use super::{FetchFailure, Run, Stage, blocking};
use crate::local::{Trust, find_verified};
use crate::shared::Shared;
use crate::targets::choose_target;

/// Where a tree goes.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Store(PathBuf),
    Copy(PathBuf),
    /// A blob.
    File(PathBuf),
}

/// What came of beginning.
#[derive(Debug)]
pub(super) enum Begun {
    Staged(Arc<Staged>),
    /// It is there, put there by somebody else in the meantime.
    Present(PathBuf),
}

impl Target {
    /// A directory on the file system that has to hold everything anyway.
    pub(super) fn spool_dir(&self) -> PathBuf {
        match self {
            Self::Store(store) => store.clone(),
            Self::Copy(copy) | Self::File(copy) => {
                copy.parent().unwrap_or(Path::new("/")).to_owned()
            }
        }
    }
}

/// Where the tree goes; a damaged copy that is to be replaced is so where it lies.
pub(super) async fn target_of(run: &Run, repaired: Option<&Path>) -> Result<Target, FetchFailure> {
    if let Some(into) = &run.order.into {
        if into.symlink_metadata().is_ok() {
            return Err(FetchFailure::TargetExists { path: into.clone() });
        }
        return Ok(Target::Copy(into.clone()));
    }
    let repaired = repaired.and_then(Path::parent).map(Path::to_owned);
    let named = run.order.target_store.clone().or(repaired);
    store_for(&run.shared, named).await.map(Target::Store)
}

/// The store that is named, or else chosen.
pub(crate) async fn store_for(
    shared: &Arc<Shared>,
    named: Option<PathBuf>,
) -> Result<PathBuf, FetchFailure> {
    let own = shared.clone();
    let chosen = blocking(shared, "choose a store", move || {
        let config = &own.config;
        let named = named.as_deref().or(config.target_store.as_deref());
        choose_target(&config.roots, named, config.is_machine)
    });
    Ok(chosen.await??)
}

/// Begins, or waits while another process writes the same tree.
pub(super) async fn begin(
    run: &Run,
    target: &Target,
    described: &Described,
) -> Result<Begun, FetchFailure> {
    let id = described.content;
    let patience = &run.shared.config.patience;
    let also = run.order.target_store.as_deref();
    let end = Instant::now() + patience.locked;
    loop {
        match begin_once(&run.shared, target, described).await? {
            Ok(staged) => return Ok(Begun::Staged(Arc::new(staged))),
            Err(StageError::AlreadyLocked { dir }) if Instant::now() < end => {
                debug!(dir = %dir.display(), "another process writes this tree");
                run.entry.update(|view| view.stage = Stage::Locating);
                tokio::time::sleep(patience.locked_poll).await;
            }
            Err(error) => return Err(FetchFailure::of_stage(id, error)),
        }
        if let Target::Store(_) = target
            && !run.order.replace
            && let ContentId::Tree(tree) = id
            && let Some(found) = find_verified(&run.shared, &[tree], Trust::Index, also).await
        {
            return Ok(Begun::Present(found.path));
        }
    }
}

pub(super) async fn begin_once(
    shared: &Arc<Shared>,
    target: &Target,
    described: &Described,
) -> Result<Result<Staged, StageError>, FetchFailure> {
    let (target, described) = (target.clone(), described.clone());
    let options = StageOptions {
        quota: shared.config.quota,
        ..StageOptions::default()
    };
    let manifest = described.manifest;
    blocking(shared, "begin staging", move || {
        match (&target, described.content) {
            (Target::File(path), ContentId::Blob(blob)) => {
                Staged::begin_blob(path, blob, manifest.total_size(), &options)
            }
            (Target::Store(store), _) => Staged::begin(store, &manifest, &options),
            (Target::Copy(copy) | Target::File(copy), _) => {
                Staged::begin_copy(copy, &manifest, &options)
            }
        }
    })
    .await
}
