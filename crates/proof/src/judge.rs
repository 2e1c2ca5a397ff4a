use zeroshare_content::GRAIN;

use crate::chain::{Blocks, State};
use crate::{GrainVerdict, Midstates, grain_count, grain_len};

/// A grain, as a length of memory.
const GRAIN_BYTES: usize = 128 * 1024;
const _: () = assert!(GRAIN_BYTES as u64 == GRAIN, "one grain");

/// Judges grains in a row by a list, however their bytes come, up to the first that does not hold.
///
/// Nothing is copied but what is left over of a block between two parts.
#[derive(Debug)]
pub struct GrainJudge<'a> {
    midstates: &'a Midstates,
    size: u64,
    digest: &'a [u8; 32],
    /// The grain whose bytes come.
    index: u32,
    /// What came of it.
    blocks: Blocks,
    filled: u64,
    linked: u32,
    verdict: GrainVerdict,
}

/// What a list says about bytes of several grains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Judged {
    /// How many grains hold, from the first.
    pub linked: u32,
    /// Why there are not more of them; [`GrainVerdict::Linked`] if all hold that came in full.
    pub verdict: GrainVerdict,
}

impl<'a> GrainJudge<'a> {
    /// Begins at the border before grain `first` of the file that has this size and SHA-256.
    pub fn new(midstates: &'a Midstates, size: u64, digest: &'a [u8; 32], first: u32) -> Self {
        let state = midstates.before(first);
        let fits = midstates.grains() == grain_count(size) && state.is_some();
        Self {
            midstates,
            size,
            digest,
            index: first,
            blocks: Blocks::from_state(state.unwrap_or(State::START)),
            filled: 0,
            linked: 0,
            verdict: if fits {
                GrainVerdict::Linked
            } else {
                GrainVerdict::Unfit
            },
        }
    }

    /// Takes in the bytes that come next; those behind the file's end are unfit.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.verdict == GrainVerdict::Linked {
            let Some(len) = grain_len(self.size, self.index) else {
                self.verdict = GrainVerdict::Unfit;
                return;
            };
            let room = usize::try_from(len - self.filled).unwrap_or(usize::MAX);
            let (own, rest) = bytes.split_at(room.min(bytes.len()));
            self.blocks.absorb(own);
            self.filled += own.len() as u64;
            if self.filled == len {
                self.end_grain();
            }
            bytes = rest;
        }
    }

    /// Says how many grains hold. What came of one that is not whole does not count.
    pub fn finish(self) -> Judged {
        Judged {
            linked: self.linked,
            verdict: self.verdict,
        }
    }

    fn end_grain(&mut self) {
        let next = self.index + 1;
        let blocks = std::mem::replace(&mut self.blocks, Blocks::from_state(State::START));
        let holds = if next == grain_count(self.size) {
            blocks.finish(self.size) == *self.digest
        } else {
            let expected = self.midstates.before(next);
            let holds = self.filled == GRAIN && expected == Some(blocks.state());
            if let Some(state) = expected {
                self.blocks = Blocks::from_state(state);
            }
            holds
        };
        if !holds {
            self.verdict = GrainVerdict::Broken;
            return;
        }
        self.linked += 1;
        self.index = next;
        self.filled = 0;
    }
}

/// Judges grains in a row that are all at hand, from grain `first` on.
///
/// Those that lie whole in one part are hashed at the same time; it is best if all do.
pub fn judge_grains(
    midstates: &Midstates,
    size: u64,
    digest: &[u8; 32],
    first: u32,
    parts: &[impl AsRef<[u8]>],
) -> Judged {
    let linked = link_together(midstates, size, first, parts);
    let mut judge = GrainJudge::new(midstates, size, digest, first.saturating_add(linked));
    let mut known = (linked as usize).saturating_mul(GRAIN_BYTES);
    for part in parts.iter().map(AsRef::as_ref) {
        let (skipped, rest) = part.split_at(known.min(part.len()));
        known -= skipped.len();
        judge.update(rest);
    }
    let judged = judge.finish();
    Judged {
        linked: linked + judged.linked,
        ..judged
    }
}

/// Counts the first grains that hold, of those that end at a midstate and lie whole in one part.
fn link_together(midstates: &Midstates, size: u64, first: u32, parts: &[impl AsRef<[u8]>]) -> u32 {
    if midstates.grains() != grain_count(size) {
        return 0;
    }
    let is_whole = |part: &&[u8]| part.len().is_multiple_of(GRAIN_BYTES);
    let all = parts.iter().map(AsRef::as_ref);
    // Behind a part that ends within a grain nothing begins at a border.
    let last = all.clone().find(|part| !is_whole(part));
    let grains =
        (all.take_while(is_whole).chain(last)).flat_map(|part| part.as_chunks::<GRAIN_BYTES>().0);
    let mut hashed: Vec<_> = (first..)
        .zip(grains)
        .map_while(|(index, grain)| {
            let behind = midstates.before(index.checked_add(1)?)?;
            let (message, _) = midstates.before(index)?.with_blocks(grain);
            Some((message, behind))
        })
        .collect();
    zeroshare_lanes::absorb(hashed.iter_mut().map(|(message, _)| message));
    let holding = hashed
        .iter()
        .take_while(|(message, behind)| State::of(message) == *behind);
    u32::try_from(holding.count()).unwrap_or(0)
}
