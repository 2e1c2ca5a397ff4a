//! Handing over bytes.

use super::ReadError;

/// Takes the bytes of pieces, read straight to where they are wanted.
pub trait Sink {
    /// Gives room for the next bytes, at least one and at most `wanted`; `None` stops the reading.
    fn room(&mut self, wanted: u64) -> Option<&mut [u8]>;

    /// Notes that the room given last, which has so many bytes, holds the next ones: all of it, or the reading fails.
    fn filled(&mut self, bytes: usize);
}

/// All bytes one behind the other.
impl Sink for Vec<u8> {
    fn room(&mut self, wanted: u64) -> Option<&mut [u8]> {
        /// A caller may expect more than there is memory.
        const AT_ONCE: u64 = 1 << 20;
        let start = self.len();
        let more = usize::try_from(wanted.min(AT_ONCE)).ok()?;
        self.resize(start + more, 0);
        self.get_mut(start..)
    }

    fn filled(&mut self, _bytes: usize) {}
}

/// Gives room, or says that no more is wanted.
pub(super) fn room<'a>(
    sink: &'a mut (dyn Sink + '_),
    wanted: u64,
) -> Result<&'a mut [u8], ReadError> {
    match sink.room(wanted) {
        Some(room) if !room.is_empty() => Ok(room),
        Some(_) | None => Err(ReadError::Stopped),
    }
}

/// Hands over bytes that are in memory already.
pub(super) fn push(sink: &mut (dyn Sink + '_), mut bytes: &[u8]) -> Result<(), ReadError> {
    while !bytes.is_empty() {
        let room = room(sink, bytes.len() as u64)?;
        let (now, later) = bytes.split_at(room.len().min(bytes.len()));
        if let Some(room) = room.get_mut(..now.len()) {
            room.copy_from_slice(now);
        }
        sink.filled(now.len());
        bytes = later;
    }
    Ok(())
}
