//! Content that is still being fetched, and offered meanwhile.

mod ended;
mod offer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, broadcast};
use zeroshare_content::ContentId;
use zeroshare_shelf::Audience;

use ended::EndedLists;

pub(crate) use offer::{Offer, PartialList};

/// Fetches that can be offered at once; the fetcher runs far fewer.
const MAX_OFFERS: usize = 256;

/// What the fetcher offers now.
#[derive(Debug)]
pub(crate) struct Offers {
    /// Several fetches of one content go to several places.
    current: Mutex<BTreeMap<ContentId, Vec<Arc<Offer>>>>,
    /// Under what may still be asked for.
    ended: Mutex<EndedLists>,
    changes: broadcast::Sender<ContentId>,
    /// Rung at the end of each: what its writer did not commit is to be hashed.
    work: Arc<Notify>,
}

impl Offers {
    pub(crate) fn new(changes: broadcast::Sender<ContentId>, work: Arc<Notify>) -> Self {
        Self {
            current: Mutex::default(),
            ended: Mutex::default(),
            changes,
            work,
        }
    }

    /// Offers something until [`Self::end`]; says whether there was room.
    pub(crate) fn begin(&self, offer: Arc<Offer>) -> bool {
        let id = *offer.id();
        let mut offers = self.current();
        if offers.values().map(Vec::len).sum::<usize>() >= MAX_OFFERS {
            return false;
        }
        offers.entry(id).or_default().push(offer);
        drop(offers);
        self.changed(&id);
        true
    }

    /// Ends an offer, and the streams that watch it.
    pub(crate) fn end(&self, offer: &Arc<Offer>) {
        let id = *offer.id();
        let mut offers = self.current();
        if let Some(same) = offers.get_mut(&id) {
            same.retain(|known| !Arc::ptr_eq(known, offer));
            if same.is_empty() {
                offers.remove(&id);
            }
        }
        drop(offers);
        offer.end();
        self.keep_lists(&id, offer);
        self.changed(&id);
        self.work.notify_one();
    }

    /// Finds a list of an offer that ended lately: the newest of a file by its line, or that of a digest.
    pub(crate) fn ended_list(
        &self,
        of: (&ContentId, u32),
        digest: Option<[u8; 32]>,
        audience: Audience,
    ) -> Option<PartialList> {
        self.ended().find(Instant::now(), of, digest, audience)
    }

    fn keep_lists(&self, id: &ContentId, offer: &Offer) {
        let now = Instant::now();
        for line in offer.listed_lines() {
            if let Some(list) = offer.list(line) {
                self.ended().keep(now, (id, line), offer.is_shared(), list);
            }
        }
    }

    fn ended(&self) -> MutexGuard<'_, EndedLists> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the offer that has most of it.
    pub(crate) fn find(&self, id: &ContentId, audience: Audience) -> Option<Arc<Offer>> {
        let offers = self.current();
        let visible = offers
            .get(id)?
            .iter()
            .filter(|offer| audience == Audience::Local || offer.is_shared());
        // Counting pieces takes time, and there is hardly ever a choice.
        visible
            .reduce(|one, other| {
                if other.held_count() >= one.held_count() {
                    other
                } else {
                    one
                }
            })
            .cloned()
    }

    /// Names all that is offered in part, as far as they are for these ears.
    pub(crate) fn ids(&self, audience: Audience) -> Vec<ContentId> {
        let offers = self.current();
        let visible = offers.iter().filter(|(_, same)| {
            same.iter()
                .any(|offer| audience == Audience::Local || offer.is_shared())
        });
        visible.map(|(id, _)| *id).collect()
    }

    /// Tells watchers that something about content is different.
    pub(crate) fn changed(&self, id: &ContentId) {
        // Fails when nobody watches.
        let _watchers = self.changes.send(*id);
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<ContentId, Vec<Arc<Offer>>>> {
        // Each change is one step.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
