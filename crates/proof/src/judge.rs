use zeroshare_content::GRAIN;

use crate::chain::{Blocks, State, absorb_in_turn};
use crate::{GrainVerdict, Midstates, grain_count, grain_len};

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

/// Grains that are hashed in turn where their bytes are all at hand.
const IN_TURN: usize = 2;

/// Judges grains in a row that are all at hand, from grain `first` on.
pub fn judge_grains(
    midstates: &Midstates,
    size: u64,
    digest: &[u8; 32],
    first: u32,
    bytes: &[u8],
) -> Judged {
    let (linked, rest) = link_in_turn(midstates, size, first, bytes);
    let mut judge = GrainJudge::new(midstates, size, digest, first.saturating_add(linked));
    judge.update(rest);
    let judged = judge.finish();
    Judged {
        linked: linked + judged.linked,
        ..judged
    }
}

/// Counts the first grains that hold, and gives the bytes behind them: those that are left are judged one by one.
fn link_in_turn<'b>(
    midstates: &Midstates,
    size: u64,
    first: u32,
    mut bytes: &'b [u8],
) -> (u32, &'b [u8]) {
    let mut linked = 0;
    if midstates.grains() != grain_count(size) {
        return (linked, bytes);
    }
    let grain = usize::try_from(GRAIN).unwrap_or(usize::MAX);
    while let Some((own, rest)) = bytes.split_at_checked(grain.saturating_mul(IN_TURN)) {
        // The last one has no midstate behind it.
        let borders: [_; IN_TURN] = std::array::from_fn(|at| {
            let index = first.checked_add(linked + u32::try_from(at).ok()?)?;
            let behind = midstates.before(index.checked_add(1)?)?;
            Some((midstates.before(index)?, behind))
        });
        let mut parts = own.chunks(grain);
        let grains = borders.map(|_| parts.next().unwrap_or_default());
        let mut states = borders.map(|borders| borders.map_or(State::START, |(before, _)| before));
        if borders.contains(&None) {
            break;
        }
        absorb_in_turn(&mut states, grains);
        let hold = |(state, borders): (&State, &Option<(State, State)>)| {
            borders.is_some_and(|(_, behind)| *state == behind)
        };
        if !states.iter().zip(&borders).all(hold) {
            break;
        }
        linked += u32::try_from(IN_TURN).unwrap_or(0);
        bytes = rest;
    }
    (linked, bytes)
}
