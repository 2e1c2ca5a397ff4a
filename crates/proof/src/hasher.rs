use std::fmt;

use zeroshare_content::{BlobId, GRAIN};

use crate::Midstates;
use crate::chain::{Blocks, STATE_BYTES, State};

/// Hashes a file part by part and keeps the midstates at its grain borders.
#[derive(Clone)]
pub struct GrainHasher {
    blocks: Blocks,
    size: u64,
    borders: Vec<[u8; STATE_BYTES]>,
}

impl GrainHasher {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self {
            blocks: Blocks::from_state(State::START),
            size: 0,
            borders: Vec::new(),
        }
    }

    /// Takes in the bytes that come next.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let to_border = GRAIN - self.size % GRAIN;
            let here = usize::try_from(to_border).map_or(bytes.len(), |room| room.min(bytes.len()));
            let (in_grain, behind) = bytes.split_at(here);
            self.size += in_grain.len() as u64;
            self.blocks.absorb(in_grain);
            if self.size.is_multiple_of(GRAIN) {
                self.borders.push(self.blocks.state().to_bytes());
            }
            bytes = behind;
        }
    }

    /// Names all bytes taken in, and gives the midstates between their grains.
    pub fn finish(mut self) -> (BlobId, Midstates) {
        if self.size > 0 && self.size.is_multiple_of(GRAIN) {
            // The file ends at this border: there is no grain behind it.
            self.borders.pop();
        }
        let digest = self.blocks.finish(self.size);
        (BlobId::Sha256(digest), Midstates::from_states(self.borders))
    }
}

impl Default for GrainHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for GrainHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrainHasher({} bytes)", self.size)
    }
}
