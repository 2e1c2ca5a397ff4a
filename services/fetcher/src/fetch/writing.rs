//! Hashing and writing what came, on blocking threads.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zeroshare_content::Layout;
use zeroshare_staging::{PutError, SourceId, Staged};

/// A larger entry of a run is written in parts as it comes, so that memory stays bounded.
pub(crate) const LARGE_ITEM_BYTES: u64 = 1024 * 1024;

/// Something to be hashed and written in one go.
#[derive(Debug)]
pub(crate) enum Job {
    /// Whole entries of a run, one after the other.
    Items { items: Range<u32>, bytes: Bytes },
    /// A part of a large entry of a run; the last one ends it.
    ItemPart {
        item: u32,
        offset: u64,
        bytes: Bytes,
        is_last: bool,
    },
    /// A part of a slice.
    SlicePart {
        item: u32,
        offset: u64,
        bytes: Bytes,
        /// Whether something lies there that it may differ from.
        is_reread: bool,
    },
}

/// What came of a job.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Entries that are proven, in their order.
    pub(crate) proven_items: u32,
    /// Their bytes.
    pub(crate) proven_bytes: u64,
    /// The part of a slice is not what lay there.
    pub(crate) differs: bool,
    /// Why there are not more of them.
    pub(crate) fault: Option<WriteFault>,
}

/// Why something was not written.
#[derive(Debug)]
pub(crate) enum WriteFault {
    /// The bytes are wrong.
    Wrong,
    /// The disk is at fault.
    Disk(PutError),
}

impl Job {
    pub(crate) fn run(self, staged: &Staged, source: SourceId) -> Written {
        match self {
            Self::Items { items, bytes } => put_items(staged, items, &bytes),
            Self::ItemPart {
                item,
                offset,
                bytes,
                is_last,
            } => {
                let put = || {
                    staged.put_slice(item, offset, &bytes, source)?;
                    if is_last {
                        staged.finish_item(item)
                    } else {
                        Ok(())
                    }
                };
                let fault = put().err().map(WriteFault::from);
                let is_proven = is_last && fault.is_none();
                Written {
                    proven_items: u32::from(is_proven),
                    proven_bytes: if is_proven {
                        offset + bytes.len() as u64
                    } else {
                        0
                    },
                    differs: false,
                    fault,
                }
            }
            Self::SlicePart {
                item,
                offset,
                bytes,
                is_reread,
            } => {
                let differs = is_reread && differs(staged, item, offset, &bytes);
                let put = if is_reread && !differs {
                    Ok(())
                } else {
                    staged.put_slice(item, offset, &bytes, source)
                };
                let fault = put.err().map(WriteFault::from);
                Written {
                    differs,
                    fault,
                    ..Written::default()
                }
            }
        }
    }
}

impl From<PutError> for WriteFault {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Mismatch { .. } => Self::Wrong,
            PutError::NoSuchItem { .. }
            | PutError::OutOfRange { .. }
            | PutError::Incomplete { .. }
            | PutError::NoSpace { .. }
            | PutError::NameTaken { .. }
            | PutError::Io { .. } => Self::Disk(error),
        }
    }
}

/// Puts entries that lie one after the other; their sizes are those of the layout.
pub(crate) fn put_items(staged: &Staged, items: Range<u32>, bytes: &[u8]) -> Written {
    let mut written = Written::default();
    let mut rest = bytes;
    for item in items {
        let size = item_size(staged.layout(), item);
        let Some((own, after)) = usize::try_from(size)
            .ok()
            .and_then(|at| rest.split_at_checked(at))
        else {
            written.fault = Some(WriteFault::Wrong);
            break;
        };
        if let Err(error) = staged.put_item(item, own) {
            written.fault = Some(error.into());
            break;
        }
        rest = after;
        written.proven_items += 1;
        written.proven_bytes += size;
    }
    written
}

pub(crate) fn item_size(layout: &Layout, item: u32) -> u64 {
    layout
        .items()
        .get(item as usize)
        .map_or(0, |item| item.size)
}

