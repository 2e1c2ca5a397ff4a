//! Answers that are read from disk while they are sent.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time;
use tokio_stream::Stream;
use tonic::Status;
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::serve::{PageBudget, Parts};

use crate::status;
use crate::store::Store;

/// Parts that may wait for the connection: one that is sent, and one that is read meanwhile.
const PARTS_AHEAD: usize = 2;

/// A stream of messages that a thread makes; its failure comes behind what was made before it.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    parts: mpsc::Receiver<T>,
    failure: Failure,
}

type Failure = Arc<Mutex<Option<Status>>>;

/// Gives messages to whoever reads the answer.
#[derive(Debug)]
pub(crate) struct Teller<T> {
    parts: mpsc::Sender<T>,
    runtime: Handle,
    lifetime: Lifetime,
    deadline: Duration,
}

impl<T: Send + 'static> Answer<T> {
    /// Starts a thread that makes an answer; it ends when nobody reads, or reads too slowly.
    pub(crate) fn start(
        store: &Store,
        name: &'static str,
        work: impl FnOnce(&Teller<T>) -> Result<(), Status> + Send + 'static,
    ) -> Self {
        let (sender, parts) = mpsc::channel(PARTS_AHEAD);
        let failure = Failure::default();
        let teller = Teller {
            parts: sender,
            runtime: Handle::current(),
            lifetime: store.lifetime.clone(),
            deadline: store.facts.part_deadline,
        };
        let told = Arc::clone(&failure);
        let span = tracing::Span::current();
        store.lifetime.spawn_blocking(name, move || {
            let done = span.in_scope(|| work(&teller));
            if let Err(status) = done {
                tracing::debug!(parent: &span, %status, "answer ends early");
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            }
            // Only now does the reader see the end, and looks for a failure.
            drop(teller);
        });
        Self { parts, failure }
    }
}

impl<T> Teller<T> {
    /// Gives the next message; fails when nobody takes it in time.
    pub(crate) fn tell(&self, part: T) -> Result<(), Status> {
        if self.lifetime.is_stopping() {
            return Err(status::shutting_down());
        }
        match self.within_deadline(self.parts.send(part))? {
            Ok(()) => Ok(()),
            Err(_) => Err(Status::cancelled("nobody reads")),
        }
    }

    /// Waits because a limit says so; fails when nobody reads any more.
    pub(crate) fn pause(&self, wait: Duration) -> Result<(), Status> {
        if wait.is_zero() {
            return Ok(());
        }
        let stopping = self.lifetime.stopping();
        self.runtime.block_on(async {
            tokio::select! {
                () = time::sleep(wait) => Ok(()),
                () = self.parts.closed() => Err(Status::cancelled("nobody reads")),
                () = stopping => Err(status::shutting_down()),
            }
        })
    }

    /// Gives a message that may be left out when the reader is busy.
    pub(crate) fn mention(&self, part: T) {
        // Full or closed: the next one will do, or none.
        drop(self.parts.try_send(part));
    }

    /// Waits for something on behalf of the reader, as long as it may take for one part.
    pub(crate) fn within_deadline<F: Future>(&self, waiting: F) -> Result<F::Output, Status> {
        self.runtime
            .block_on(async { time::timeout(self.deadline, waiting).await })
            .map_err(|_| Status::deadline_exceeded("the reader is too slow"))
    }

    /// Ties bytes to the room that they take of what this peer may hold, once there is some.
    pub(crate) fn hold(&self, pages: Option<&PageBudget>, bytes: Bytes) -> Result<Bytes, Status> {
        let Some(pages) = pages else {
            return Ok(bytes);
        };
        let claim = self.within_deadline(pages.claim(bytes.len()))?;
        Ok(claim.hold(bytes))
    }

    /// Whether somebody still reads, and the store does not stop.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.parts.is_closed() && !self.lifetime.is_stopping()
    }
}

impl<T> Answer<T> {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, Status>>> {
        if let Some(part) = ready!(self.parts.poll_recv(context)) {
            return Poll::Ready(Some(Ok(part)));
        }
        let failure = self
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        Poll::Ready(failure.map(Err))
    }
}

impl<T> Stream for Answer<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_part(context)
    }
}

/// Pages that are framed already.
impl Parts for Answer<Bytes> {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        Self::poll_part(self, context)
    }
}
