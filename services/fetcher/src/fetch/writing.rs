//! Hashing and writing what came, on blocking threads.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zeroshare_content::{GRAIN, Layout};
use zeroshare_staging::{PutError, SourceId, Staged};

use super::chunks::Chunks;
use super::judging::{Naming, SlicePart, Verdict};

/// A larger entry of a run is written in parts as it comes, so that memory stays bounded.
pub(crate) const LARGE_ITEM_BYTES: u64 = 1024 * 1024;

/// Entries are hashed together up to so many bytes, so that they are still at hand when they are written.
const TOGETHER_BYTES: usize = 1024 * 1024;

/// Something to be hashed and written in one go.
#[derive(Debug)]
pub(crate) enum Job {
    /// Whole entries of a run, one after the other.
    Items { items: Range<u32>, bytes: Chunks },
    /// A part of a large entry of a run; the last one ends it.
    ItemPart {
        item: u32,
        offset: u64,
        bytes: Bytes,
        is_last: bool,
    },
    /// A part of a slice.
    SlicePart(SlicePart),
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
    /// How a slice was judged.
    pub(crate) verdict: Verdict,
    /// Why there are not more of them.
    pub(crate) fault: Option<WriteFault>,
}

/// Why something was not written.
#[derive(Debug)]
pub(crate) enum WriteFault {
    /// The bytes are wrong.
    Wrong,
    /// Nobody can judge the bytes, and they are not written.
    Useless,
    /// The disk is at fault.
    Disk(PutError),
}

impl Job {
    pub(crate) fn run(self, staged: &Staged, source: SourceId) -> Written {
        match self {
            Self::Items { items, bytes } => put_items(staged, items, bytes),
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
                    fault,
                    ..Written::default()
                }
            }
            Self::SlicePart(part) => part.write(staged, source),
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
pub(crate) fn put_items(staged: &Staged, mut items: Range<u32>, mut bytes: Chunks) -> Written {
    let mut written = Written::default();
    while !items.is_empty() && written.fault.is_none() {
        let mut together: Vec<(u32, Bytes)> = Vec::new();
        let mut len = 0;
        while len < TOGETHER_BYTES && !items.is_empty() && written.fault.is_none() {
            let size = usize::try_from(item_size(staged.layout(), items.start)).ok();
            match size.and_then(|size| bytes.take(size)) {
                Some(own) => {
                    len += own.len();
                    together.push((items.start, own));
                    items.start += 1;
                }
                None => written.fault = Some(WriteFault::Wrong),
            }
        }
        let borrowed: Vec<(u32, &[u8])> = together
            .iter()
            .map(|(item, bytes)| (*item, bytes.as_ref()))
            .collect();
        let (count, put) = staged.put_items(&borrowed);
        for (_, bytes) in together.iter().take(count) {
            written.proven_items += 1;
            written.proven_bytes += bytes.len() as u64;
        }
        if let Err(error) = put {
            written.fault = Some(error.into());
        }
    }
    written
}

pub(crate) fn item_size(layout: &Layout, item: u32) -> u64 {
    layout
        .items()
        .get(item as usize)
        .map_or(0, |item| item.size)
}

/// Cuts the bytes of one unit into jobs as they come.
#[derive(Debug)]
pub(crate) struct Cutter {
    layout: Arc<Layout>,
    kind: CutKind,
    bytes: Chunks,
    /// Bytes of the unit that did not come yet.
    left: u64,
}

#[derive(Debug)]
enum CutKind {
    Items {
        items: Range<u32>,
        /// Where in the first of them the bytes begin: not 0 in a large one only.
        offset: u64,
    },
    Slice {
        item: u32,
        offset: u64,
        is_reread: bool,
        naming: Naming,
    },
}

impl Cutter {
    pub(crate) fn of_items(layout: Arc<Layout>, items: Range<u32>, len: u64) -> Self {
        Self {
            layout,
            kind: CutKind::Items { items, offset: 0 },
            bytes: Chunks::default(),
            left: len,
        }
    }

    /// `offset` is where the part begins in its file.
    pub(crate) fn of_slice(
        layout: Arc<Layout>,
        (item, offset): (u32, u64),
        len: u64,
        is_reread: bool,
        naming: Naming,
    ) -> Self {
        Self {
            layout,
            kind: CutKind::Slice {
                item,
                offset,
                is_reread,
                naming,
            },
            bytes: Chunks::default(),
            left: len,
        }
    }

    /// Takes in the next bytes, at most those that are missing.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.bytes.push(bytes);
    }