/// What cannot be read is as good as other bytes.
fn differs(staged: &Staged, item: u32, offset: u64, bytes: &[u8]) -> bool {
    let old = staged.read_slice(item, offset, bytes.len() as u64);
    old.map_or(true, |old| old != bytes)
}

/// Cuts the bytes of one unit into jobs as they come.
#[derive(Debug)]
pub(crate) struct Cutter {
    layout: Arc<Layout>,
    kind: CutKind,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum CutKind {
    Items {
        items: Range<u32>,
        /// Where in the first of them the buffer begins: not 0 in a large one only.
        offset: u64,
    },
    Slice {
        item: u32,
        offset: u64,
        is_reread: bool,
    },
}

/// Small enough to keep eight providers' worth of them, large enough to be worth a thread's while.
const BATCH_BYTES: usize = 512 * 1024;

impl Cutter {
    pub(crate) fn of_items(layout: Arc<Layout>, items: Range<u32>) -> Self {
        Self {
            layout,
            kind: CutKind::Items { items, offset: 0 },
            buffer: Vec::new(),
        }
    }

    pub(crate) fn of_slice(layout: Arc<Layout>, item: u32, offset: u64, is_reread: bool) -> Self {
        Self {
            layout,
            kind: CutKind::Slice {
                item,
                offset,
                is_reread,
            },
            buffer: Vec::new(),
        }
    }

    /// Takes in the next bytes, and gives a job if there is enough for one.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Option<Job> {
        // A slice's bytes are passed on as they came, if that is worth it.
        if let CutKind::Slice {
            item,
            offset,
            is_reread,
        } = &mut self.kind
            && self.buffer.is_empty()
            && bytes.len() >= BATCH_BYTES
        {
            let job = Job::SlicePart {
                item: *item,
                offset: *offset,
                is_reread: *is_reread,
                bytes,
            };
            *offset += job.len();
            return Some(job);
        }
        self.buffer.extend_from_slice(&bytes);
        if self.buffer.len() < BATCH_BYTES {
            None
        } else {
            self.cut()
        }
    }

    /// Gives a job for what is left once all bytes came, or the stream broke off.
    pub(crate) fn cut(&mut self) -> Option<Job> {
        if self.buffer.is_empty() {
            return None;
        }
        match &mut self.kind {
            CutKind::Slice {
                item,
                offset,
                is_reread,
            } => {
                let bytes = Bytes::from(std::mem::take(&mut self.buffer));
                let job = Job::SlicePart {
                    item: *item,
                    offset: *offset,
                    is_reread: *is_reread,
                    bytes,
                };
                *offset += job.len();
                Some(job)
            }
            CutKind::Items { items, offset } => {
                let size = item_size(&self.layout, items.start);
                if size > LARGE_ITEM_BYTES {
                    let left = usize::try_from(size - *offset).unwrap_or(usize::MAX);
                    let is_last = self.buffer.len() >= left;
                    let rest = self.buffer.split_off(left.min(self.buffer.len()));
                    let bytes = Bytes::from(std::mem::replace(&mut self.buffer, rest));
                    let (item, start) = (items.start, *offset);
                    *offset += bytes.len() as u64;
                    if is_last {
                        items.start += 1;
                        *offset = 0;
                    }
                    return Some(Job::ItemPart {
                        item,
                        offset: start,
                        bytes,
                        is_last,
                    });
                }
                let (count, len) = whole_items(&self.layout, items, self.buffer.len());
                if count == 0 {
                    return None;
                }
                let rest = self.buffer.split_off(len);
                let bytes = Bytes::from(std::mem::replace(&mut self.buffer, rest));
                let own = items.start..items.start + count;
                items.start = own.end;
                Some(Job::Items { items: own, bytes })
            }
        }
    }
}

impl Job {
    fn len(&self) -> u64 {
        match self {
            Self::Items { bytes, .. }
            | Self::ItemPart { bytes, .. }
            | Self::SlicePart { bytes, .. } => bytes.len() as u64,
        }
    }

