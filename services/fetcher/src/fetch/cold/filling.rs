//! Reading pieces, from upstream and from members, into the file.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use zeroshare_content::{HashKind, Hasher};
use zeroshare_staging::SourceId;
use zeroshare_transfer::cold::{PieceDigest, RequestId, TakeEnd, TakeId};
use zeroshare_transfer::{CallEnd, Pace};
use zeroshare_wire::pb::store::v1::{PieceSpan, ReadPiecesRequest};

use super::super::call::{ask, next_part};
use super::super::failure::FetchFailure;
use super::before::digest_of;
use super::{Report, Surroundings};
use crate::peers::Peer;
use crate::upstream::UpstreamError;
use zeroshare_api::parts::{Part, PartStream};

/// Bytes hashed and written at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Upstream's bytes have no number among members.
const UPSTREAM: SourceId = SourceId(u32::MAX);

/// Reads for one request or call.
pub(super) struct Filler {
    pub(super) around: Arc<Surroundings>,
    pub(super) reports: mpsc::Sender<Report>,
}

/// A piece that is being written.
struct Filling<'a> {
    around: &'a Arc<Surroundings>,
    source: SourceId,
    buffer: BytesMut,
    hasher: Option<Hasher>,
    /// Where the buffer belongs in the file.
    offset: u64,
    left: u64,
}

impl Filler {
    /// Reads pieces from upstream, in order.
    pub(super) async fn read(self, request: RequestId, pieces: Range<u32>) {
        let stopping = self.around.tasks.stopping();
        let reading = async {
            match self.read_upstream(request, pieces).await {
                Ok(()) => {}
                Err(Fault::Upstream(error)) => debug!(%error, "a read from upstream failed"),
                Err(Fault::Disk(failure)) => drop(self.reports.send(Report::Fatal(failure)).await),
            }
            drop(self.reports.send(Report::ReadEnd { request }).await);
        };
        tokio::select! {
            () = reading => {}
            () = stopping => {}
        }
    }

    async fn read_upstream(&self, request: RequestId, pieces: Range<u32>) -> Result<(), Fault> {
        let layout = self.around.staged.layout();
        let start = u64::from(pieces.start) * layout.piece_size();
        let end = (u64::from(pieces.end) * layout.piece_size()).min(layout.content_size());
        let Some(mirror) = self.around.upstream.choose() else {
            return Err(Fault::Upstream(UpstreamError::NoUrl));
        };
        let mut reading = self.around.upstream.read(mirror, start..end).await?;
        let mut rest = Bytes::new();
        for piece in pieces {
            let mut filling = Filling::new(&self.around, piece, UPSTREAM);
            while filling.left > 0 {
                if rest.is_empty() {
                    rest = match reading.next().await? {
                        Some(data) => data,
                        None => return Ok(()),
                    };
                    self.around.upstream_meter.add(rest.len() as u64);
                }
                let len = rest
                    .len()
                    .min(usize::try_from(filling.left).unwrap_or(usize::MAX));
                let pause = Instant::now();
                filling.push(rest.split_to(len)).await?;
                reading.handle_pause(pause);
            }
            let Some(digest) = filling.finish() else {
                return Ok(());
            };
            drop(
                self.reports
                    .send(Report::Read {
                        request,
                        piece,
                        digest,
                    })
                    .await,
            );
        }
        Ok(())
    }

    /// Reads pieces from a member, in this order.
    pub(super) async fn take(
        self,
        (take, peer): (TakeId, Peer),
        pieces: Vec<u32>,
        cancel: CancellationToken,
    ) {
        let pace = Pace::new(self.around.shared.config.patience.pace, Instant::now());
        let mut taking = Taking {
            filler: &self,
            peer: &peer,
            cancel,
            pace,
        };
        let stopping = self.around.tasks.stopping();
        let end = tokio::select! {
            result = taking.pieces(take, &pieces) => match result {
                Ok(()) => TakeEnd::Finished,
                Err(TakeFault::Call(end)) => end_of(end),
                Err(TakeFault::Disk(failure)) => {
                    drop(self.reports.send(Report::Fatal(failure)).await);
                    return;
                }
            },
            () = stopping => return,
        };
        drop(self.reports.send(Report::TakeEnd { take, end }).await);
    }
}

/// A call to a member.
struct Taking<'a> {
    filler: &'a Filler,
    peer: &'a Peer,
    cancel: CancellationToken,
    pace: Pace,
}

