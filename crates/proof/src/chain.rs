use sha2::block_api::compress256;
use zeroshare_lanes::Message;

/// What SHA-256 has in hand between two blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State([u32; 8]);

/// The bytes that SHA-256 takes at a time.
pub(crate) const BLOCK_BYTES: usize = 64;

/// The bytes of a state, and of a digest.
pub(crate) const STATE_BYTES: usize = 32;

/// The bytes at the end of the padding that say how many bits were hashed.
const LENGTH_BYTES: usize = 8;

impl State {
    /// Before the first byte: FIPS 180-4, section 5.3.3.
    pub(crate) const START: Self = Self([
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ]);

    /// Reads the big-endian words of a midstate.
    pub(crate) fn from_bytes(bytes: &[u8; STATE_BYTES]) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        Self(words)
    }

    /// Writes it as a midstate, or as the digest after the padding.
    pub(crate) fn to_bytes(self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = word.to_be_bytes();
        }
        bytes
    }

    /// Takes in all whole blocks, and gives back what is left over.
    pub(crate) fn absorb<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        compress256(&mut self.0, blocks);
        rest
    }

    /// Says what all whole blocks do to it, for hashing several messages at the same time, and gives back what is left over.
    pub(crate) fn with_blocks(self, bytes: &[u8]) -> (Message<'_>, &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        let state = self.0;
        (Message { state, blocks }, rest)
    }

    /// What came of a message so far.
    pub(crate) fn of(message: &Message<'_>) -> Self {
        Self(message.state)
    }

    /// Takes in the last bytes of a file of `size` bytes and the padding: what comes out is the
    /// file's hash.
    pub(crate) fn finish(mut self, last: &[u8], size: u64) -> [u8; STATE_BYTES] {
        let rest = self.absorb(last);
        let mut padded = [0_u8; 2 * BLOCK_BYTES];
        padded[..rest.len()].copy_from_slice(rest);
        padded[rest.len()] = 0x80;
        let blocks = if rest.len() + 1 + LENGTH_BYTES <= BLOCK_BYTES {
            1
        } else {
            2
        };
        let padded = &mut padded[..blocks * BLOCK_BYTES];
        let length_at = padded.len() - LENGTH_BYTES;
        padded[length_at..].copy_from_slice(&size.wrapping_mul(8).to_be_bytes());
        self.absorb(padded);
        self.to_bytes()
    }
}

/// A state, and the start of the block that is not full yet.
#[derive(Clone)]
pub(crate) struct Blocks {
    state: State,
    block: [u8; BLOCK_BYTES],
    filled: usize,
}

impl Blocks {
    pub(crate) fn from_state(state: State) -> Self {
        Self {
            state,
            block: [0; BLOCK_BYTES],
            filled: 0,
        }
    }

    /// The state after the last full block.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn absorb(&mut self, mut bytes: &[u8]) {
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

    /// The hash of a file of `size` bytes that ends here.
    pub(crate) fn finish(self, size: u64) -> [u8; STATE_BYTES] {
        self.state.finish(&self.block[..self.filled], size)
    }
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").finish_non_exhaustive()
    }
}