    /// Whether earlier jobs of the same unit must be done first.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self, Self::ItemPart { is_last: true, .. })
    }
}

/// How many of the next entries lie whole in so many bytes, and how long they are together.
fn whole_items(layout: &Layout, items: &Range<u32>, available: usize) -> (u32, usize) {
    let (mut count, mut len) = (0, 0);
    for item in items.clone() {
        let size = item_size(layout, item);
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_add(len));
        match end.filter(|end| *end <= available && size <= LARGE_ITEM_BYTES) {
            Some(end) => {
                len = end;
                count += 1;
            }
            None => break,
        }
    }
    (count, len)
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{Family, Manifest, Piece};

    use super::*;

    #[test]
    fn jobs_cover_a_run_in_order_whatever_its_entries_and_however_it_comes() {
        // Enough for pieces of several megabytes, so that runs have entries of more than one.
        let sizes = (0..3000_u64).map(|number| match number % 4 {
            0 => 3_000_000,
            1 => 700_000,
            2 => 1_500_000,
            _ => 40 + number,
        });
        let layout = Arc::new(layout(sizes));
        assert!(layout.piece_size() >= 2 * LARGE_ITEM_BYTES);
        for piece in 0..6 {
            for part in [100_000, 1024 * 1024] {
                check_run(&layout, piece, part);
            }
        }
    }

    #[test]
    fn jobs_cover_a_slice_in_order() {
        let layout = Arc::new(layout([10 * 1024 * 1024].into_iter()));
        for part in [1, 1000, 100_000, 1024 * 1024] {
            let len = 3 * 128 * 1024;
            let mut cutter = Cutter::of_slice(layout.clone(), 0, 5000, false);
            let mut end = 5000;
            for job in jobs(&mut cutter, len, part) {
                let Job::SlicePart { offset, bytes, .. } = job else {
                    panic!("not of a slice")
                };
                assert_eq!(offset, end);
                end += bytes.len() as u64;
            }
            assert_eq!(end, 5000 + len as u64);
        }
    }

    fn check_run(layout: &Arc<Layout>, piece: u32, part: usize) {
        let Some(Piece::Run { items }) = layout.piece(piece) else {
            return;
        };
        let len = usize::try_from(layout.piece_len(piece).unwrap()).unwrap();
        let mut cutter = Cutter::of_items(layout.clone(), items.clone());
        let (mut next, mut inside) = (items.start, 0);
        for job in jobs(&mut cutter, len, part) {
            assert!(job.len() <= 2 * LARGE_ITEM_BYTES, "memory is bounded");
            match job {
                Job::Items { items, bytes } => {
                    assert_eq!((items.start, inside), (next, 0));
                    let own: u64 = items.clone().map(|item| item_size(layout, item)).sum();
                    assert_eq!(own, bytes.len() as u64);
                    next = items.end;
                }
                Job::ItemPart {
                    item,
                    offset,
                    bytes,
                    is_last,
                } => {
                    assert_eq!((item, offset), (next, inside));
                    inside += bytes.len() as u64;
                    assert_eq!(is_last, inside == item_size(layout, item));
                    if is_last {
                        next += 1;
                        inside = 0;
                    }
                }
                Job::SlicePart { .. } => panic!("not of a run"),
            }
        }
        assert_eq!((next, inside), (items.end, 0));
    }

    fn jobs(cutter: &mut Cutter, len: usize, part: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut left = len;
        while left > 0 {
            let bytes = Bytes::from(vec![0; part.min(left)]);
            left -= bytes.len();
            jobs.extend(cutter.push(bytes));
        }
        jobs.extend(std::iter::from_fn(|| cutter.cut()));
        jobs
    }

    fn layout(sizes: impl Iterator<Item = u64>) -> Layout {
        let lines = sizes
            .enumerate()
            .map(|(number, size)| format!("F {number:064x} 1 {size} file {number:05}\n"));
        let text: String = lines.collect();
        let manifest = Manifest::parse(Family::Sha256, text.into_bytes()).unwrap();
        Layout::of_manifest(&manifest).unwrap()
    }
}
