//! `AddContent`: a tree of one's own, whose bytes travel because this service may not be able to read the caller's files.

mod filling;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::Streaming;
use tracing::{Instrument as _, debug, info, info_span};
use zeroshare_chassis::process::chain;
use zeroshare_content::{ContentId, Family, Manifest, TreeId};
use zeroshare_staging::{CommitError, Durability, StageOptions, Staged};
use zeroshare_wire::pb::fetcher::v1::AddContentRequest;
use zeroshare_wire::{FieldError, FieldFault};

use crate::fetch::{FetchFailure, blocking, store_for, tell_store};
use crate::local::{Trust, find_verified};
use crate::request::{Caller, optional_path};
use crate::service::may_write;
use crate::shared::Shared;
use crate::spool::{Spool, SpoolError};
use crate::status::CallError;
use filling::Filling;

/// A caller that sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_mins(1);

/// Takes in a tree, and gives its id and path.
pub(crate) async fn add(
    shared: &Arc<Shared>,
    caller: Caller,
    requests: Streaming<AddContentRequest>,
) -> Result<(TreeId, PathBuf), CallError> {
    let permit = shared.calls.clone().try_acquire_owned();
    let permit = permit.map_err(|_| CallError::Busy)?;
    let adding = Adding {
        shared: shared.clone(),
        requests,
    };
    // By itself, so that it tidies up when the caller vanishes and this call is dropped.
    let run = async move {
        let added = adding.run(caller).await;
        drop(permit);
        added
    };
    let run = shared
        .lifetime
        .spawn("add", run.instrument(info_span!("add")));
    run.await.map_err(|_| FetchFailure::Stopping)?
}

struct Adding {
    shared: Arc<Shared>,
    requests: Streaming<AddContentRequest>,
}

/// What the first message says.
struct Opening {
    expected: Option<TreeId>,
    target: Option<PathBuf>,
    no_sync: bool,
}

impl Adding {
    async fn run(mut self, caller: Caller) -> Result<(TreeId, PathBuf), CallError> {
        let Some(first) = self.next().await? else {
            return Err(FieldError {
                field: "content_id",
                fault: FieldFault::Missing,
            }
            .into());
        };
        let opening = open(&first)?;
        may_write(&self.shared, caller, None, opening.target.as_deref())?;
        let store = store_for(&self.shared, opening.target.clone()).await?;
        let (manifest, rest) = self.read_manifest(&opening, first, &store).await?;
        let id = manifest.id();
        if let Some(found) = find_verified(&self.shared, &[id], Trust::Index, Some(&store)).await {
            return Ok((id, found.path));
        }
        let staged = self.begin(store, manifest).await?;
        let is_fresh = staged.missing_bytes() == staged.layout().content_size();
        match self.fill(&staged, rest).await {
            Ok(()) => self.commit(staged, opening.no_sync).await,
            Err(error) => {
                // What a fetch left is worth more than a caller that gave up.
                if is_fresh {
                    self.discard(staged).await;
                }
                Err(error)
            }
        }
    }

    async fn next(&mut self) -> Result<Option<AddContentRequest>, CallError> {
        let next = tokio::time::timeout(SILENCE, self.requests.message()).await;
        next.map_err(|_| CallError::Stalled)?
            .map_err(CallError::Stream)
    }

    /// Reads up to the first message with a file's bytes, which is given back.
    async fn read_manifest(
        &mut self,
        opening: &Opening,
        first: AddContentRequest,
        store: &std::path::Path,
    ) -> Result<(Manifest, Option<AddContentRequest>), CallError> {
        let mut spool = Spool::new();
        let mut message = Some(first);
        let mut is_first = true;
        while let Some(request) = message.as_ref().filter(|request| request.data.is_empty()) {
            let data = request.manifest_data.clone();
            if data.is_empty() && !is_first {
                return Err(without_bytes());
            }
            is_first = false;
            if spool.fits_in_memory(&data) {
                spool
                    .push(&data, store)
                    .map_err(|error| spool_error(error, opening.expected))?;
            } else {
                let place = store.to_owned();
                let push = move || spool.push(&data, &place).map(|()| spool);
                let pushed = blocking(&self.shared, "spool a manifest", push).await?;
                spool = pushed.map_err(|error| spool_error(error, opening.expected))?;
            }
            message = self.next().await?;
        }
        // A large one takes much memory; few do so at once.
        let permit = if spool.is_small() {
            None
        } else {
            self.shared.manifests.acquire().await.ok()
        };
        let expected = opening.expected;
        let parse = move || parse(spool, expected);
        let manifest = blocking(&self.shared, "parse a manifest", parse).await??;
        drop(permit);
        Ok((manifest, message))
    }

    async fn begin(&self, store: PathBuf, manifest: Manifest) -> Result<Arc<Staged>, CallError> {
        let id = manifest.id();
        let quota = self.shared.config.quota;
        let begin = move || {
            let options = StageOptions {
                quota,
                ..StageOptions::default()
            };
            Staged::begin(&store, &manifest, &options)
        };
        let begun = blocking(&self.shared, "begin staging", begin).await?;
        Ok(Arc::new(begun.map_err(|error| {
            FetchFailure::of_stage(id.into(), error)
        })?))
    }

