//! Memory in which answers are put together.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroshare_chassis::serve::PageClaim;

/// What is read at once and sent as one HTTP/2 frame, the longest that a reader of ours takes: with a quarter of it the
/// threads that read and those that send wake each other four times as often, which cost a fifth more.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;

/// What is sent at once on a slow line, so that nothing waits long behind it.
pub(super) const SLOW_PAGE_BYTES: usize = 256 * 1024;

/// The smallest page: what is smaller costs as much.
const LEAST_BYTES: usize = 4096;

/// Pages that wait for their next use: first touch of fresh memory costs more than reading into it.
const MAX_IDLE: usize = 16;

/// The pages of one store.
#[derive(Debug, Default)]
pub(crate) struct PagePool {
    idle: Mutex<Vec<Vec<u8>>>,
}

/// A piece of memory, filled from its start; it goes back to its pool.
pub(crate) struct Page {
    bytes: Vec<u8>,
    filled: usize,
    pool: Arc<PagePool>,
    /// The room that it takes of what its reader may hold.
    _claim: Option<PageClaim>,
}

impl PagePool {
    /// Gives a page of at least so many bytes, if that is not more than [`PAGE_BYTES`].
    pub(crate) fn page(self: &Arc<Self>, size: usize, claim: Option<PageClaim>) -> Page {
        let size = size.clamp(LEAST_BYTES, PAGE_BYTES);
        let pooled = if size == PAGE_BYTES {
            self.idle().pop()
        } else {
            None
        };
        Page {
            bytes: pooled.unwrap_or_else(|| vec![0; size]),
            filled: 0,
            pool: Arc::clone(self),
            _claim: claim,
        }
    }

    /// Gives back memory that nobody needed since pages were needed last.
    pub(crate) fn shrink(&self) {
        *self.idle() = Vec::new();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    /// What is there already.
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// What may still be filled.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// How much may still be filled.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.filled
    }

    /// Takes in the start of the room.
    pub(crate) fn fill(&mut self, bytes: usize) {
        self.filled = (self.filled + bytes).min(self.bytes.len());
    }

    /// Puts bytes behind what is there; they must fit.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room().get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.fill(bytes.len());
        }
    }

    /// Puts bytes in place of others that are there.
    pub(crate) fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Takes back what was put behind the first bytes.
    pub(crate) fn cut(&mut self, filled: usize) {
        self.filled = self.filled.min(filled);
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.bytes.len() != PAGE_BYTES {
            return;
        }
        let mut idle = self.pool.idle();
        if idle.len() < MAX_IDLE {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({} of {} bytes)", self.filled, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_used_again_and_given_back() {
        let pool = Arc::new(PagePool::default());
        let mut page = pool.page(PAGE_BYTES * 9, None);
        page.put(b"abc");
        let at = page.as_ref().as_ptr();
        drop(page);
        drop(pool.page(7, None));
        assert_eq!(pool.idle().len(), 1, "a small one is not kept");
        let page = pool.page(PAGE_BYTES, None);
        assert_eq!((page.as_ref().len(), page.as_ref().as_ptr()), (0, at));
        drop(page);
        pool.shrink();
        assert!(pool.idle().is_empty());
    }

    #[test]
    fn only_so_many_pages_wait() {
        let pool = Arc::new(PagePool::default());
        let pages: Vec<Page> = (0..=MAX_IDLE)
            .map(|_| pool.page(PAGE_BYTES, None))
            .collect();
        drop(pages);
        assert_eq!(pool.idle().len(), MAX_IDLE);
    }
}