    /// How many bytes no job was given for yet.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// Gives a job for what there is: whole entries, parts of large ones, whole grains and what ends a slice. `None` if
    /// nothing is whole.
    pub(crate) fn cut(&mut self) -> Option<Job> {
        if self.bytes.is_empty() {
            return None;
        }
        match &mut self.kind {
            CutKind::Slice {
                item,
                offset,
                is_reread,
                naming,
            } => {
                let grain = usize::try_from(GRAIN).unwrap_or(usize::MAX);
                let misplaced = usize::try_from(*offset % GRAIN).unwrap_or(0);
                let bytes = slice_part(&mut self.bytes, grain, misplaced, self.left == 0);
                let job = Job::SlicePart(SlicePart {
                    item: *item,
                    offset: *offset,
                    is_reread: *is_reread,
                    bytes,
                    naming: naming.clone(),
                });
                *offset += job.len();
                (job.len() > 0).then_some(job)
            }
            CutKind::Items { items, offset } => {
                let size = item_size(&self.layout, items.start);
                if size > LARGE_ITEM_BYTES {
                    let left = usize::try_from(size - *offset).unwrap_or(usize::MAX);
                    let is_last = self.bytes.len() >= left;
                    let bytes = self.bytes.split_to(left).into_bytes();
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
                let (count, len) = whole_items(&self.layout, items, self.bytes.len());
                if count == 0 {
                    return None;
                }
                let own = items.start..items.start + count;
                items.start = own.end;
                Some(Job::Items {
                    items: own,
                    bytes: self.bytes.split_to(len),
                })
            }
        }
    }
}

/// What is cut off a slice: grains are proven one by one, so each buffer ends at a grain's border or with the slice, and
/// preferably where one ended that came, since nothing is copied then.
fn slice_part(bytes: &mut Chunks, grain: usize, misplaced: usize, is_end: bool) -> Vec<Bytes> {
    let mut part = Vec::new();
    let mut inside = misplaced;
    while !bytes.is_empty() {
        let border = grain - inside;
        let in_one = ((inside + bytes.contiguous()) / grain * grain).saturating_sub(inside);
        let len = if in_one > 0 { in_one } else { border };
        match bytes.take(len) {
            Some(own) => part.push(own),
            None if is_end => part.push(bytes.split_to(len).into_bytes()),
            None => break,
        }
        inside = 0;
    }
    part
}

impl Job {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Items { bytes, .. } => bytes.len() as u64,
            Self::ItemPart { bytes, .. } => bytes.len() as u64,
            Self::SlicePart(part) => part.len(),
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
    fn jobs_cover_a_slice_in_order_and_end_at_borders_of_grains() {
        let layout = Arc::new(layout([10 * 1024 * 1024].into_iter()));
        for start in [0, GRAIN, 5000] {
            for part in [1000, 100_000, 128 * 1024, 300_000, 1024 * 1024] {
                let len = 3 * 128 * 1024 + 77;
                let mut cutter =
                    Cutter::of_slice(layout.clone(), (0, start), len as u64, false, nobody());
                let mut end = start;
                for job in jobs(&mut cutter, len, part) {
                    let Job::SlicePart(SlicePart { offset, bytes, .. }) = job else {
                        panic!("not of a slice")
                    };
                    assert_eq!(offset, end);
                    for bytes in bytes {
                        end += bytes.len() as u64;
                        assert!(end % GRAIN == 0 || end == start + len as u64);
                    }
                }
                assert_eq!(end, start + len as u64);
            }
        }
    }

    #[test]
    fn parts_of_a_slice_that_came_in_one_buffer_are_not_copied() {
        let layout = Arc::new(layout([10 * 1024 * 1024].into_iter()));
        let mut cutter = Cutter::of_slice(layout, (0, 0), 2 * GRAIN + 5, false, nobody());
        let bytes = Bytes::from(vec![1; 2 * 128 * 1024 + 5]);
        cutter.push(bytes.clone());
        let jobs: Vec<Job> = std::iter::from_fn(|| cutter.cut()).collect();
        let [Job::SlicePart(SlicePart { bytes: parts, .. })] = &jobs[..] else {
            panic!("one job")
        };
        let [grains, rest] = &parts[..] else {
            panic!("whole grains, and the rest")
        };
        assert_eq!((grains.len(), rest.len()), (2 * 128 * 1024, 5));
        assert_eq!(grains.as_ptr(), bytes.as_ptr());
    }

    fn check_run(layout: &Arc<Layout>, piece: u32, part: usize) {
        let Some(Piece::Run { items }) = layout.piece(piece) else {
            return;
        };
        let len = usize::try_from(layout.piece_len(piece).unwrap()).unwrap();
        let mut cutter = Cutter::of_items(layout.clone(), items.clone(), len as u64);
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
                Job::SlicePart(_) => panic!("not of a run"),
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
            cutter.push(bytes);
            if cutter.waiting() >= 512 * 1024 {
                jobs.extend(std::iter::from_fn(|| cutter.cut()));
            }
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

    fn nobody() -> Naming {
        Naming {
            named: None,
            lists: Arc::default(),
        }
    }
}
