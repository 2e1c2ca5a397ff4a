use crate::chain::State;
use crate::{Midstates, grain_count, grain_len};

/// What a list of midstates says about the bytes of one grain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum GrainVerdict {
    /// They lead from the midstate before them to the one behind, or, in the last grain, to the
    /// file's hash.
    ///
    /// That proves them once all grains behind hold under the same list, for the hash is the end of
    /// that chain.
    Linked,
    /// They lead elsewhere: the bytes or the list are wrong.
    Broken,
    /// They cannot be judged: list, size, index and number of bytes do not fit each other.
    Unfit,
}

/// Judges one grain of the file that has this size and SHA-256 by a list of midstates.
pub fn check_grain(
    midstates: &Midstates,
    size: u64,
    digest: &[u8; 32],
    index: u32,
    bytes: &[u8],
) -> GrainVerdict {
    let grains = grain_count(size);
    if midstates.grains() != grains || grain_len(size, index) != Some(bytes.len() as u64) {
        return GrainVerdict::Unfit;
    }
    let Some(mut state) = midstates.before(index) else {
        return GrainVerdict::Unfit;
    };
    let holds = if index + 1 == grains {
        state.finish(bytes, size) == *digest
    } else {
        // A grain is whole blocks, so nothing is left over.
        state.absorb(bytes);
        midstates.before(index + 1) == Some(state)
    };
    if holds {
        GrainVerdict::Linked
    } else {
        GrainVerdict::Broken
    }
}

/// Judges the last grain of what somebody says to be a file of this size, by the one state before it.
///
/// Its padding holds the size, so that this proves both. It needs no list, and nothing that is as large as the size says.
pub fn check_last_grain(
    before: &[u8; 32],
    size: u64,
    digest: &[u8; 32],
    bytes: &[u8],
) -> GrainVerdict {
    let last = grain_count(size) - 1;
    if grain_len(size, last) != Some(bytes.len() as u64) {
        return GrainVerdict::Unfit;
    }
    let state = match last {
        0 => State::START,
        _ => State::from_bytes(before),
    };
    if state.finish(bytes, size) == *digest {
        GrainVerdict::Linked
    } else {
        GrainVerdict::Broken
    }
}
