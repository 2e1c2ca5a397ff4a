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
