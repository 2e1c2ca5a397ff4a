//! Lists of midstates: those that are known, and asking providers for theirs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::time::timeout_at;
use tracing::debug;
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_content::{BlobId, ContentId, Layout};
use zeroshare_proof::{KnownList, ListDigest, Midstates, grain_count};
use zeroshare_transfer::{Ask, CallEnd, Pace, ProviderId};
use zeroshare_wire::pb::store::v1::{
    ReadMidstatesRequest, ReadMidstatesResponse, StatContentRequest,
};

use super::call::end_of_status;
use super::reader::{Report, Surroundings};
use crate::peers::Peer;

/// Files in one question: what a store takes.
const MAX_FILES: usize = 1000;

/// A midstate as it travels.
const MIDSTATE_BYTES: usize = 32;

/// The lists by which slices are judged as they come; readers look, the driver changes them.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<BTreeMap<u32, FileLists>>);

#[derive(Debug, Clone, Default)]
struct FileLists {
    known: Vec<KnownList>,
    lead: Option<ListDigest>,
}

/// By what a slice is judged.
#[derive(Debug)]
pub(crate) enum Judge {
    /// By this list; whether its sender named it.
    List(KnownList, bool),
    /// Nothing is known of the file yet.
    Nobody,
    /// The sender names one that is not known, while others are: it is of no use.
    Unknown,
}

impl Lists {
    /// Takes over what is known of a file now.
    pub(crate) fn set(&self, item: u32, known: &[KnownList], lead: Option<&KnownList>) {
        let file = FileLists {
            known: known.to_vec(),
            lead: lead.map(|lead| *lead.digest()),
        };
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            files.remove(&item);
        } else {
            files.insert(item, file);
        }
    }

    /// Finds the list that a sender names, or else the lead.
    pub(crate) fn judge(&self, item: u32, named: Option<ListDigest>) -> Judge {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = files.get(&item) else {
            return Judge::Nobody;
        };
        let find = |digest| file.known.iter().find(|list| *list.digest() == digest);
        match (named, file.lead) {
            (Some(named), _) => {
                find(named).map_or(Judge::Unknown, |list| Judge::List(list.clone(), true))
            }
            (None, Some(lead)) => {
                find(lead).map_or(Judge::Nobody, |list| Judge::List(list.clone(), false))
            }
            (None, None) => Judge::Nobody,
        }
    }

    /// Finds a list that a sender names.
    pub(crate) fn find(&self, item: u32, named: ListDigest) -> Option<KnownList> {
        match self.judge(item, Some(named)) {
            Judge::List(list, _) => Some(list),
            Judge::Nobody | Judge::Unknown => None,
        }
    }
}

/// Asks a provider whether it has the whole, and then for its lists; reports what it says, and the end last.
pub(crate) async fn ask(peer: Peer, ask: Ask, around: Surroundings) {
    let stopping = around.tasks.stopping();
    let provider = ask.provider;
    let asking = Asking {
        peer: &peer,
        provider,
        around: &around,
    };
    let end = tokio::select! {
        end = asking.run(&ask) => end.err().unwrap_or(CallEnd::Finished),
        () = stopping => return,
    };
    if end != CallEnd::Finished {
        debug!(peer = %peer.address, ?end, "a provider does not give its midstates");
    }
    drop(around.reports.send(Report::Asked { provider, end }).await);
}

struct Asking<'a> {
    peer: &'a Peer,
    provider: ProviderId,
    around: &'a Surroundings,
}

