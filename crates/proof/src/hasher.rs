use std::fmt;

use zeroshare_content::{BlobId, GRAIN};

use crate::Midstates;
use crate::chain::{BLOCK_BYTES, STATE_BYTES, State};

/// Hashes a file part by part and keeps the midstates at its grain borders.
#[derive(Clone)]
pub struct GrainHasher {
    state: State,
    /// The start of the block that is not full yet.
    block: [u8; BLOCK_BYTES],
    /// How many bytes of it there are.
    filled: usize,
    size: u64,
    borders: Vec<[u8; STATE_BYTES]>,
}

impl GrainHasher {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self {
            state: State::START,
            block: [0; BLOCK_BYTES],
            filled: 0,
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
            self.absorb(in_grain);
            if self.size.is_multiple_of(GRAIN) {
                self.borders.push(self.state.to_bytes());
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
        let digest = self.state.finish(&self.block[..self.filled], self.size);
        (BlobId::Sha256(digest), Midstates::from_states(self.borders))
    }

    fn absorb(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if self.filled > 0 {
            let (head, tail) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.filled));
            self.block[self.filled..self.filled + head.len()].copy_from_slice(head);
            self.filled += head.len();
            if self.filled < BLOCK_BYTES {
                return;
            }
            self.state.absorb(&self.block);
            bytes = tail;
        }
        let rest = self.state.absorb(bytes);
        self.block[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
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
