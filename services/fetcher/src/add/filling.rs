//! Putting the files of a caller into a staged tree, as they come.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;
use zeroshare_content::Layout;
use zeroshare_staging::{PutError, SourceId, Staged};
use zeroshare_wire::{FieldError, FieldFault};

use crate::fetch::FetchFailure;
use crate::shared::Shared;
use crate::status::CallError;

/// A larger file is written in parts, so that memory stays bounded.
const LARGE_BYTES: u64 = 1024 * 1024;

/// What one blocking job writes.
const BATCH_BYTES: usize = 1024 * 1024;

/// Entries of one batch, so that many tiny files are not one endless job.
const BATCH_ITEMS: usize = 1024;

/// Puts files into a staged tree: one batch is written while the next one comes.
pub(super) struct Filling {
    shared: Arc<Shared>,
    staged: Arc<Staged>,
    layout: Layout,
    open: Option<Open>,
    batch: Vec<(u32, Vec<u8>)>,
    batch_bytes: usize,
    writing: Option<JoinHandle<Result<(), PutError>>>,
}

/// The file whose bytes come now.
struct Open {
    line: u32,
    item: u32,
    size: u64,
    /// Bytes that came, and those of them that are not written yet.
    received: u64,
    buffer: Vec<u8>,
    /// It is there already: what comes of it is dropped.
    is_proven: bool,
}

impl Filling {
    pub(super) fn new(shared: Arc<Shared>, staged: Arc<Staged>) -> Self {
        let layout = staged.layout().clone();
        Self {
            shared,
            staged,
            layout,
            open: None,
            batch: Vec::new(),
            batch_bytes: 0,
            writing: None,
        }
    }

    /// Takes in the next bytes of a line.
    pub(super) async fn push(&mut self, line: u32, data: &Bytes) -> Result<(), CallError> {
        if self.open.as_ref().is_none_or(|open| open.line != line) {
            self.close()?;
            self.open = Some(self.open_line(line)?);
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.received = open.received.saturating_add(data.len() as u64);
        if open.received > open.size {
            return Err(refused(format!(
                "line {line} has {} bytes, and more came",
                open.size
            )));
        }
        if open.is_proven {
            return Ok(());
        }
        open.buffer.extend_from_slice(data);
        let is_whole = open.received == open.size;
        if open.size > LARGE_BYTES {
            if is_whole || open.buffer.len() >= BATCH_BYTES {
                self.write_part().await?;
            }
        } else if is_whole {
            let item = (open.item, std::mem::take(&mut open.buffer));
            open.is_proven = true;
            self.batch_bytes += item.1.len();
            self.batch.push(item);
            if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_ITEMS {
                self.write_batch().await?;
            }
        }
        Ok(())
    }

    /// Waits until all is written, or, after a failure, until nothing is written any more.
    pub(super) async fn finish(mut self, filled: Result<(), CallError>) -> Result<(), CallError> {
        let closed = filled.and_then(|()| self.close());
        let written = match closed {
            Ok(()) => self.write_batch().await,
            Err(error) => Err(error),
        };
        written.and(self.settle().await)
    }

    fn open_line(&self, line: u32) -> Result<Open, CallError> {
        let item = self.staged.item_of_line(line);
        let found =
            item.and_then(|item| Some((item, self.layout.items().get(item as usize)?.size)));
        let Some((item, size)) = found else {
            let why = format!("line {line} of the manifest is no entry with bytes");
            return Err(refused_field("file", why));
        };
        let is_proven = self.staged.is_proven(item);
        Ok(Open {
            line,
            item,
            size,
            received: 0,
            buffer: Vec::new(),
            is_proven,
        })
    }

    /// Checks that the file that came last came whole.
    fn close(&mut self) -> Result<(), CallError> {
        match self.open.take() {
            Some(open) if open.received != open.size => {
                let Open {
                    line,
                    size,
                    received,
                    ..
                } = open;
                Err(refused(format!(
                    "line {line} has {size} bytes, and {received} came"
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn write_batch(&mut self) -> Result<(), CallError> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.write(move |staged| {
            batch
                .iter()
                .try_for_each(|(item, bytes)| staged.put_item(*item, bytes))
        })
        .await
    }

    async fn write_part(&mut self) -> Result<(), CallError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let buffer = std::mem::take(&mut open.buffer);
        let (item, offset) = (open.item, open.received - buffer.len() as u64);
        let is_last = open.received == open.size;
        self.write(move |staged| {
            staged.put_slice(item, offset, &buffer, SourceId(0))?;
            if is_last {
                staged.finish_item(item)
            } else {
                Ok(())
            }
        })
        .await
    }

    async fn write(
        &mut self,
        work: impl FnOnce(&Staged) -> Result<(), PutError> + Send + 'static,
    ) -> Result<(), CallError> {
        self.settle().await?;
        let permit = self.shared.writers.clone().acquire_owned().await;
        let permit = permit.map_err(|_| FetchFailure::Stopping)?;
        let staged = self.staged.clone();
        self.writing = Some(self.shared.lifetime.spawn_blocking("add", move || {
            let result = work(&staged);
            drop(staged);
            drop(permit);
            result
        }));
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), CallError> {
        let Some(writing) = self.writing.take() else {
            return Ok(());
        };
        match writing.await.map_err(|_| FetchFailure::Stopping)? {
            Ok(()) => Ok(()),
            Err(PutError::Mismatch { blob, found }) => Err(CallError::DigestMismatch {
                expected: blob.to_string(),
                actual: found.to_string(),
            }),
            Err(error) => Err(FetchFailure::of_put(&error).into()),
        }
    }
}

fn refused(why: String) -> CallError {
    refused_field("data", why)
}

fn refused_field(field: &'static str, why: String) -> CallError {
    FieldError {
        field,
        fault: FieldFault::Refused { why: why.into() },
    }
    .into()
}
