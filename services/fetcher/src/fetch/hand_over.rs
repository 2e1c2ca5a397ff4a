//! Telling this machine's store what was committed, so that nothing is hashed twice.

use std::sync::Arc;

use tracing::{Instrument as _, debug, info_span};
use zeroshare_api::deadline;
use zeroshare_content::ContentId;
use zeroshare_staging::{Committed, CommittedFile};
use zeroshare_wire::convert::to_stamp;
use zeroshare_wire::pb::store::v1::{CommitContentRequest, FileMidstates};

use crate::shared::Shared;

/// Grains whose midstates go into one message: 32 bytes each, a megabyte in all.
const GRAINS_IN_MESSAGE: usize = 32 * 1024;

/// Best effort: a store that does not hear of it finds a tree by itself, and hashes it.
pub(crate) async fn hand_over(shared: &Arc<Shared>, id: ContentId, committed: Committed) {
    let limit = shared.config.patience.hand_over;
    let messages = messages(id, committed);
    let mut store = shared.store();
    let handing = store.commit_content(tokio_stream::iter(messages));
    let span = info_span!("hand over");
    if let Err(error) = deadline::within(limit, handing).instrument(span).await {
        debug!(%id, %error, "the store was not told of what was committed");
    }
}

fn messages(id: ContentId, committed: Committed) -> impl Iterator<Item = CommitContentRequest> {
    let first = CommitContentRequest {
        content_id: id.to_string(),
        path: committed.path.display().to_string(),
        durable: committed.durable,
        boot_id: committed.boot_id.unwrap_or_default(),
        ..CommitContentRequest::default()
    };
    std::iter::once(first).chain(committed.files.into_iter().flat_map(messages_of_file))
}

/// The file's stamp, along with the first of its midstates, and then the others.
fn messages_of_file(file: CommittedFile) -> Vec<CommitContentRequest> {
    let stamp = file.stamp;
    let (modify, change) = (stamp.modify_time, stamp.change_time);
    let states: Vec<u8> = file
        .midstates
        .map_or(Vec::new(), |states| states.as_bytes().to_vec());
    let described = CommitContentRequest {
        file: file.line,
        device: stamp.device,
        inode: stamp.inode,
        size_bytes: stamp.size,
        modify_time: Some(to_stamp(modify.0, modify.1)),
        change_time: Some(to_stamp(change.0, change.1)),
        ..CommitContentRequest::default()
    };
    if states.is_empty() {
        return vec![described];
    }
    let parts = states.chunks(GRAINS_IN_MESSAGE * 32).zip(0_u32..);
    parts
        .map(|(part, index)| {
            let before = index * u32::try_from(GRAINS_IN_MESSAGE).unwrap_or(u32::MAX);
            CommitContentRequest {
                midstates: Some(FileMidstates {
                    file: file.line,
                    first_grain: before,
                    midstates: part.to_vec().into(),
                }),
                ..described.clone()
            }
        })
        .collect()
}
