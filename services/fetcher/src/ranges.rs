//! `ReadRange`: bytes of one file, as soon as they are proven.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use zeroshare_content::{ContentId, GRAIN};
use zeroshare_proof::{GrainVerdict, check_grain};
use zeroshare_shelf::Beneath;
use zeroshare_wire::pb::fetcher::v1::ReadRangeResponse;

use crate::fetch::{FetchFailure, Judge, Ready, Stage, Want, blocking};
use crate::local::LocalTree;
use crate::manifests::read_local;
use crate::registry::Entry;
use crate::request::{RangeOrder, refused};
use crate::shared::Shared;
use crate::status::{CallError, status};

/// Bytes of one message: whole grains.
const MESSAGE_BYTES: u64 = 8 * GRAIN;

/// Messages that wait for a slow caller.
const QUEUE: usize = 2;

type Messages = mpsc::Sender<Result<ReadRangeResponse, Status>>;

/// Which bytes.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    line: u32,
    offset: u64,
    len: u64,
}

/// Waits until the bytes are proven, and streams them.
pub(crate) fn read(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    order: &RangeOrder,
) -> Result<ReceiverStream<Result<ReadRangeResponse, Status>>, CallError> {
    let permit = shared.ranges.clone().try_acquire_owned();
    let permit = permit.map_err(|_| CallError::Busy)?;
    let wanted = Wanted {
        line: order.line,
        offset: order.offset,
        len: order.len,
    };
    let (ready, answer) = oneshot::channel();
    entry.wants.tell(Want {
        line: wanted.line,
        offset: wanted.offset,
        ready,
    });
    let (messages, stream) = mpsc::channel(QUEUE);
    let (own, entry, stopping) = (shared.clone(), entry.clone(), shared.lifetime.stopping());
    let sending = async move {
        tokio::select! {
            served = serve(&own, &entry, wanted, answer, &messages) => if let Err(error) = served {
                drop(messages.send(Err(status(&error))).await);
            },
            () = messages.closed() => {}
            () = stopping => {}
        }
        drop(permit);
    };
    drop(shared.lifetime.spawn("read a range", sending));
    Ok(ReceiverStream::new(stream))
}

async fn serve(
    shared: &Arc<Shared>,
    entry: &Entry,
    wanted: Wanted,
    answer: oneshot::Receiver<Ready>,
    messages: &Messages,
) -> Result<(), CallError> {
    let ready = Arc::new(wait(shared, entry, wanted, answer, messages).await?);
    let end = ready.size.min(wanted.offset + wanted.len);
    let mut at = wanted.offset;
    while at < end {
        // Up to a border, so that no grain is read twice.
        let border = (at / GRAIN * GRAIN) + MESSAGE_BYTES;
        let (part, to) = (ready.clone(), border.min(end));
        let data = blocking(shared, "read a range", move || part.read(at, to)).await??;
        at = to;
        if messages.send(Ok(ReadRangeResponse { data })).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits for the fetch to have what is wanted, or to be over.
async fn wait(
    shared: &Arc<Shared>,
    entry: &Entry,
    wanted: Wanted,
    mut answer: oneshot::Receiver<Ready>,
    messages: &Messages,
) -> Result<Ready, CallError> {
    let mut views = entry.watch();
    let mut is_answer_open = true;
    let mut done_bytes = 0;
    loop {
        let view = views.borrow_and_update().clone();
        match view.stage {
            Stage::Succeeded(path) => return open_stored(shared, view.id, path, wanted.line).await,
            Stage::Failed(failure) => return Err(failure.into()),
            Stage::Locating | Stage::Transferring | Stage::Committing => {}
        }
        if view.progress.done_bytes != done_bytes {
            done_bytes = view.progress.done_bytes;
            drop(messages.try_send(Ok(ReadRangeResponse::default())));
        }
        tokio::select! {
            ready = &mut answer, if is_answer_open => match ready {
                Ok(ready) => return Ok(ready),
                Err(_) => is_answer_open = false,
            },
            changed = views.changed() => if changed.is_err() {
                return Err(FetchFailure::Stopping.into());
            },
        }
    }
}

/// Opens the file where the whole tree lies.
async fn open_stored(
    shared: &Arc<Shared>,
    id: ContentId,
    path: PathBuf,
    line: u32,
) -> Result<Ready, CallError> {
    let no_file = || refused("file", "no such file in this tree");
    let id = id.tree().ok_or_else(no_file)?;
    let manifest = read_local(
        shared,
        &LocalTree {
            id,
            path: path.clone(),
        },
    )
    .await?;
    let line = manifest.lines().get(line as usize).cloned();
    let line = line.ok_or_else(no_file)?;
    let opening = blocking(shared, "open a file", move || {
        let file = Beneath::open(&path)?.file(line.path.as_path())?;
        let size = file.metadata()?.len();
        let judge = None;
        Ok::<_, std::io::Error>(Ready { file, size, judge })
    });
    let opened = opening.await?;
    opened.map_err(|error| {
        FetchFailure::Disk {
            why: error.to_string(),
        }
        .into()
    })
}

impl Ready {
    /// Reads these bytes; what the disk does not give as it was proven is an error.
    fn read(&self, from: u64, to: u64) -> Result<Bytes, FetchFailure> {
        let Some(judge) = &self.judge else {
            return Ok(read_at(&self.file, from, to)?.into());
        };
        let start = from / GRAIN * GRAIN;
        let end = to.div_ceil(GRAIN).saturating_mul(GRAIN).min(self.size);
        let grains = read_at(&self.file, start, end)?;
        judge.check(&grains, self.size, start)?;
        let len = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(Bytes::from(grains).slice(len(from - start)..len(to - start)))
    }
}

impl Judge {
    fn check(&self, grains: &[u8], size: u64, start: u64) -> Result<(), FetchFailure> {
        let first = u32::try_from(start / GRAIN).unwrap_or(u32::MAX);
        let grain_bytes = usize::try_from(GRAIN).unwrap_or(usize::MAX);
        for (grain, index) in grains.chunks(grain_bytes).zip(first..) {
            let states = self.list.midstates();
            if check_grain(states, size, &self.digest, index, grain) != GrainVerdict::Linked {
                let why = format!("grain {index} of a staged file is not what was written there");
                return Err(FetchFailure::Disk { why });
            }
        }
        Ok(())
    }
}

fn read_at(file: &File, from: u64, to: u64) -> Result<Vec<u8>, FetchFailure> {
    let fault = |error: std::io::Error| FetchFailure::Disk {
        why: error.to_string(),
    };
    let len =
        usize::try_from(to - from).map_err(|_| fault(std::io::ErrorKind::FileTooLarge.into()))?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, from).map_err(fault)?;
    Ok(bytes)
}
