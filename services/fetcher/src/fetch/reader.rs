//! One call to a provider: reads what was asked for, and has it written.

mod jobs;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::trace;
use zeroshare_chassis::Lifetime;
use zeroshare_content::{ContentId, Layout};
use zeroshare_staging::{SourceId, Staged};
use zeroshare_transfer::{CallEnd, CallId, Pace, PaceRule, Unit, UnitId, UnitOutcome, spans};
use zeroshare_wire::pb::store::v1::read_pieces_response::Part;
use zeroshare_wire::pb::store::v1::{
    ContentHead, PieceHeader, PieceSpan, ReadPiecesRequest, ReadPiecesResponse, StreamEncoding,
};

use super::call::{end_of_status, next_part};
use super::failure::FetchFailure;
use crate::peers::Peer;
use jobs::Writing;

/// A unit to be read, and whether something else may lie in its place.
#[derive(Debug, Clone)]
pub(crate) struct WantedUnit {
    pub(crate) id: UnitId,
    pub(crate) unit: Unit,
    pub(crate) is_reread: bool,
}

/// What a reader needs of its fetch.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) content: ContentId,
    pub(crate) layout: Arc<Layout>,
    pub(crate) staged: Arc<Staged>,
    pub(crate) tasks: Lifetime,
    pub(crate) writers: Arc<Semaphore>,
    pub(crate) pace: PaceRule,
    pub(crate) reports: mpsc::Sender<Report>,
}

/// What readers and other helpers tell the fetch.
#[derive(Debug)]
pub(crate) enum Report {
    /// What became of a unit.
    Unit {
        call: CallId,
        unit: UnitId,
        outcome: UnitOutcome,
    },
    /// A call is over, and so are its writes.
    End { call: CallId, end: CallEnd },
    /// A file was hashed: whether it matches.
    Checked { item: u32, matches: bool },
    /// Somebody was connected to, or not.
    Connected(Result<Peer, (crate::peers::Candidate, String)>),
    /// A partial provider got more.
    Holding {
        provider: zeroshare_transfer::ProviderId,
        ranges: Vec<std::ops::Range<u32>>,
    },
    /// The fetch cannot go on.
    Fatal(FetchFailure),
}

/// Reads one call.
pub(crate) struct Reader {
    pub(crate) call: CallId,
    pub(crate) peer: Peer,
    pub(crate) source: SourceId,
    pub(crate) units: Vec<WantedUnit>,
    pub(crate) is_recheck: bool,
    pub(crate) cancel: CancellationToken,
    pub(crate) around: Surroundings,
}

impl Reader {
    /// Reads until all came, it went wrong, or it is cancelled; reports every unit, and the end last.
    pub(crate) async fn run(self) {
        let cancel = self.cancel.clone();
        let stopping = self.around.tasks.stopping();
        let mut writing = Writing::new(&self);
        let end = tokio::select! {
            end = self.read(&mut writing) => end,
            () = cancel.cancelled() => CallEnd::Cancelled,
            () = stopping => CallEnd::Cancelled,
        };
        // What was handed to a thread is written whatever happens; only then is the call over.
        let end = writing.close(end).await;
        trace!(?end, "call ended");
        let report = Report::End {
            call: self.call,
            end,
        };
        drop(self.around.reports.send(report).await);
    }

    async fn read(&self, writing: &mut Writing<'_>) -> CallEnd {
        match self.read_units(writing).await {
            Ok(()) => CallEnd::Finished,
            Err(end) => end,
        }
    }

    async fn read_units(&self, writing: &mut Writing<'_>) -> Result<(), CallEnd> {
        let mut pace = Pace::new(self.around.pace, Instant::now());
        let mut store = self.peer.store();
        let call = timeout_at(pace.deadline().into(), store.read_pieces(self.request()));
        let mut stream = match call.await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(end_of_status(&status)),
            Err(_) => return Err(CallEnd::Stalled),
        };
        match next_part(&mut stream, &mut pace).await?.0 {
            Some(Part::Head(head)) => self.check_head(&head)?,
            Some(Part::ManifestData(_) | Part::Header(_) | Part::Data(_)) | None => {
                return Err(CallEnd::Violation);
            }
        }
        for wanted in &self.units {
            match next_part(&mut stream, &mut pace).await?.0 {
                Some(Part::Header(header)) if is_of(&header, &wanted.unit) => {}
                Some(Part::Header(_) | Part::Head(_) | Part::ManifestData(_) | Part::Data(_)) => {
                    return Err(CallEnd::Violation);
                }
                None => return Ok(()),
            }
            self.read_unit(wanted, &mut stream, &mut pace, writing)
                .await?;
        }
        Ok(())
    }

    async fn read_unit(
        &self,
        wanted: &WantedUnit,
        stream: &mut Streaming<ReadPiecesResponse>,
        pace: &mut Pace,
        writing: &mut Writing<'_>,
    ) -> Result<(), CallEnd> {
        writing.open(wanted);
        let mut left = wanted.unit.len;
        while left > 0 {
            let data = match next_part(stream, pace).await?.0 {
                Some(Part::Data(data)) if data.len() as u64 <= left => data,
                Some(Part::Data(_) | Part::Header(_) | Part::Head(_) | Part::ManifestData(_)) => {
                    return Err(CallEnd::Violation);
                }
                None => return Err(CallEnd::Lost),
            };
            left -= data.len() as u64;
            self.peer.meter.add(data.len() as u64);
            let start = Instant::now();
            writing.push(data).await?;
            if left == 0 {
                writing.complete().await?;
            }
            // While our own disk is busy the peer has nobody to send to.
            pace.handle_pause(start.elapsed());
        }
        Ok(())
    }

    fn request(&self) -> ReadPiecesRequest {
        let span = |span: zeroshare_transfer::Span| PieceSpan {
            first: span.first,
            count: span.count,
            skip_bytes: span.skip,
            limit_bytes: span.limit,
        };
        let units = self.units.iter().map(|wanted| &wanted.unit);
        ReadPiecesRequest {
            content_id: self.around.content.to_string(),
            spans: spans(units).into_iter().map(span).collect(),
            recheck: self.is_recheck,
            ..ReadPiecesRequest::default()
        }
    }

    fn check_head(&self, head: &ContentHead) -> Result<(), CallEnd> {
        let is_raw = head.encoding == i32::from(StreamEncoding::Raw);
        if is_raw && head.content_size_bytes == self.around.layout.content_size() {
            Ok(())
        } else {
            Err(CallEnd::Violation)
        }
    }
}

fn is_of(header: &PieceHeader, unit: &Unit) -> bool {
    (header.piece, header.offset_bytes, header.size_bytes) == (unit.piece, unit.offset, unit.len)
}
