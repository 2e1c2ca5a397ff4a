//! One archive, written while it is sent.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio_stream::StreamExt as _;
use tonic::Status;
use tonic::body::Body;
use zeroshare_chassis::process::chain;
use zeroshare_chassis::serve::PageBudget;
use zeroshare_content::ContentId;
use zeroshare_kin::{Format, PackError, pack};
use zeroshare_shelf::{PieceSource, ReadError};

use super::contents::Files;
use crate::answer::{Answer, Teller};
use crate::slots::Slot;
use crate::status;
use crate::store::Store;

/// What is sent at once.
const PART_BYTES: usize = 256 * 1024;

/// What is sent to whom.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) store: Arc<Store>,
    pub(super) content: ContentId,
    pub(super) source: Arc<PieceSource>,
    pub(super) format: Format,
    /// What may be in memory for this peer.
    pub(super) pages: Option<PageBudget>,
}

impl Archive {
    /// Starts writing; the slots are kept until the last byte was read. A failure breaks the connection off, so that the
    /// reader sees that something is missing.
    pub(super) fn start(self, slots: [Slot; 2]) -> Body {
        let store = Arc::clone(&self.store);
        let parts = Answer::start(&store, "archive", move |teller| {
            let _slots = slots;
            self.write(teller)
        });
        Body::new(StreamBody::new(parts.map(|part| part.map(Frame::data))))
    }

    fn write(&self, teller: &Teller<Bytes>) -> Result<(), Status> {
        let is_wanted = || teller.is_wanted();
        let mut files = Files::new(&self.source, &is_wanted);
        let mut out = Parts {
            archive: self,
            teller,
            size: self.store.uploads.portion(PART_BYTES),
            part: Vec::new(),
            failure: None,
        };
        let packed = pack(self.source.manifest(), self.format, &mut files, &mut out);
        match packed {
            Ok(()) => out.hand_over(),
            Err(error) => Err(match (out.failure.take(), files.take_failure()) {
                (Some(failure), _) => failure,
                (None, Some(failure)) => self.read_failed(&failure),
                (None, None) => self.pack_failed(&error),
            }),
        }
    }

    /// Notes what the error says about the tree.
    fn read_failed(&self, error: &ReadError) -> Status {
        let why = chain(error);
        tracing::warn!(content = %self.content, error = why, "cannot read content");
        if matches!(error, ReadError::Changed { .. })
            && let Err(error) = self.store.shelf.distrust(&self.source)
        {
            tracing::warn!(content = %self.content, error = chain(&error), "cannot note what happened to content");
        }
        Status::data_loss(why)
    }

    fn pack_failed(&self, error: &PackError) -> Status {
        let why = chain(error);
        tracing::warn!(content = %self.content, error = why, "cannot write archive");
        Status::internal(why)
    }
}

/// Hands over what is written in parts, as fast as the limit allows.
struct Parts<'a> {
    archive: &'a Archive,
    teller: &'a Teller<Bytes>,
    size: usize,
    part: Vec<u8>,
    /// Why no more is wanted.
    failure: Option<Status>,
}

impl Parts<'_> {
    fn hand_over(&mut self) -> Result<(), Status> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = Bytes::from(std::mem::take(&mut self.part));
        let store = &self.archive.store;
        let bytes = part.len() as u64;
        self.teller.pause(store.uploads.take(bytes))?;
        if let Some(left) = store.pause.left() {
            return Err(status::paused(left));
        }
        let part = self.teller.hold(self.archive.pages.as_ref(), part)?;
        self.teller.tell(part)?;
        store.count_sent(bytes);
        Ok(())
    }
}

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() >= self.size
            && let Err(status) = self.hand_over()
        {
            self.failure = Some(status);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = self.size.saturating_sub(self.part.len());
        let fitting = bytes.get(..room).unwrap_or(bytes);
        self.part.extend_from_slice(fitting);
        Ok(fitting.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
