use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroshare_content::{GRAIN, MAX_CONTENT_BYTES};

use crate::chain::{STATE_BYTES, State};

/// The midstates at all grain borders inside a file: m\[1\] … m\[n−1\].
///
/// Empty for a file of at most one grain. Nothing says that they are true until each grain was
/// checked.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Midstates(Box<[u8]>);

/// How many grains a file has; at least 1, since the grain of an empty file is its padding alone.
///
/// At most 2²⁷ up to [`MAX_CONTENT_BYTES`]; beyond that the answer is the one for that size.
pub fn grain_count(size: u64) -> u32 {
    let grains = size.min(MAX_CONTENT_BYTES).div_ceil(GRAIN).max(1);
    u32::try_from(grains).unwrap_or(u32::MAX)
}

/// How many bytes a grain has; `None` if the file has no such grain.
pub fn grain_len(size: u64, index: u32) -> Option<u64> {
    if index >= grain_count(size) {
        return None;
    }
    Some((size - u64::from(index) * GRAIN).min(GRAIN))
}

impl Midstates {
    /// Takes the list that somebody gives for a file of this size.
    pub fn from_bytes(size: u64, bytes: impl Into<Box<[u8]>>) -> Result<Self, MidstatesError> {
        if size > MAX_CONTENT_BYTES {
            return Err(MidstatesError::TooLarge { size });
        }
        let bytes = bytes.into();
        let expected = list_bytes(size);
        if bytes.len() as u64 != expected {
            return Err(MidstatesError::WrongLength {
                given: bytes.len(),
                expected,
            });
        }
        Ok(Self(bytes))
    }

    /// The list as it is kept and sent: 32 bytes each, in order.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many grains a file has that has this many midstates.
    pub fn grains(&self) -> u32 {
        u32::try_from(self.0.len() / STATE_BYTES + 1).unwrap_or(u32::MAX)
    }

    /// Names the list: SHA-256 over its bytes.
    pub fn list_digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// What SHA-256 has in hand before a grain; `None` if the list does not go so far.
    pub(crate) fn before(&self, grain: u32) -> Option<State> {
        let Some(at) = (grain as usize).checked_sub(1) else {
            return Some(State::START);
        };
        self.states().get(at).map(State::from_bytes)
    }

    pub(crate) fn from_states(states: Vec<[u8; STATE_BYTES]>) -> Self {
        Self(states.into_flattened().into())
    }

    pub(crate) fn states(&self) -> &[[u8; STATE_BYTES]] {
        self.0.as_chunks().0
    }
}

impl fmt::Debug for Midstates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Midstates({})", self.states().len())
    }
}

fn list_bytes(size: u64) -> u64 {
    u64::from(grain_count(size) - 1) * STATE_BYTES as u64
}

/// Why bytes are not a list of midstates for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MidstatesError {
    /// The list has another length than the file's size asks for.
    #[error("a list of midstates of {given} bytes, where the file's has {expected}")]
    WrongLength {
        /// How long it is.
        given: usize,
        /// How long it must be.
        expected: u64,
    },
    /// No file is that large.
    #[error("midstates of a file of {size} bytes, where at most {MAX_CONTENT_BYTES} are counted")]
    TooLarge {
        /// The size that was given.
        size: u64,
    },
}