impl Taking<'_> {
    async fn pieces(&mut self, take: TakeId, pieces: &[u32]) -> Result<(), TakeFault> {
        let around = &self.filler.around;
        let span = |piece: &u32| PieceSpan {
            first: *piece,
            count: 1,
            ..PieceSpan::default()
        };
        let request = ReadPiecesRequest {
            content_id: around.blob.to_string(),
            spans: pieces.iter().map(span).collect(),
            ..ReadPiecesRequest::default()
        };
        let size = around.staged.layout().content_size();
        let mut stream = tokio::select! {
            stream = ask(self.peer, &request, &self.pace) => stream?,
            () = self.cancel.cancelled() => return Err(TakeFault::Call(CallEnd::Cancelled)),
        };
        match self.next(&mut stream).await? {
            Some(Part::Head(head)) if head.content_size_bytes == size => {}
            Some(_) | None => return Err(TakeFault::Call(CallEnd::Violation)),
        }
        for piece in pieces {
            let piece = *piece;
            let Some(digest) = self.piece(&mut stream, piece).await? else {
                return Ok(());
            };
            let report = Report::Taken {
                take,
                piece,
                digest,
            };
            drop(self.filler.reports.send(report).await);
        }
        Ok(())
    }

    /// Reads one piece; `None` if the answer ends before it.
    async fn piece(
        &mut self,
        stream: &mut PartStream,
        piece: u32,
    ) -> Result<Option<PieceDigest>, TakeFault> {
        let around = &self.filler.around;
        let len = around.staged.layout().piece_len(piece).unwrap_or(0);
        match self.next(stream).await? {
            Some(Part::Header(header))
                if (header.piece, header.offset_bytes, header.size_bytes) == (piece, 0, len) => {}
            None => return Ok(None),
            Some(_) => return Err(TakeFault::Call(CallEnd::Violation)),
        }
        let mut filling = Filling::new(around, piece, SourceId(0));
        while filling.left > 0 {
            let data = match self.next(stream).await? {
                Some(Part::Data(data)) if data.len() as u64 <= filling.left => data,
                None => return Err(TakeFault::Call(CallEnd::Lost)),
                Some(_) => return Err(TakeFault::Call(CallEnd::Violation)),
            };
            let size = data.len() as u64;
            self.peer.meter.add(size);
            let pause = Instant::now();
            // Never left midway: a call is over only when nothing of it is written any more.
            filling.push(data).await?;
            around.throttle.pass(size).await;
            self.pace.handle_pause(pause.elapsed());
        }
        Ok(filling.finish())
    }

    async fn next(&mut self, stream: &mut PartStream) -> Result<Option<Part>, CallEnd> {
        tokio::select! {
            part = next_part(stream, &mut self.pace) => part,
            () = self.cancel.cancelled() => Err(CallEnd::Cancelled),
        }
    }
}

impl<'a> Filling<'a> {
    fn new(around: &'a Arc<Surroundings>, piece: u32, source: SourceId) -> Self {
        let layout = around.staged.layout();
        Self {
            around,
            source,
            buffer: BytesMut::new(),
            hasher: Some(Hasher::new(HashKind::Sha256)),
            offset: u64::from(piece) * layout.piece_size(),
            left: layout.piece_len(piece).unwrap_or(0),
        }
    }

    /// Takes in the next bytes, no more than are left.
    async fn push(&mut self, data: Bytes) -> Result<(), FetchFailure> {
        self.left = self.left.saturating_sub(data.len() as u64);
        self.buffer.extend_from_slice(&data);
        if self.buffer.len() < CHUNK_BYTES && self.left > 0 {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        let Some(mut hasher) = self.hasher.take() else {
            return Ok(());
        };
        let (staged, offset, source) = (self.around.staged.clone(), self.offset, self.source);
        self.offset += chunk.len() as u64;
        let writers = self.around.shared.writers.clone();
        let Ok(permit) = writers.acquire_owned().await else {
            return Err(FetchFailure::Stopping);
        };
        let writing = self.around.tasks.spawn_blocking("write", move || {
            hasher.update(&chunk);
            let written = staged.put_slice(0, offset, &chunk, source);
            drop(permit);
            written.map(|()| hasher)
        });
        let hasher = writing.await.map_err(|_| FetchFailure::Stopping)?;
        self.hasher = Some(hasher.map_err(|error| FetchFailure::of_put(&error))?);
        Ok(())
    }

    fn finish(self) -> Option<PieceDigest> {
        self.hasher.and_then(digest_of)
    }
}

/// Why a read from upstream ended early.
enum Fault {
    Upstream(UpstreamError),
    Disk(FetchFailure),
}

impl From<UpstreamError> for Fault {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

impl From<FetchFailure> for Fault {
    fn from(failure: FetchFailure) -> Self {
        Self::Disk(failure)
    }
}

/// Why a call to a member ended early.
enum TakeFault {
    Call(CallEnd),
    Disk(FetchFailure),
}

impl From<CallEnd> for TakeFault {
    fn from(end: CallEnd) -> Self {
        Self::Call(end)
    }
}

impl From<FetchFailure> for TakeFault {
    fn from(failure: FetchFailure) -> Self {
        Self::Disk(failure)
    }
}

fn end_of(end: CallEnd) -> TakeEnd {
    match end {
        CallEnd::Finished => TakeEnd::Finished,
        CallEnd::Busy { retry_after } => TakeEnd::Busy { retry_after },
        CallEnd::NotHeld { piece } => TakeEnd::NotHeld { piece },
        CallEnd::Violation => TakeEnd::Violation,
        CallEnd::Cancelled => TakeEnd::Cancelled,
        CallEnd::Lost | CallEnd::Stalled | CallEnd::Corrupt | CallEnd::Refused | CallEnd::Wrong => {
            TakeEnd::Lost
        }
    }
}
