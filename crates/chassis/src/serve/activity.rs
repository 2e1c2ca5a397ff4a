//! What a connection does, as seen from outside.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;

/// Counters of one connection; only the order of magnitude of their moment matters, so they are relaxed.
#[derive(Debug, Default)]
pub(super) struct Activity {
    written_bytes: AtomicU64,
    read_bytes: AtomicU64,
    calls: AtomicUsize,
    calls_so_far: AtomicU64,
    chunks: AtomicUsize,
    chunks_sent: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Taken by the kernel.
    pub(super) written_bytes: u64,
    /// Come from the peer.
    pub(super) read_bytes: u64,
    /// Calls in progress.
    pub(super) calls: usize,
    /// Calls that were ever begun.
    pub(super) calls_so_far: u64,
    /// Parts of answers that were handed over and are not written yet.
    pub(super) chunks: usize,
    /// Parts of answers that were.
    pub(super) chunks_sent: u64,
}

/// One call in progress.
#[derive(Debug)]
pub(super) struct Call {
    activity: Arc<Activity>,
}

/// Part of an answer that HTTP holds until the peer takes it.
struct Chunk {
    bytes: Bytes,
    activity: Arc<Activity>,
}

impl Activity {
    pub(super) fn wrote(&self, bytes: usize) {
        self.written_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            calls_so_far: self.calls_so_far.load(Ordering::Relaxed),
            chunks: self.chunks.load(Ordering::Relaxed),
            chunks_sent: self.chunks_sent.load(Ordering::Relaxed),
        }
    }
}

impl Call {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.calls.fetch_add(1, Ordering::Relaxed);
        activity.calls_so_far.fetch_add(1, Ordering::Relaxed);
        Self {
            activity: activity.clone(),
        }
    }

    /// Follows bytes until they were written or given up.
    pub(super) fn follow(&self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        self.activity.chunks.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Chunk {
            bytes,
            activity: self.activity.clone(),
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.activity.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.activity.chunks.fetch_sub(1, Ordering::Relaxed);
        self.activity.chunks_sent.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_followed_until_its_last_slice_is_gone() {
        let activity = Arc::new(Activity::default());
        let call = Call::begin(&activity);
        let bytes = call.follow(Bytes::from_static(b"abc"));
        drop(call);
        let tail = bytes.slice(2..);
        drop(bytes);
        let held = Snapshot {
            calls_so_far: 1,
            chunks: 1,
            ..Snapshot::default()
        };
        assert_eq!(activity.snapshot(), held);
        drop(tail);
        assert_eq!(
            activity.snapshot(),
            Snapshot {
                chunks: 0,
                chunks_sent: 1,
                ..held
            }
        );
    }
}
