//! Lists of midstates.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;
use zeroshare_api::errors;
use zeroshare_chassis::rate::Throttle;
use zeroshare_chassis::serve::PageBudget;
use zeroshare_content::ContentId;
use zeroshare_shelf::Audience;
use zeroshare_wire::convert::content_id;
use zeroshare_wire::pb::store::v1::{ReadMidstatesRequest, ReadMidstatesResponse};

use crate::answer::{Answer, Teller};
use crate::offers::PartialList;
use crate::peers::malformed;
use crate::slots::Slot;
use crate::status;
use crate::store::Store;

/// Files in one question.
const MAX_FILES: usize = 1000;

/// A midstate as it travels.
const MIDSTATE_BYTES: usize = 32;

/// Midstates in one message: 256 KiB of them.
const MIDSTATES_AT_ONCE: usize = 8192;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) content: ContentId,
    /// Lines of the manifest, each once; 0 for a blob.
    files: Vec<u32>,
    /// The list wanted; `None`: our own.
    list_digest: Option<[u8; 32]>,
    digests_only: bool,
}

impl TryFrom<ReadMidstatesRequest> for Wanted {
    type Error = Status;

    fn try_from(request: ReadMidstatesRequest) -> Result<Self, Status> {
        let content = content_id("content_id", &request.content_id).map_err(malformed)?;
        let tree = content.tree().is_some();
        if request.files.len() > MAX_FILES {
            return Err(errors::malformed("files", format!("more than {MAX_FILES}")));
        }
        if tree == request.files.is_empty() {
            return Err(errors::malformed(
                "files",
                "lines for a tree, none for a blob",
            ));
        }
        let list_digest = match request.list_digest.len() {
            0 => None,
            _ => Some(
                request
                    .list_digest
                    .as_ref()
                    .try_into()
                    .map_err(|_| errors::malformed("list_digest", "not a SHA-256"))?,
            ),
        };
        if list_digest.is_some() && request.files.len() > 1 {
            return Err(errors::malformed(
                "list_digest",
                "names one list, where several files are given",
            ));
        }
        let mut seen = BTreeSet::new();
        let mut files = request.files;
        files.retain(|line| seen.insert(*line));
        if !tree {
            // A blob's own list is told as that of line 0.
            files.push(0);
        }
        Ok(Self {
            content,
            files,
            list_digest,
            digests_only: request.digests_only,
        })
    }
}

/// Finds the first list asked for, or says that it is not known; the others are read when their turn comes.
pub(crate) async fn find(
    store: &Arc<Store>,
    wanted: Wanted,
    audience: Audience,
) -> Result<Lists, Status> {
    let found = store.on_disk("find midstates", move |store| {
        let Some((line, rest)) = wanted.files.split_first() else {
            return Err(status::not_found(&wanted.content));
        };
        let first = (*line, wanted.read(store, *line, audience)?);
        Ok(Lists {
            audience,
            first,
            rest: rest.to_vec(),
            wanted,
        })
    });
    found.await?
}

/// Sends the lists, file by file; ends with an error at the first that is not known.
pub(crate) fn send(
    store: &Arc<Store>,
    lists: Lists,
    pages: Option<PageBudget>,
    slot: Slot,
) -> Answer<ReadMidstatesResponse> {
    let reading = Arc::clone(store);
    Answer::start(store, "midstates", move |teller| {
        let _slot = slot;
        let Lists {
            wanted,
            audience,
            first: (line, list),
            rest,
        } = lists;
        let send = |line: u32, list: &PartialList| {
            send_list(
                (teller, &reading.uploads),
                pages.as_ref(),
                line,
                list,
                wanted.digests_only,
            )
        };
        send(line, &list)?;
        drop(list);
        for line in rest {
            send(line, &wanted.read(&reading, line, audience)?)?;
        }
        Ok(())
    })
}

/// An answer that has begun: one list is in memory at a time.
#[derive(Debug)]
pub(crate) struct Lists {
    wanted: Wanted,
    audience: Audience,
    first: (u32, PartialList),
    rest: Vec<u32>,
}

impl Wanted {
    /// Reads one list: of what is whole from the index, of what is still being fetched from its offer.
    fn read(&self, store: &Store, line: u32, audience: Audience) -> Result<PartialList, Status> {
        let unknown = || status::midstates_not_known(&self.content);
        let content = &self.content;
        let known = store.shelf.midstates(content, line, audience);
        let known = known
            .map_err(|error| status::index_status(&error))?
            .map(|list| PartialList {
                grains: list.grains,
                midstates: list.midstates.as_bytes().to_vec(),
                digest: Some(list.list_digest),
            });
        let offer = || store.offers.find(content, audience);
        let list = known.or_else(|| offer().and_then(|offer| offer.list(line)));
        // Something may have been sent under the list of an offer that has just ended.
        let is_other = |list: &Option<PartialList>| {
            let named = self.list_digest.is_some();
            named && list.as_ref().and_then(|list| list.digest) != self.list_digest
        };
        let list = if list.is_none() || is_other(&list) {
            let ended = store
                .offers
                .ended_list((content, line), self.list_digest, audience);
            ended.or(list)
        } else {
            list
        };
        let Some(list) = list else {
            let is_held = store
                .shelf
                .holding(content, audience)
                .is_some_and(|holding| match audience {
                    Audience::Peers => holding.offered,
                    Audience::Local => holding.is_readable(),
                });
            return Err(if is_held || offer().is_some() {
                unknown()
            } else {
                status::not_found(&self.content)
            });
        };
        match self.list_digest {
            Some(digest) if list.digest != Some(digest) => Err(unknown()),
            Some(_) | None => Ok(list),
        }
    }
}

fn send_list(
    (teller, uploads): (&Teller<ReadMidstatesResponse>, &Throttle),
    pages: Option<&PageBudget>,
    file: u32,
    list: &PartialList,
    digests_only: bool,
) -> Result<(), Status> {
    let digest = list
        .digest
        .map(|digest| Bytes::copy_from_slice(&digest))
        .unwrap_or_default();
    let message = |first_grain: usize, midstates: Bytes| ReadMidstatesResponse {
        file,
        total_grains: list.grains,
        first_grain: u32::try_from(first_grain).unwrap_or(u32::MAX),
        list_digest: digest.clone(),
        midstates,
    };
    if digests_only || list.midstates.is_empty() {
        return teller.tell(message(0, Bytes::new()));
    }
    for (number, chunk) in list
        .midstates
        .chunks(MIDSTATES_AT_ONCE * MIDSTATE_BYTES)
        .enumerate()
    {
        teller.pause(uploads.take(chunk.len() as u64))?;
        let data = teller.hold(pages, Bytes::copy_from_slice(chunk))?;
        teller.tell(message(number * MIDSTATES_AT_ONCE, data))?;
    }
    Ok(())
}