    async fn fill(
        &mut self,
        staged: &Arc<Staged>,
        first: Option<AddContentRequest>,
    ) -> Result<(), CallError> {
        let mut filling = Filling::new(self.shared.clone(), staged.clone());
        let filled = self.fill_all(&mut filling, first).await;
        filling.finish(filled).await
    }

    async fn fill_all(
        &mut self,
        filling: &mut Filling,
        first: Option<AddContentRequest>,
    ) -> Result<(), CallError> {
        let mut message = first;
        while let Some(request) = message {
            if !request.manifest_data.is_empty() {
                let fault = FieldFault::Refused {
                    why: "comes before all files".into(),
                };
                return Err(FieldError {
                    field: "manifest_data",
                    fault,
                }
                .into());
            }
            if request.data.is_empty() {
                return Err(without_bytes());
            }
            filling.push(request.file, &request.data).await?;
            message = self.next().await?;
        }
        Ok(())
    }

    async fn discard(&self, staged: Arc<Staged>) {
        let discard = move || Arc::into_inner(staged).map_or(Ok(()), Staged::discard);
        if let Ok(Err(error)) = blocking(&self.shared, "discard", discard).await {
            debug!(error = %chain(&error), "what was added in part is left for the next sweep");
        }
    }

    async fn commit(
        self,
        staged: Arc<Staged>,
        no_sync: bool,
    ) -> Result<(TreeId, PathBuf), CallError> {
        let id = staged.manifest().id();
        let staged = Arc::into_inner(staged).ok_or(FetchFailure::Stopping)?;
        let is_lazy = no_sync || self.shared.config.no_sync;
        let durability = if is_lazy {
            Durability::Unsynced
        } else {
            Durability::Durable
        };
        let commit = move || staged.commit(durability);
        let committed = blocking(&self.shared, "commit", commit)
            .await?
            .map_err(commit_error)?;
        let path = committed.path.clone();
        info!(%id, path = %path.display(), "tree added");
        tell_store(&self.shared, id.into(), committed).await;
        Ok((id, path))
    }
}

/// Only messages that carry something count, so that nobody keeps a call alive with nothing.
fn without_bytes() -> CallError {
    FieldError {
        field: "data",
        fault: FieldFault::Missing,
    }
    .into()
}

fn open(first: &AddContentRequest) -> Result<Opening, CallError> {
    let expected = match first.content_id.as_str() {
        "" => None,
        text => Some(expected_tree(text)?),
    };
    let target = optional_path("target_store", &first.target_store)?;
    Ok(Opening {
        expected,
        target,
        no_sync: first.no_sync,
    })
}

fn expected_tree(text: &str) -> Result<TreeId, CallError> {
    let field = "content_id";
    let refused = |why: String| {
        CallError::Malformed(FieldError {
            field,
            fault: FieldFault::Refused { why: why.into() },
        })
    };
    match zeroshare_wire::convert::content_id(field, text)? {
        id @ ContentId::Tree(_) if !id.travels() => Err(FetchFailure::old_format(id).into()),
        ContentId::Tree(tree) => Ok(tree),
        ContentId::Blob(blob) => Err(refused(format!("{blob} is a blob; trees alone are added"))),
    }
}

fn parse(spool: Spool, expected: Option<TreeId>) -> Result<Manifest, CallError> {
    let read = match expected {
        Some(id) => spool.verified(id),
        None => spool.into_bytes(),
    };
    let text = read.map_err(|error| spool_error(error, expected))?;
    let family = expected.map_or_else(|| family_of(&text), |id| id.family());
    let id = expected.unwrap_or_else(|| TreeId::of_manifest(family, &text));
    let parsed = Manifest::parse(family, text);
    parsed.map_err(|error| FetchFailure::of_manifest(id.into(), &error).into())
}

/// The family whose hashes the manifest has; without any, that of new trees.
fn family_of(text: &[u8]) -> Family {
    /// The length of SHA-1 in hex.
    const SHA1_DIGITS: usize = 40;
    let mut lines = text.split(|byte| *byte == b'\n');
    let hash = lines.find_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let is_entry = matches!(words.next(), Some(b"F" | b"X" | b"S"));
        words.next().filter(|_| is_entry)
    });
    match hash {
        Some(hash) if hash.len() == SHA1_DIGITS => Family::Sha1New,
        _ => Family::Sha256,
    }
}

fn spool_error(error: SpoolError, expected: Option<TreeId>) -> CallError {
    match (error, expected) {
        (SpoolError::WrongDigest { found }, Some(expected)) => CallError::DigestMismatch {
            expected: expected.to_string(),
            actual: found.to_string(),
        },
        (error @ SpoolError::Io(_), _) => FetchFailure::Disk { why: chain(&error) }.into(),
        (error, _) => {
            let fault = FieldFault::Refused {
                why: error.to_string().into(),
            };
            FieldError {
                field: "manifest_data",
                fault,
            }
            .into()
        }
    }
}

/// What the caller left out is the caller's mistake, not the disk's.
fn commit_error(error: CommitError) -> CallError {
    match error {
        CommitError::Incomplete { .. } => {
            let fault = FieldFault::Refused {
                why: "not all files of the manifest came".into(),
            };
            FieldError {
                field: "data",
                fault,
            }
            .into()
        }
        error @ (CommitError::Differs { .. }
        | CommitError::TargetExists { .. }
        | CommitError::NoSpace { .. }
        | CommitError::Io { .. }) => FetchFailure::of_commit(error).into(),
    }
}
