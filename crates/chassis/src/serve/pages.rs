//! What may be read from disk before a peer has taken it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What budgets are counted in: less is not worth an entry.
const UNIT_BYTES: usize = 4096;

/// How many bytes of answers may be in memory for one peer, and for all; in the extensions of every request.
///
/// Who reads a file for a peer claims room first, and lets the claim go with the bytes: see [`PageClaim::hold`].
#[derive(Debug, Clone)]
pub struct PageBudget {
    peer: Share,
    all: Share,
}

#[derive(Debug, Clone)]
struct Share {
    units: Arc<Semaphore>,
    /// More than that is never claimed, so that one claim larger than the budget waits for all of it, not for ever.
    most: u32,
}

/// Room for bytes on their way to a peer; given back when dropped.
#[derive(Debug)]
pub struct PageClaim {
    _permits: [OwnedSemaphorePermit; 2],
}

impl PageBudget {
    /// A budget for one peer, of a total of its own.
    pub fn new(peer_bytes: usize, all_bytes: usize) -> Self {
        Self {
            peer: Share::new(peer_bytes),
            all: Share::new(all_bytes),
        }
    }

    /// A budget for another peer under the same total.
    pub(super) fn sibling(&self, peer_bytes: usize) -> Self {
        Self {
            peer: Share::new(peer_bytes),
            all: self.all.clone(),
        }
    }

    /// Waits for room for so many bytes; may be dropped midway.
    ///
    /// Claims are served in turn. One that exceeds the whole budget gets all of it.
    pub async fn claim(&self, bytes: usize) -> PageClaim {
        // The peer's own first: whoever waits for itself must not hold what is everybody's.
        let peer = self.peer.claim(bytes).await;
        let all = self.all.claim(bytes).await;
        PageClaim {
            _permits: [peer, all],
        }
    }

    /// Room for so many bytes if there is some at once.
    pub fn try_claim(&self, bytes: usize) -> Option<PageClaim> {
        let peer = self.peer.try_claim(bytes)?;
        let all = self.all.try_claim(bytes)?;
        Some(PageClaim {
            _permits: [peer, all],
        })
    }

    /// How many bytes the peer could claim at once, by its own share.
    pub fn free_bytes(&self) -> usize {
        self.peer.units.available_permits() * UNIT_BYTES
    }
}

impl Share {
    fn new(bytes: usize) -> Self {
        let most = units(bytes).max(1);
        let permits = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            most,
        }
    }

    async fn claim(&self, bytes: usize) -> OwnedSemaphorePermit {
        let units = units(bytes).min(self.most);
        match self.units.clone().acquire_many_owned(units).await {
            Ok(permit) => permit,
            // Nobody closes it; were it closed, there would be no claim to wait for.
            Err(_) => std::future::pending().await,
        }
    }

    fn try_claim(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.units
            .clone()
            .try_acquire_many_owned(units(bytes).min(self.most))
            .ok()
    }
}

impl PageClaim {
    /// Ties the claim to the bytes it was made for: it is given back when the last of them was sent.
    pub fn hold(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Held {
            bytes,
            _claim: self,
        })
    }
}

struct Held<T> {
    bytes: T,
    _claim: PageClaim,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    const PEER: usize = 4 * UNIT_BYTES;
    const ALL: usize = 6 * UNIT_BYTES;

    #[tokio::test]
    async fn room_comes_back_when_the_last_byte_is_gone() {
        let budget = PageBudget::new(PEER, ALL);
        let bytes = budget.claim(PEER).await.hold(vec![7; PEER]);
        assert!(budget.try_claim(1).is_none());
        let tail = bytes.slice(PEER - 1..);
        drop(bytes);
        assert!(budget.try_claim(1).is_none());
        assert_eq!(tail[..], [7]);
        drop(tail);
        assert_eq!(budget.free_bytes(), PEER);
    }

    #[tokio::test]
    async fn a_claim_waits_for_its_turn() {
        let budget = PageBudget::new(PEER, ALL);
        let held = budget.claim(PEER).await;
        let mut waiting = std::pin::pin!(budget.claim(1));
        assert!(matches!(
            futures_poll(waiting.as_mut()).await,
            Poll::Pending
        ));
        drop(held);
        waiting.await;
    }

    #[tokio::test]
    async fn all_peers_share_a_total() {
        let one = PageBudget::new(PEER, ALL);
        let other = one.sibling(PEER);
        let _held = one.claim(PEER).await;
        assert!(other.try_claim(PEER).is_none());
        assert!(other.try_claim(ALL - PEER).is_some());
        assert_eq!(
            other.free_bytes(),
            PEER,
            "what was not to be had in all is not kept"
        );
    }

    #[tokio::test]
    async fn a_claim_beyond_the_budget_gets_all_of_it() {
        let budget = PageBudget::new(PEER, ALL);
        let claim = budget.claim(100 * PEER).await;
        assert_eq!(budget.free_bytes(), 0);
        drop(claim);
        assert_eq!(budget.free_bytes(), PEER);
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
