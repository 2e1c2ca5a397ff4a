//! Handing what came to threads that hash and write, and reporting what came of it.

use std::collections::VecDeque;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use zeroshare_content::GRAIN;
use zeroshare_proof::lanes;
use zeroshare_staging::{SourceId, Staged};
use zeroshare_transfer::{CallEnd, Part as UnitPart, UnitId, UnitOutcome};

use super::super::failure::FetchFailure;
use super::super::judging::{Naming, Verdict};
use super::super::writing::{Cutter, Job, WriteFault, Written};
use super::{Reader, Report, WantedUnit};

/// Batches of one call that wait for a thread or run: one is written while the next one is read.
const MAX_BATCHES: usize = 2;

/// Small enough to keep many calls' worth of them, large enough to be worth a thread's while.
const BATCH_BYTES: usize = 512 * 1024;

/// What a thread gets in one go where few calls run: as many grains as are hashed at the same time. More than that gains nothing, and
/// leaves the processor's cache.
fn large_batch_bytes() -> usize {
    let grain = usize::try_from(GRAIN).unwrap_or(usize::MAX);
    lanes()
        .saturating_mul(grain)
        .clamp(BATCH_BYTES, MAX_BATCH_BYTES)
}

/// However many could be hashed at the same time.
const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;

/// Units that end in one batch: a report each, for which there is room.
const BATCH_ENDS: usize = 64;

/// What one call has written, in its order.
pub(super) struct Writing<'a> {
    reader: &'a Reader,
    batches: VecDeque<Running>,
    /// What is written next, once it is enough.
    batch: Batch,
    open: Option<OpenUnit>,
    enough: Enough,
    /// Results of the unit whose end comes next.
    sum: Written,
    /// The units that turned out wrong: what else came of them does not count. Only the first is reported, since the call ends
    /// with it, and whoever sent it is asked about it before it is blamed for more.
    failed: Vec<UnitId>,
}

struct OpenUnit {
    id: UnitId,
    cutter: Cutter,
}

/// What one thread does in one go.
#[derive(Debug, Default)]
struct Batch {
    steps: Vec<Step>,
    bytes: usize,
    ends: usize,
    /// Whether all that was handed over before must be done first.
    is_closing: bool,
}

#[derive(Debug)]
enum Step {
    Write(UnitId, Job),
    /// Everything of the unit was handed over.
    End(UnitId),
}

#[derive(Debug)]
enum Done {
    Written(UnitId, Written),
    Ended(UnitId),
}

/// When a batch is large enough.
#[derive(Debug)]
struct Enough {
    bytes: usize,
    /// What lets it be large, until the call ends.
    _permit: Option<OwnedSemaphorePermit>,
}

struct Running {
    handle: JoinHandle<Vec<Done>>,
    /// The most reports that come of it: one for each unit that ends, and one of a fault.
    reports: usize,
}

impl Batch {
    fn write(&mut self, unit: UnitId, job: Job) {
        self.bytes += usize::try_from(job.len()).unwrap_or(usize::MAX);
        self.is_closing |= job.is_closing();
        self.steps.push(Step::Write(unit, job));
    }

    fn end(&mut self, unit: UnitId) {
        self.ends += 1;
        self.steps.push(Step::End(unit));
    }

    fn is_enough(&self, enough: usize) -> bool {
        self.bytes >= enough || self.ends >= BATCH_ENDS
    }

    fn run(self, staged: &Staged, source: SourceId) -> Vec<Done> {
        let steps = self.steps.into_iter();
        steps
            .map(|step| match step {
                Step::Write(unit, job) => Done::Written(unit, job.run(staged, source)),
                Step::End(unit) => Done::Ended(unit),
            })
            .collect()
    }
}

impl Enough {
    fn new(reader: &Reader) -> Self {
        let permit = reader.around.large_batches.clone().try_acquire_owned().ok();
        let bytes = match permit {
            Some(_) => large_batch_bytes(),
            None => BATCH_BYTES,
        };
        Self {
            bytes,
            _permit: permit,
        }
    }
}

