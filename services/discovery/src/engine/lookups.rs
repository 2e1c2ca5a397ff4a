//! Lookups that callers of the local API wait for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::debug;
use zeroshare_content::ContentId;
use zeroshare_membership::{LookupId, Membership, Provider, Search, Told};
use zeroshare_wire::datagram::TraceContext;

/// Names a lookup to whoever began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LookupKey(pub(crate) u64);

/// What was found, and what happened; ends when the time is over.
pub(crate) type NewsSender = mpsc::Sender<Result<News, TooManyLookups>>;

/// What a lookup tells.
#[derive(Debug)]
pub(crate) enum News {
    /// Somebody claims to hold it, since then.
    Found(Instant, Box<Provider>),
    /// Something happened.
    Step(Box<StepNews>),
}

/// Something that happened in a lookup, with what the machine does not know of it.
#[derive(Debug)]
pub(crate) struct StepNews {
    pub(crate) told: Told,
    /// The interface concerned, by name.
    pub(crate) interface: Option<String>,
    /// Why the system refused to send, in its words.
    pub(crate) refusal: Option<String>,
}

/// No further lookup can be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyLookups;

/// A lookup to begin.
#[derive(Debug)]
pub(crate) struct FindRequest {
    pub(crate) key: LookupKey,
    pub(crate) contents: Vec<ContentId>,
    pub(crate) wait: Duration,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) enough: Option<u8>,
    /// Whether its story is wanted.
    pub(crate) explained: bool,
    /// Whether those are wanted who look for the same.
    pub(crate) askers: bool,
    pub(crate) news: NewsSender,
}

impl FindRequest {
    fn search(&self) -> Search<'_> {
        Search {
            contents: &self.contents,
            wait: self.wait,
            trace: self.trace,
            enough: self.enough,
            explained: self.explained,
            askers: self.askers,
        }
    }
}

/// The lookups that are open.
#[derive(Debug, Default)]
pub(super) struct OpenLookups {
    open: BTreeMap<LookupId, (LookupKey, NewsSender)>,
}

impl OpenLookups {
    /// Begins lookups that came at once: as many as fit are asked for in one question.
    pub(super) fn begin(&mut self, now: Instant, machine: &mut Membership, all: Vec<FindRequest>) {
        let searches: Vec<Search<'_>> = all.iter().map(FindRequest::search).collect();
        let ids = machine.search_all(now, &searches);
        for (id, request) in ids.into_iter().zip(all) {
            match id {
                Some(id) => {
                    self.open.insert(id, (request.key, request.news));
                }
                None => drop(request.news.try_send(Err(TooManyLookups))),
            }
        }
    }

    pub(super) fn cancel(&mut self, machine: &mut Membership, key: LookupKey) {
        let found = self.open.iter().find(|(_, (open, _))| *open == key);
        if let Some(id) = found.map(|(id, _)| *id) {
            self.open.remove(&id);
            machine.cancel(id);
        }
    }

    pub(super) fn tell(&mut self, machine: &mut Membership, id: LookupId, news: News) {
        let Some((_, sender)) = self.open.get(&id) else {
            return;
        };
        if let News::Found(_, provider) = &news {
            debug!(content = %provider.content, peer = %provider.peer.node, "provider found");
        }
        if sender.try_send(Ok(news)).is_err() {
            // Gone, or not reading: there is room for all that one lookup ever finds and tells.
            self.open.remove(&id);
            machine.cancel(id);
        }
    }

    pub(super) fn ended(&mut self, id: LookupId) {
        self.open.remove(&id);
    }
}
