//! One call to a provider: reads what was asked for, and has it written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::trace;
use zeroshare_chassis::Lifetime;
use zeroshare_content::{Layout, TreeId};
use zeroshare_staging::{SourceId, Staged};
use zeroshare_transfer::{
    CallEnd, CallId, Pace, PaceRule, Part as UnitPart, Unit, UnitId, UnitOutcome, spans,
};
use zeroshare_wire::pb::store::v1::read_pieces_response::Part;
use zeroshare_wire::pb::store::v1::{
    ContentHead, PieceHeader, PieceSpan, ReadPiecesRequest, ReadPiecesResponse, StreamEncoding,
};

use super::call::{end_of_status, next_part};
use super::failure::FetchFailure;
use super::writing::{Cutter, Job, WriteFault, Written};
use crate::peers::Peer;

/// Jobs of one call that wait for a thread or run: one is written while the next one is read.
const MAX_JOBS: usize = 2;

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
    pub(crate) tree: TreeId,
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
            content_id: self.around.tree.to_string(),
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

/// The jobs of one call, in their order.
struct Writing<'a> {
    reader: &'a Reader,
    jobs: VecDeque<Running>,
    open: Option<OpenUnit>,
    /// Results of the unit whose jobs end next.
    sum: Written,
    /// The unit that turned out wrong: what else came of it does not count.
    failed: Option<UnitId>,
}

struct OpenUnit {
    id: UnitId,
    cutter: Cutter,
}

struct Running {
    unit: UnitId,
    handle: JoinHandle<Written>,
    ends_unit: bool,
}

impl<'a> Writing<'a> {
    fn new(reader: &'a Reader) -> Self {
        Self {
            reader,
            jobs: VecDeque::new(),
            open: None,
            sum: Written::default(),
            failed: None,
        }
    }

    fn open(&mut self, wanted: &WantedUnit) {
        let layout = self.reader.around.layout.clone();
        let cutter = match &wanted.unit.part {
            UnitPart::Items(items) => Cutter::of_items(layout, items.clone()),
            UnitPart::Slice { item, offset } => Cutter::of_slice(
                layout,
                *item,
                *offset + wanted.unit.offset,
                wanted.is_reread,
            ),
        };
        self.open = Some(OpenUnit {
            id: wanted.id,
            cutter,
        });
    }

