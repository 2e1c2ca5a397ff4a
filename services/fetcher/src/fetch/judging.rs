//! Judging slices, as they come and where they lie, on blocking threads.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zeroshare_content::{GRAIN, Layout};
use zeroshare_proof::{GrainVerdict, Judged, KnownList, ListDigest, check_grain, judge_grains};
use zeroshare_staging::{PutError, SourceId, Staged};

use super::lists::{Judge, Lists, hash_of};
use super::writing::{WriteFault, Written};

/// A part of a slice, and by what it asks to be judged.
#[derive(Debug)]
pub(crate) struct SlicePart {
    pub(crate) item: u32,
    pub(crate) offset: u64,
    /// Each ends at the border of a grain, or with the slice.
    pub(crate) bytes: Vec<Bytes>,
    /// Whether something lies there that it may differ from.
    pub(crate) is_reread: bool,
    pub(crate) naming: Naming,
}

/// The list that the header of a slice names, and those that are known.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    pub(crate) named: Option<ListDigest>,
    pub(crate) lists: Arc<Lists>,
}

/// What came of the parts of one slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing came yet.
    #[default]
    None,
    /// Some of it was not judged.
    Unjudged,
    Linked {
        list: ListDigest,
        grains: u32,
        is_own: bool,
    },
}

impl Verdict {
    /// Joins what came of the next part.
    pub(crate) fn join(self, next: Self) -> Self {
        match (self, next) {
            (Self::None, other) | (other, Self::None) => other,
            (
                Self::Linked {
                    list,
                    grains,
                    is_own,
                },
                Self::Linked {
                    list: other,
                    grains: more,
                    ..
                },
            ) if list == other => Self::Linked {
                list,
                grains: grains + more,
                is_own,
            },
            (Self::Unjudged | Self::Linked { .. }, Self::Unjudged | Self::Linked { .. }) => {
                Self::Unjudged
            }
        }
    }
}

impl SlicePart {
    /// Judges it, and writes what holds; what nobody can judge yet is written as it is.
    pub(crate) fn write(self, staged: &Staged, source: SourceId) -> Written {
        match self.naming.lists.judge(self.item, self.naming.named) {
            Judge::Nobody => self.write_unjudged(staged, source),
            Judge::List(list, is_own) => self.write_linked(staged, source, (&list, is_own)),
            Judge::Unknown => Written {
                fault: Some(WriteFault::Useless),
                ..Written::default()
            },
        }
    }

    fn write_linked(
        &self,
        staged: &Staged,
        source: SourceId,
        (list, is_own): (&KnownList, bool),
    ) -> Written {
        let Some((digest, size)) = hash_of(staged.layout(), self.item) else {
            return self.write_unjudged(staged, source);
        };
        let first = u32::try_from(self.offset / GRAIN).unwrap_or(u32::MAX);
        let Judged { linked, verdict } =
            judge_grains(list.midstates(), size, &digest, first, &self.bytes);
        let put = self.put_linked(staged, source, (list, linked));
        let verdict_fault = match verdict {
            GrainVerdict::Linked => None,
            GrainVerdict::Broken | GrainVerdict::Unfit => Some(WriteFault::Wrong),
        };
        Written {
            verdict: Verdict::Linked {
                list: *list.digest(),
                grains: linked,
                is_own,
            },
            fault: put.err().map(WriteFault::from).or(verdict_fault),
            ..Written::default()
        }
    }

    fn put_linked(
        &self,
        staged: &Staged,
        source: SourceId,
        (list, linked): (&KnownList, u32),
    ) -> Result<(), PutError> {
        let mut left = u64::from(linked) * GRAIN;
        for (offset, bytes) in self.parts() {
            let len = left.min(bytes.len() as u64);
            left -= len;
            let held = usize::try_from(len).ok().and_then(|len| bytes.get(..len));
            let part = (offset, held.unwrap_or_default());
            staged.put_linked(self.item, part, source, list.digest())?;
        }
        Ok(())
    }

    fn write_unjudged(&self, staged: &Staged, source: SourceId) -> Written {
        let mut written = Written {
            verdict: Verdict::Unjudged,
            ..Written::default()
        };
        for (offset, bytes) in self.parts() {
            let differs = self.is_reread && differs(staged, self.item, offset, bytes);
            written.differs |= differs;
            if self.is_reread && !differs {
                continue;
            }
            if let Err(error) = staged.put_slice(self.item, offset, bytes, source) {
                written.fault = Some(WriteFault::from(error));
                break;
            }
        }
        written
    }

    /// The buffers, and where each begins in its file.
    fn parts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.bytes.iter().scan(self.offset, |at, bytes| {
            let offset = *at;
            *at += bytes.len() as u64;
            Some((offset, bytes.as_ref()))
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.iter().map(|bytes| bytes.len() as u64).sum()
    }
}

/// Says which grains of those that lie there hold by a list.
pub(crate) fn judge_on_disk(
    staged: &Staged,
    item: u32,
    grains: Range<u32>,
    list: &KnownList,
) -> Result<Vec<Range<u32>>, PutError> {
    let Some((digest, size)) = hash_of(staged.layout(), item) else {
        return Ok(Vec::new());
    };
    let mut linked: Vec<Range<u32>> = Vec::new();
    for grain in grains {
        let start = u64::from(grain) * GRAIN;
        let range = start..(start + GRAIN).min(size);
        let holds = |bytes: &[u8]| {
            check_grain(list.midstates(), size, &digest, grain, bytes) == GrainVerdict::Linked
        };
        if !staged.judge_part(item, &range, list.digest(), holds)? {
            continue;
        }
        match linked.last_mut() {
            Some(last) if last.end == grain => last.end += 1,
            _ => linked.push(grain..grain + 1),
        }
    }
    Ok(linked)
}

/// The grains of a slice in its file.
pub(crate) fn grains_of(layout: &Layout, piece: u32) -> Option<(u32, Range<u32>)> {
    let zeroshare_content::Piece::Slice { item, offset, len } = layout.piece(piece)? else {
        return None;
    };
    let index = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
    Some((
        item,
        index(offset / GRAIN)..index((offset + len).div_ceil(GRAIN)),
    ))
}

/// What cannot be read is as good as other bytes.
fn differs(staged: &Staged, item: u32, offset: u64, bytes: &[u8]) -> bool {
    let old = staged.read_slice(item, offset, bytes.len() as u64);
    old.map_or(true, |old| old != bytes)
}