impl Asking<'_> {
    async fn run(&self, ask: &Ask) -> Result<(), CallEnd> {
        let is_complete = self.is_complete().await?;
        let provider = self.provider;
        self.report(Report::Complete {
            provider,
            is_complete,
        })
        .await?;
        for (items, digests_only) in [(&ask.whole, false), (&ask.named, true)] {
            for items in items.chunks(MAX_FILES) {
                self.read_all(items, digests_only).await?;
            }
        }
        Ok(())
    }

    async fn is_complete(&self) -> Result<bool, CallEnd> {
        let request = StatContentRequest {
            content_ids: vec![self.around.content.to_string()],
        };
        let pace = Pace::new(self.around.pace, Instant::now());
        let mut store = self.peer.store();
        let answer = timeout_at(pace.deadline().into(), store.stat_content(request)).await;
        let answer = answer.map_err(|_| CallEnd::Stalled)?;
        let stats = answer
            .map_err(|status| end_of_status(&status))?
            .into_inner()
            .stats;
        let own = self.around.content.to_string();
        let stat = stats.iter().find(|stat| stat.content_id == own);
        Ok(stat.is_some_and(|stat| {
            stat.held_pieces == stat.total_pieces
                && stat.total_pieces == self.around.layout.piece_count()
        }))
    }

    /// Reads the lists of some files; those that are not known are left out one by one.
    async fn read_all(&self, items: &[u32], digests_only: bool) -> Result<(), CallEnd> {
        let mut left = items;
        while !left.is_empty() {
            let mut reading = Reading {
                left,
                states: Vec::new(),
            };
            let known = self.read(&mut reading, digests_only).await;
            // Whatever is next is not known, if not all came.
            let skipped = usize::from(known? || !reading.left.is_empty());
            left = reading.left.get(skipped..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads until the end or the first that is not known; says whether there was one such.
    async fn read(&self, reading: &mut Reading<'_>, digests_only: bool) -> Result<bool, CallEnd> {
        let layout = &self.around.layout;
        let files = match self.around.content {
            ContentId::Tree(_) => reading
                .left
                .iter()
                .map(|item| line_of(layout, *item))
                .collect(),
            ContentId::Blob(_) => Vec::new(),
        };
        let request = ReadMidstatesRequest {
            content_id: self.around.content.to_string(),
            files,
            digests_only,
            ..ReadMidstatesRequest::default()
        };
        let mut pace = Pace::new(self.around.pace, Instant::now());
        let mut store = self.peer.store();
        let answer = timeout_at(pace.deadline().into(), store.read_midstates(request)).await;
        let mut messages = match answer.map_err(|_| CallEnd::Stalled)? {
            Ok(answer) => answer.into_inner(),
            Err(status) if is_not_known(&status) => return Ok(true),
            Err(status) => return Err(end_of_status(&status)),
        };
        loop {
            let message = timeout_at(pace.deadline().into(), messages.message()).await;
            let message = match message.map_err(|_| CallEnd::Stalled)? {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(false),
                Err(status) if is_not_known(&status) => return Ok(true),
                Err(status) => return Err(end_of_status(&status)),
            };
            pace.handle_bytes(Instant::now(), 1 + message.midstates.len() as u64);
            let report = reading.take(layout, &message, digests_only)?;
            if let Some((item, list)) = report {
                let provider = self.provider;
                self.report(match list {
                    Given::Named(list) => Report::Named {
                        provider,
                        item,
                        list,
                    },
                    Given::Whole(list) => Report::List {
                        provider,
                        item,
                        list,
                    },
                })
                .await?;
            }
        }
    }

    async fn report(&self, report: Report) -> Result<(), CallEnd> {
        let sent = self.around.reports.send(report).await;
        sent.map_err(|_| CallEnd::Cancelled)
    }
}

/// Lists on their way in, in the order asked for.
struct Reading<'a> {
    left: &'a [u32],
    /// What came of the first that is left; never longer than its list.
    states: Vec<u8>,
}

enum Given {
    Named(ListDigest),
    Whole(KnownList),
}

impl Reading<'_> {
    fn take(
        &mut self,
        layout: &Layout,
        message: &ReadMidstatesResponse,
        digests_only: bool,
    ) -> Result<Option<(u32, Given)>, CallEnd> {
        let item = *self.left.first().ok_or(CallEnd::Violation)?;
        let found = layout
            .items()
            .get(item as usize)
            .ok_or(CallEnd::Violation)?;
        let grains = grain_count(found.size);
        let expected = (grains as usize - 1) * MIDSTATE_BYTES;
        let first = message.first_grain as usize * MIDSTATE_BYTES;
        if message.file != found.line || message.total_grains != grains {
            return Err(CallEnd::Violation);
        }
        if digests_only {
            self.left = self.left.get(1..).unwrap_or_default();
            let named = ListDigest::try_from(message.list_digest.as_ref());
            return Ok(named.ok().map(|list| (item, Given::Named(list))));
        }
        let fits =
            first == self.states.len() && message.midstates.len() <= expected - first.min(expected);
        if !fits || message.midstates.is_empty() {
            // A fetcher may know only the beginning of a list, or nothing of it.
            let is_partial = fits && message.list_digest.is_empty();
            return is_partial.then_some(None).ok_or(CallEnd::Violation);
        }
        self.states.extend_from_slice(&message.midstates);
        if self.states.len() < expected {
            return Ok(None);
        }
        self.left = self.left.get(1..).unwrap_or_default();
        let states = std::mem::take(&mut self.states);
        let list = Midstates::from_bytes(found.size, states).map_err(|_| CallEnd::Violation)?;
        Ok(Some((item, Given::Whole(KnownList::new(list)))))
    }
}

fn is_not_known(status: &tonic::Status) -> bool {
    errors::reason(status) == Some(ErrorReason::MidstatesNotKnown)
}

fn line_of(layout: &Layout, item: u32) -> u32 {
    layout
        .items()
        .get(item as usize)
        .map_or(0, |item| item.line)
}

/// The SHA-256 and size of an item, by which it can be judged.
pub(crate) fn hash_of(layout: &Layout, item: u32) -> Option<([u8; 32], u64)> {
    let found = layout.items().get(item as usize)?;
    match found.blob {
        BlobId::Sha256(digest) => Some((digest, found.size)),
        BlobId::Sha1(_) => None,
    }
}
