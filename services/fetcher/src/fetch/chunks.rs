//! Bytes as they came, in several buffers.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes in the buffers that they were received in, so that nobody copies them but the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunks {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl Chunks {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of the next bytes lie in one buffer.
    pub(crate) fn contiguous(&self) -> usize {
        self.chunks.front().map_or(0, Bytes::len)
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    /// Takes the next bytes away, as they lie; fewer if there are not so many.
    pub(crate) fn split_to(&mut self, len: usize) -> Self {
        let mut taken = Self::default();
        while taken.len < len {
            let Some(first) = self.chunks.front_mut() else {
                break;
            };
            let wanted = len - taken.len;
            if first.len() <= wanted {
                taken.push(self.chunks.pop_front().unwrap_or_default());
            } else {
                taken.push(first.split_to(wanted));
            }
        }
        self.len -= taken.len;
        taken
    }

    /// Takes the next bytes away in one buffer, copied only if they lie in several; `None` if there are not so many.
    pub(crate) fn take(&mut self, len: usize) -> Option<Bytes> {
        if len > self.len {
            return None;
        }
        Some(self.split_to(len).into_bytes())
    }

    /// All bytes in one buffer, copied only if they lie in several.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if self.chunks.len() <= 1 {
            return self.chunks.pop_front().unwrap_or_default();
        }
        let mut joined = BytesMut::with_capacity(self.len);
        for chunk in &self.chunks {
            joined.extend_from_slice(chunk);
        }
        joined.freeze()
    }
}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        let mut chunks = Self::default();
        chunks.push(bytes);
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_what_was_pushed_in_order_wherever_it_is_cut() {
        let bytes: Vec<u8> = (0..=255).collect();
        for part in [1, 7, 64, 256] {
            for cut in [1, 5, 64, 100, 256] {
                let mut chunks = Chunks::default();
                for part in bytes.chunks(part) {
                    chunks.push(Bytes::copy_from_slice(part));
                }
                let mut taken = Vec::new();
                while let Some(next) = chunks.take(cut) {
                    assert_eq!(next.len(), cut);
                    taken.extend_from_slice(&next);
                }
                assert_eq!(chunks.len(), bytes.len() % cut);
                taken.extend_from_slice(&chunks.split_to(usize::MAX).into_bytes());
                assert!(chunks.is_empty() && chunks.take(1).is_none());
                assert_eq!(taken, bytes);
            }
        }
    }

    #[test]
    fn what_lies_in_one_buffer_is_not_copied() {
        let bytes = Bytes::from(vec![7; 100]);
        let mut chunks = Chunks::from(bytes.clone());
        assert_eq!(chunks.contiguous(), 100);
        let taken = chunks.take(40).unwrap();
        assert_eq!(taken.as_ptr(), bytes.as_ptr());
    }
}
