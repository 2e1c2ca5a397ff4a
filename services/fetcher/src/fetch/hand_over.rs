//! Telling this machine's store what was committed, so that nothing is hashed twice.

use std::sync::Arc;

use tracing::{Instrument as _, debug, info_span};
use zeroshare_api::deadline;
use zeroshare_content::ContentId;
use zeroshare_staging::{Committed, CommittedFile};
use zeroshare_wire::convert::to_stamp;
use zeroshare_wire::pb::store::v1::{CommitContentRequest, FileMidstates, FileStamp};

use crate::shared::Shared;

/// Grains whose midstates go into one message: 32 bytes each, a megabyte in all.
const GRAINS_IN_MESSAGE: usize = 32 * 1024;

/// Files without midstates that go into one message, as `CommitContent` allows.
const FILES_IN_MESSAGE: usize = 1000;

/// Tells the store in the background, or, where the process may end with the fetch, before this returns.
pub(crate) async fn tell_store(shared: &Arc<Shared>, id: ContentId, committed: Committed) {
    let telling = shared.handing.begin(id);
    let own = shared.clone();
    let handing = async move {
        hand_over(&own, id, committed).await;
        drop(telling);
    };
    let handing = shared
        .lifetime
        .spawn("hand over", handing.in_current_span());
    if shared.config.tells_store_first {
        drop(handing.await);
    }
}

/// Best effort: a store that does not hear of it finds a tree by itself, and hashes it.
async fn hand_over(shared: &Arc<Shared>, id: ContentId, committed: Committed) {
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
    let is_plain = |file: &CommittedFile| {
        let midstates = file.midstates.as_ref();
        midstates.is_none_or(|states| states.as_bytes().is_empty())
    };
    let (plain, with_midstates): (Vec<_>, Vec<_>) = committed.files.into_iter().partition(is_plain);
    let plain: Vec<_> = plain
        .chunks(FILES_IN_MESSAGE)
        .map(message_of_files)
        .collect();
    let with_midstates = with_midstates.into_iter().flat_map(messages_of_file);
    std::iter::once(first).chain(plain).chain(with_midstates)
}

fn message_of_files(files: &[CommittedFile]) -> CommitContentRequest {
    let files = files
        .iter()
        .map(|CommittedFile { line, stamp, .. }| FileStamp {
            file: *line,
            device: stamp.device,
            inode: stamp.inode,
            size_bytes: stamp.size,
            modify_seconds: stamp.modify_time.0,
            modify_nanoseconds: stamp.modify_time.1,
            change_seconds: stamp.change_time.0,
            change_nanoseconds: stamp.change_time.1,
        });
    CommitContentRequest {
        files: files.collect(),
        ..CommitContentRequest::default()
    }
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
