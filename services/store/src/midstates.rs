//! Lists of midstates.

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;
use zeroshare_api::errors;
use zeroshare_content::ContentId;
use zeroshare_shelf::Audience;
use zeroshare_wire::convert::content_id;
use zeroshare_wire::pb::store::v1::{ReadMidstatesRequest, ReadMidstatesResponse};

use crate::answer::{Answer, Teller};
use crate::convert::tree_of;
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
    /// Lines of the manifest.
    files: Vec<u32>,
    /// The list wanted; `None`: our own.
    list_digest: Option<[u8; 32]>,
    digests_only: bool,
}

impl TryFrom<ReadMidstatesRequest> for Wanted {
    type Error = Status;

    fn try_from(request: ReadMidstatesRequest) -> Result<Self, Status> {
        let content = content_id("content_id", &request.content_id).map_err(malformed)?;
        let tree = tree_of(&content).is_some();
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
        Ok(Self {
            content,
            files: request.files,
            list_digest,
            digests_only: request.digests_only,
        })
    }
}

/// Finds every list asked for, or says that one is not known; reads the index once for each, and keeps none.
pub(crate) async fn find(
    store: &Arc<Store>,
    wanted: &Wanted,
    audience: Audience,
) -> Result<Lists, Status> {
    let wanted = wanted.clone();
    let found = store.on_disk("find midstates", move |store| {
        let lists = Lists { audience };
        for line in &wanted.files {
            lists.read(store, &wanted, *line)?;
        }
        if tree_of(&wanted.content).is_none() {
            return Err(status::not_found(&wanted.content));
        }
        Ok(lists)
    });
    found.await?
}

/// Sends the lists, file by file.
pub(crate) fn send(
    store: &Arc<Store>,
    lists: Lists,
    wanted: Wanted,
    slot: Slot,
) -> Answer<ReadMidstatesResponse> {
    let reading = Arc::clone(store);
    Answer::start(store, "midstates", move |teller| {
        let _slot = slot;
        for line in &wanted.files {
            let list = lists.read(&reading, &wanted, *line)?;
            send_list(teller, *line, &list, wanted.digests_only)?;
        }
        Ok(())
    })
}

/// Where lists are read: a whole tree's from the index, one still being fetched from its offer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lists {
    audience: Audience,
}

impl Lists {
    fn read(self, store: &Store, wanted: &Wanted, line: u32) -> Result<PartialList, Status> {
        let unknown = || status::midstates_not_known(&wanted.content);
        let tree = tree_of(&wanted.content).ok_or_else(|| status::not_found(&wanted.content))?;
        let known = store.shelf.midstates(&tree, line, self.audience);
        let known = known
            .map_err(|error| status::index_status(&error))?
            .map(|list| PartialList {
                grains: list.grains,
                midstates: list.midstates.as_bytes().to_vec(),
                digest: Some(list.list_digest),
            });
        let offer = || store.offers.find(&tree, self.audience);
        let Some(list) = known.or_else(|| offer().and_then(|offer| offer.list(line))) else {
            let is_held = store
                .shelf
                .holding(&tree)
                .is_some_and(|holding| match self.audience {
                    Audience::Peers => holding.offered,
                    Audience::Local => holding.is_readable(),
                });
            return Err(if is_held || offer().is_some() {
                unknown()
            } else {
                status::not_found(&wanted.content)
            });
        };
        match wanted.list_digest {
            Some(digest) if list.digest != Some(digest) => Err(unknown()),
            Some(_) | None => Ok(list),
        }
    }
}

fn send_list(
    teller: &Teller<ReadMidstatesResponse>,
    file: u32,
    list: &PartialList,
    digests_only: bool,
) -> Result<(), Status> {
    let digest = list
        .digest
        .map(|digest| Bytes::copy_from_slice(&digest))
        .unwrap_or_default();
    let message = |first_grain: usize, midstates: &[u8]| ReadMidstatesResponse {
        file,
        total_grains: list.grains,
        first_grain: u32::try_from(first_grain).unwrap_or(u32::MAX),
        list_digest: digest.clone(),
        midstates: Bytes::copy_from_slice(midstates),
    };
    if digests_only || list.midstates.is_empty() {
        return teller.tell(message(0, &[]));
    }
    for (number, chunk) in list
        .midstates
        .chunks(MIDSTATES_AT_ONCE * MIDSTATE_BYTES)
        .enumerate()
    {
        teller.tell(message(number * MIDSTATES_AT_ONCE, chunk))?;
    }
    Ok(())
}
