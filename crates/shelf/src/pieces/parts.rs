//! Handing over bytes in parts.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::ReadError;

/// Bytes are handed over in parts of at most this size.
pub const PART_BYTES: usize = 256 * 1024;

/// Takes the next bytes, in parts of at most [`PART_BYTES`], and may stop the reading.
pub type Sink<'a> = dyn FnMut(Bytes) -> ControlFlow<()> + 'a;

/// Collects bytes into parts of a good size.
pub(super) struct Parts<'a, 'b> {
    buffer: Vec<u8>,
    filled: usize,
    /// How many bytes are still to come, so that a buffer is never larger than needed.
    expected: u64,
    sink: &'a mut Sink<'b>,
}

impl<'a, 'b> Parts<'a, 'b> {
    pub(super) fn new(expected: u64, sink: &'a mut Sink<'b>) -> Self {
        Self {
            buffer: Vec::new(),
            filled: 0,
            expected,
            sink,
        }
    }

    /// Gives room for at most `wanted` bytes, and at least one.
    pub(super) fn room(&mut self, wanted: u64) -> &mut [u8] {
        if self.buffer.is_empty() {
            let size =
                usize::try_from(self.expected).map_or(PART_BYTES, |rest| rest.clamp(1, PART_BYTES));
            self.buffer = vec![0; size];
        }
        let free = self.buffer.len() - self.filled;
        let end = self.filled + usize::try_from(wanted).map_or(free, |wanted| wanted.min(free));
        self.buffer.get_mut(self.filled..end).unwrap_or_default()
    }

    /// Notes that so much of the room was filled.
    pub(super) fn filled(&mut self, bytes: u64) -> Result<(), ReadError> {
        self.filled += usize::try_from(bytes).unwrap_or(0);
        if self.filled >= self.buffer.len() {
            self.flush()
        } else {
            Ok(())
        }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), ReadError> {
        while !bytes.is_empty() {
            let room = self.room(bytes.len() as u64);
            let (now, later) = bytes.split_at(room.len());
            room.copy_from_slice(now);
            self.filled(now.len() as u64)?;
            bytes = later;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), ReadError> {
        if self.filled == 0 {
            return Ok(());
        }
        let mut part = std::mem::take(&mut self.buffer);
        part.truncate(self.filled);
        self.expected = self.expected.saturating_sub(self.filled as u64);
        self.filled = 0;
        match (self.sink)(Bytes::from(part)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ReadError::Stopped),
        }
    }
}