    /// Takes in bytes of the open unit; waits while enough jobs run. May be dropped midway.
    async fn push(&mut self, bytes: bytes::Bytes) -> Result<(), CallEnd> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let unit = open.id;
        match open.cutter.push(bytes) {
            Some(job) => self.submit(unit, job).await,
            None => Ok(()),
        }
    }

    /// Hands over what is left of the open unit, of which all bytes came. May be dropped midway.
    async fn complete(&mut self) -> Result<(), CallEnd> {
        while let Some(open) = &mut self.open {
            let unit = open.id;
            if let Some(job) = open.cutter.cut() {
                self.submit(unit, job).await?;
                continue;
            }
            let reports = self.reader.around.reports.clone();
            let Ok(slot) = reports.reserve().await else {
                return Err(CallEnd::Cancelled);
            };
            self.open = None;
            // The last job handed over ends the unit, unless it is done already.
            match self.jobs.back_mut() {
                Some(last) if last.unit == unit => last.ends_unit = true,
                _ => {
                    if let Some(report) = self.unit_report(unit) {
                        slot.send(report);
                    }
                }
            }
        }
        Ok(())
    }

    async fn submit(&mut self, unit: UnitId, job: Job) -> Result<(), CallEnd> {
        let most = if job.is_closing() { 0 } else { MAX_JOBS - 1 };
        while self.jobs.len() > most {
            self.settle().await?;
        }
        let Ok(permit) = self.reader.around.writers.clone().acquire_owned().await else {
            return Err(CallEnd::Cancelled);
        };
        let handle = self.start(job, permit);
        self.jobs.push_back(Running {
            unit,
            handle,
            ends_unit: false,
        });
        Ok(())
    }

    fn start(&self, job: Job, permit: OwnedSemaphorePermit) -> JoinHandle<Written> {
        let staged = self.reader.around.staged.clone();
        let source = self.reader.source;
        self.reader.around.tasks.spawn_blocking("write", move || {
            let written = job.run(&staged, source);
            drop(permit);
            written
        })
    }

    /// Waits for the oldest job, and reports its unit if that is its end. May be dropped midway: the job stays the oldest.
    async fn settle(&mut self) -> Result<(), CallEnd> {
        let reports = self.reader.around.reports.clone();
        let Ok(slot) = reports.reserve().await else {
            return Err(CallEnd::Cancelled);
        };
        let Some(oldest) = self.jobs.front_mut() else {
            return Ok(());
        };
        let written = (&mut oldest.handle).await;
        let Some(Running {
            unit, ends_unit, ..
        }) = self.jobs.pop_front()
        else {
            return Ok(());
        };
        let Ok(written) = written else {
            return Err(CallEnd::Cancelled);
        };
        if self.failed == Some(unit) {
            return Ok(());
        }
        self.sum.proven_items += written.proven_items;
        self.sum.proven_bytes += written.proven_bytes;
        self.sum.differs |= written.differs;
        match written.fault {
            None => {
                if let Some(report) = ends_unit.then(|| self.unit_report(unit)).flatten() {
                    slot.send(report);
                }
                Ok(())
            }
            Some(WriteFault::Wrong) => {
                self.failed = Some(unit);
                let sum = std::mem::take(&mut self.sum);
                let (proven_items, proven_bytes) = (sum.proven_items, sum.proven_bytes);
                let outcome = UnitOutcome::Wrong {
                    proven_items,
                    proven_bytes,
                };
                slot.send(Report::Unit {
                    call: self.reader.call,
                    unit,
                    outcome,
                });
                Err(CallEnd::Wrong)
            }
            Some(WriteFault::Disk(error)) => {
                self.failed = Some(unit);
                slot.send(Report::Fatal(FetchFailure::of_put(&error)));
                Err(CallEnd::Cancelled)
            }
        }
    }

    /// What to report of a unit of which everything is written.
    fn unit_report(&mut self, unit: UnitId) -> Option<Report> {
        let sum = std::mem::take(&mut self.sum);
        let wanted = self.reader.units.iter().find(|wanted| wanted.id == unit)?;
        let outcome = match wanted.unit.part {
            UnitPart::Items(_) => UnitOutcome::Proven,
            UnitPart::Slice { .. } => UnitOutcome::Written {
                differs: sum.differs,
            },
        };
        Some(Report::Unit {
            call: self.reader.call,
            unit,
            outcome,
        })
    }

    /// Writes what is whole of a run that broke off, waits for all jobs, and says how the call ended.
    async fn close(mut self, end: CallEnd) -> CallEnd {
        let mut end = end;
        let open = self.open.take();
        let broken = open.as_ref().map(|open| open.id);
        if let Some(OpenUnit { id, mut cutter }) = open
            && !matches!(end, CallEnd::Wrong | CallEnd::Cancelled)
            && let Some(job @ Job::Items { .. }) = cutter.cut()
        {
            let submitted = self.submit(id, job).await;
            end = submitted.err().unwrap_or(end);
        }
        while !self.jobs.is_empty() {
            if let Err(worse) = self.settle().await {
                end = worse;
            }
        }
        if let Some(unit) = broken
            && self.failed != Some(unit)
            && self.sum.proven_items > 0
        {
            let (proven_items, proven_bytes) = (self.sum.proven_items, self.sum.proven_bytes);
            let outcome = UnitOutcome::Part {
                proven_items,
                proven_bytes,
            };
            let report = Report::Unit {
                call: self.reader.call,
                unit,
                outcome,
            };
            drop(self.reader.around.reports.send(report).await);
        }
        end
    }
}
