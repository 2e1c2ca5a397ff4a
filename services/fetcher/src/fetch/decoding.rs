//! Bringing the bytes of a call back to what they were before the sender encoded them.

use bytes::Bytes;
use zstd::stream::raw::{DParameter, Decoder, Operation as _};

/// The largest window that a sender may use, as the contract says: 8 MiB.
const WINDOW_LOG: u32 = 23;

/// What is decoded at once.
const STEP_BYTES: usize = 256 * 1024;

/// A block has at most 128 KiB: who sends much more without anything coming out sends nothing at all.
const MAX_SILENT_BYTES: usize = 256 * 1024;

/// The bytes are not what the encoding allows, or more than were announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecodable;

/// One zstd stream over a call. Takes at most the window and one step of memory, however much a sender would like.
pub(crate) struct Decoding {
    decoder: Decoder<'static>,
    input: Bytes,
    /// The decoder may have more to give although its input is used up.
    is_pending: bool,
    /// What was taken in since something came out.
    silent_bytes: usize,
}

impl std::fmt::Debug for Decoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoding")
            .field("input", &self.input.len())
            .finish_non_exhaustive()
    }
}

impl Decoding {
    /// Begins a stream.
    pub(crate) fn new() -> Result<Self, Undecodable> {
        let mut decoder = Decoder::new().map_err(|_| Undecodable)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
            .map_err(|_| Undecodable)?;
        Ok(Self {
            decoder,
            input: Bytes::new(),
            is_pending: false,
            silent_bytes: 0,
        })
    }

    /// Takes in what came; everything before must have been given.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.input = bytes;
        self.is_pending = true;
    }

    /// Gives the next bytes, at most `left` of them; `None` if more input is needed.
    pub(crate) fn next(&mut self, left: u64) -> Result<Option<Bytes>, Undecodable> {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(STEP_BYTES);
        while self.is_pending {
            let mut output = vec![0; room];
            let done = self
                .decoder
                .run_on_buffers(&self.input, &mut output)
                .map_err(|_| Undecodable)?;
            let _used = self.input.split_to(done.bytes_read.min(self.input.len()));
            // A full buffer may not have held everything.
            self.is_pending = !self.input.is_empty() || done.bytes_written == room;
            self.silent_bytes += done.bytes_read;
            if done.bytes_written > 0 {
                self.silent_bytes = 0;
                output.truncate(done.bytes_written);
                return Ok(Some(output.into()));
            }
            if self.silent_bytes > MAX_SILENT_BYTES {
                return Err(Undecodable);
            }
            if done.bytes_read == 0 {
                self.is_pending = false;
                return if self.input.is_empty() {
                    Ok(None)
                } else {
                    Err(Undecodable)
                };
            }
        }
        Ok(None)
    }

    /// Uses up what belongs to a flush; a piece that is complete has no further bytes.
    pub(crate) fn finish_piece(&mut self) -> Result<(), Undecodable> {
        // One byte of room shows that there is one too many.
        match self.next(1)? {
            None => Ok(()),
            Some(_) => Err(Undecodable),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn pieces_come_out_as_they_went_in_however_they_are_cut() {
        let pieces: [Vec<u8>; 4] = [
            b"hello hello hello".to_vec(),
            (0..600_000_u32)
                .flat_map(|n| (n / 7).to_le_bytes())
                .collect(),
            vec![9],
            vec![0; 3_000_000],
        ];
        for cut in [1000, 40_000, usize::MAX] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
            let mut decoding = Decoding::new().unwrap();
            for piece in &pieces {
                encoder.write_all(piece).unwrap();
                encoder.flush().unwrap();
                let encoded = std::mem::take(encoder.get_mut());
                let mut decoded = Vec::new();
                for part in encoded.chunks(cut.min(encoded.len())) {
                    decoding.push(Bytes::copy_from_slice(part));
                    let left = |decoded: &Vec<u8>| (piece.len() - decoded.len()) as u64;
                    while left(&decoded) > 0 {
                        let Some(bytes) = decoding.next(left(&decoded)).unwrap() else {
                            break;
                        };
                        assert!(bytes.len() <= STEP_BYTES);
                        decoded.extend_from_slice(&bytes);
                    }
                    if left(&decoded) == 0 {
                        decoding.finish_piece().unwrap();
                    }
                }
                assert!(decoded == *piece);
            }
        }
    }

    #[test]
    fn more_than_was_announced_is_refused() {
        let mut decoding = Decoding::new().unwrap();
        decoding.push(zstd::encode_all(&vec![7; 100_000][..], 3).unwrap().into());
        let first = decoding.next(99_999).unwrap().unwrap();
        assert_eq!(first.len(), 99_999);
        assert_eq!(decoding.finish_piece(), Err(Undecodable));
    }

    #[test]
    fn what_is_not_zstd_is_refused() {
        let mut decoding = Decoding::new().unwrap();
        decoding.push(Bytes::from_static(b"this is no stream of zstd"));
        assert_eq!(decoding.next(100), Err(Undecodable));
    }

    #[test]
    fn bytes_from_which_nothing_comes_are_not_taken_for_ever() {
        let mut decoding = Decoding::new().unwrap();
        // A frame that decoders skip, of 1,000 bytes.
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 0xe8, 3, 0, 0][..], &[0; 1000]].concat();
        let refused = (0..1000).find_map(|_| {
            decoding.push(Bytes::from(skipped.clone()));
            decoding.next(100).err()
        });
        assert_eq!(refused, Some(Undecodable));
    }

    #[test]
    fn a_window_that_takes_more_memory_than_the_contract_allows_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(WINDOW_LOG + 1).unwrap();
        encoder.write_all(&vec![1; 20 << 20]).unwrap();
        encoder.flush().unwrap();
        let mut decoding = Decoding::new().unwrap();
        decoding.push(std::mem::take(encoder.get_mut()).into());
        assert_eq!(decoding.next(100), Err(Undecodable));
    }
}