impl<'a> Writing<'a> {
    pub(super) fn new(reader: &'a Reader) -> Self {
        Self {
            reader,
            batches: VecDeque::new(),
            batch: Batch::default(),
            open: None,
            enough: Enough::new(reader),
            sum: Written::default(),
            failed: Vec::new(),
        }
    }

    pub(super) fn open(&mut self, wanted: &WantedUnit, naming: Naming) {
        let layout = self.reader.around.layout.clone();
        let len = wanted.unit.len;
        let cutter = match &wanted.unit.part {
            UnitPart::Items(items) => Cutter::of_items(layout, items.clone(), len),
            UnitPart::Slice { item, offset } => {
                let place = (*item, *offset + wanted.unit.offset);
                Cutter::of_slice(layout, place, len, wanted.is_reread, naming)
            }
        };
        self.open = Some(OpenUnit {
            id: wanted.id,
            cutter,
        });
    }

    /// Takes in bytes of the open unit; waits while enough is being written. May be dropped midway.
    pub(super) async fn push(&mut self, bytes: bytes::Bytes) -> Result<(), CallEnd> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.cutter.push(bytes);
        if self.batch.bytes + open.cutter.waiting() >= self.enough.bytes {
            self.cut();
            self.submit_if_enough().await?;
        }
        Ok(())
    }

    /// Ends the open unit, of which all bytes came. May be dropped midway.
    pub(super) async fn complete(&mut self) -> Result<(), CallEnd> {
        self.cut();
        if let Some(open) = self.open.take() {
            self.batch.end(open.id);
        }
        self.submit_if_enough().await
    }

    /// Has everything written that is whole, since nothing more comes just now. May be dropped midway.
    pub(super) async fn flush(&mut self) -> Result<(), CallEnd> {
        if self.batch.steps.is_empty() {
            Ok(())
        } else {
            self.submit().await
        }
    }

    fn cut(&mut self) {
        if let Some(open) = &mut self.open {
            while let Some(job) = open.cutter.cut() {
                self.batch.write(open.id, job);
            }
        }
    }

    async fn submit_if_enough(&mut self) -> Result<(), CallEnd> {
        if self.batch.is_enough(self.enough.bytes) {
            self.submit().await
        } else {
            Ok(())
        }
    }

    async fn submit(&mut self) -> Result<(), CallEnd> {
        let most = if self.batch.is_closing {
            0
        } else {
            MAX_BATCHES - 1
        };
        while self.batches.len() > most {
            self.settle().await?;
        }
        let Ok(permit) = self.reader.around.writers.clone().acquire_owned().await else {
            return Err(CallEnd::Cancelled);
        };
        let batch = std::mem::take(&mut self.batch);
        let reports = batch.ends + 1;
        let handle = self.start(batch, permit);
        self.batches.push_back(Running { handle, reports });
        Ok(())
    }

    fn start(&self, batch: Batch, permit: OwnedSemaphorePermit) -> JoinHandle<Vec<Done>> {
        let staged = self.reader.around.staged.clone();
        let source = self.reader.source;
        self.reader.around.tasks.spawn_blocking("write", move || {
            let done = batch.run(&staged, source);
            drop(permit);
            done
        })
    }

    /// Waits for the oldest batch, and reports the units that ended in it. May be dropped midway: it stays the oldest.
    async fn settle(&mut self) -> Result<(), CallEnd> {
        let Some(oldest) = self.batches.front_mut() else {
            return Ok(());
        };
        let reports = self.reader.around.reports.clone();
        let slots = reports.reserve_many(oldest.reports).await;
        let done = (&mut oldest.handle).await;
        self.batches.pop_front();
        // Nobody listens any more when the fetch was cancelled; its batches end all the same, one at a time.
        let (Ok(mut slots), Ok(done)) = (slots, done) else {
            return Err(CallEnd::Cancelled);
        };
        let mut end = Ok(());
        for done in done {
            let (report, worse) = match done {
                Done::Written(unit, written) => self.take_in(unit, written),
                Done::Ended(unit) if self.failed.contains(&unit) => (None, None),
                Done::Ended(unit) => (self.unit_report(unit), None),
            };
            if let Some(worse) = worse {
                end = Err(worse);
            }
            if let Some(report) = report
                && let Some(slot) = slots.next()
            {
                slot.send(report);
            }
        }
        end
    }

    /// Takes in what came of a job: what to report, and how the call ends if it does.
    fn take_in(&mut self, unit: UnitId, written: Written) -> (Option<Report>, Option<CallEnd>) {
        if self.failed.contains(&unit) {
            return (None, None);
        }
        self.sum.proven_items += written.proven_items;
        self.sum.proven_bytes += written.proven_bytes;
        self.sum.differs |= written.differs;
        self.sum.verdict = self.sum.verdict.join(written.verdict);
        match written.fault {
            None => (None, None),
            Some(WriteFault::Wrong) => {
                self.failed.push(unit);
                let sum = std::mem::take(&mut self.sum);
                if self.failed.len() > 1 {
                    return (None, Some(CallEnd::Wrong));
                }
                let report = wrong(&sum).map(|outcome| Report::Unit {
                    call: self.reader.call,
                    unit,
                    outcome,
                });
                (report, Some(CallEnd::Wrong))
            }
            Some(WriteFault::Useless) => {
                self.failed.push(unit);
                self.sum = Written::default();
                (None, Some(CallEnd::Wrong))
            }
            Some(WriteFault::Disk(error)) => {
                self.failed.push(unit);
                let report = Report::Fatal(FetchFailure::of_put(&error));
                (Some(report), Some(CallEnd::Cancelled))
            }
        }
    }

    /// What to report of a unit of which everything is written.
    fn unit_report(&mut self, unit: UnitId) -> Option<Report> {
        let sum = std::mem::take(&mut self.sum);
        let wanted = self.reader.units.iter().find(|wanted| wanted.id == unit)?;
        let outcome = match wanted.unit.part {
            UnitPart::Items(_) => UnitOutcome::Proven,
            UnitPart::Slice { .. } => match judged(&sum, false) {
                Some(outcome) => outcome,
                None => UnitOutcome::Written {
                    differs: sum.differs,
                },
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
        let broken = self.open.as_ref().map(|open| open.id);
        if !matches!(end, CallEnd::Wrong | CallEnd::Cancelled) {
            self.cut();
            end = self.flush().await.err().unwrap_or(end);
        }
        while !self.batches.is_empty() {
            if let Err(worse) = self.settle().await {
                end = worse;
            }
        }
        if let Some(unit) = broken
            && !self.failed.contains(&unit)
            && let Some(outcome) = part(&self.sum)
        {
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

/// What to report of a unit that broke off; nothing if nothing of it is of use.
fn part(sum: &Written) -> Option<UnitOutcome> {
    let (proven_items, proven_bytes) = (sum.proven_items, sum.proven_bytes);
    let of_run = (proven_items > 0).then_some(UnitOutcome::Part {
        proven_items,
        proven_bytes,
    });
    judged(sum, false).or(of_run)
}

/// What to report of a unit in which something was wrong; nothing if only some of it was judged.
fn wrong(sum: &Written) -> Option<UnitOutcome> {
    match sum.verdict {
        Verdict::None => Some(UnitOutcome::Wrong {
            proven_items: sum.proven_items,
            proven_bytes: sum.proven_bytes,
        }),
        Verdict::Linked { .. } => judged(sum, true),
        Verdict::Unjudged => None,
    }
}

fn judged(sum: &Written, is_wrong: bool) -> Option<UnitOutcome> {
    let Verdict::Linked {
        list,
        grains,
        is_own,
    } = sum.verdict
    else {
        return None;
    };
    Some(UnitOutcome::Judged {
        list,
        grains,
        is_own,
        is_wrong,
    })
}
