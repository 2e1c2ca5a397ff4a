//! Handing what came to threads that hash and write, and reporting what came of it.

use std::collections::VecDeque;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use zeroshare_transfer::{CallEnd, Part as UnitPart, UnitId, UnitOutcome};

use super::super::failure::FetchFailure;
use super::super::writing::{Cutter, Job, WriteFault, Written};
use super::{Reader, Report, WantedUnit};

/// Jobs of one call that wait for a thread or run: one is written while the next one is read.
const MAX_JOBS: usize = 2;

/// The jobs of one call, in their order.
pub(super) struct Writing<'a> {
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
    pub(super) fn new(reader: &'a Reader) -> Self {
        Self {
            reader,
            jobs: VecDeque::new(),
            open: None,
            sum: Written::default(),
            failed: None,
        }
    }

    pub(super) fn open(&mut self, wanted: &WantedUnit) {
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
    pub(super) async fn push(&mut self, bytes: bytes::Bytes) -> Result<(), CallEnd> {
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
    pub(super) async fn complete(&mut self) -> Result<(), CallEnd> {
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
        let slot = reports.reserve().await;
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
        // Nobody listens any more when the fetch was cancelled; its jobs end all the same, one at a time.
        let (Ok(slot), Ok(written)) = (slot, written) else {
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
    pub(super) async fn close(mut self, end: CallEnd) -> CallEnd {
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
