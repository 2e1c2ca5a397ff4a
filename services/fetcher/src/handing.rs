//! Trees that are committed, and of which the store is being told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use zeroshare_content::ContentId;

/// Trees that are visible already, while this machine's store does not know them yet.
///
/// A fetch ends with the commit: nobody waits for the index but those who ask for the same tree at this moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handing {
    told: Arc<Mutex<BTreeMap<ContentId, CancellationToken>>>,
}

/// The store is being told of a tree for as long as this lives.
#[derive(Debug)]
pub(crate) struct Telling {
    handing: Handing,
    id: ContentId,
}

impl Handing {
    /// Begins to tell.
    pub(crate) fn begin(&self, id: ContentId) -> Telling {
        self.table().entry(id).or_default();
        Telling {
            handing: self.clone(),
            id,
        }
    }

    /// Waits until the store is not being told of a tree any more; who tells it has a deadline.
    pub(crate) async fn settled(&self, id: ContentId) {
        let told = self.table().get(&id).cloned();
        if let Some(told) = told {
            told.cancelled().await;
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<ContentId, CancellationToken>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(told) = self.handing.table().remove(&self.id) {
            told.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{Family, TreeId};

    use super::*;

    #[tokio::test]
    async fn who_asks_for_a_tree_waits_while_the_store_is_told_of_it() {
        let handing = Handing::default();
        let id = ContentId::from(TreeId::of_manifest(Family::Sha256, b""));
        handing.settled(id).await;
        let telling = handing.begin(id);
        let mut waiting = Box::pin(handing.settled(id));
        assert!(is_pending(&mut waiting).await);
        drop(telling);
        waiting.await;
        handing.settled(id).await;
    }

    async fn is_pending(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        tokio::select! {
            biased;
            () = future => false,
            () = tokio::task::yield_now() => true,
        }
    }
}
