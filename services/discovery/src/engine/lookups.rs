//! Lookups that callers of the local API wait for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::debug;
use zeroshare_content::ContentId;
use zeroshare_membership::{LookupId, Membership, Provider, Search};
use zeroshare_wire::datagram::TraceContext;

/// Names a lookup to whoever began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LookupKey(pub(crate) u64);

/// What was found; ends when the time is over.
pub(crate) type FoundSender = mpsc::Sender<Result<Provider, TooManyLookups>>;

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
    pub(crate) found: FoundSender,
}

/// The lookups that are open.
#[derive(Debug, Default)]
pub(super) struct OpenLookups {
    open: BTreeMap<LookupId, (LookupKey, FoundSender)>,
}

impl OpenLookups {
    pub(super) fn begin(&mut self, now: Instant, machine: &mut Membership, request: FindRequest) {
        let FindRequest {
            key,
            contents,
            wait,
            trace,
            enough,
            found,
        } = request;
        let search = Search {
            contents: &contents,
            wait,
            trace,
            enough,
        };
        match machine.search(now, &search) {
            Some(id) => {
                self.open.insert(id, (key, found));
            }
            None => drop(found.try_send(Err(TooManyLookups))),
        }
    }

    pub(super) fn cancel(&mut self, machine: &mut Membership, key: LookupKey) {
        let found = self.open.iter().find(|(_, (open, _))| *open == key);
        if let Some(id) = found.map(|(id, _)| *id) {
            self.open.remove(&id);
            machine.cancel(id);
        }
    }

    pub(super) fn found(&mut self, machine: &mut Membership, id: LookupId, provider: Provider) {
        let Some((_, sender)) = self.open.get(&id) else {
            return;
        };
        debug!(content = %provider.content, peer = %provider.peer.node, "provider found");
        if sender.try_send(Ok(provider)).is_err() {
            // Gone, or not reading: there is room for all that one lookup ever finds.
            self.open.remove(&id);
            machine.cancel(id);
        }
    }

    pub(super) fn ended(&mut self, id: LookupId) {
        self.open.remove(&id);
    }
}
