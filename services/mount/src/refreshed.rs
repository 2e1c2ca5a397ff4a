//! Forgetting that nobody had something, when the user asks discovery to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tonic::{Code, Status};
use tracing::debug;
use zeroshare_content::{ContentId, TreeId};
use zeroshare_wire::pb::discovery::v1::WatchRefreshRequest;

use crate::shared::Shared;

/// Before a discovery that does not answer is asked again; answers are older than that rarely.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows discovery until the mount ends.
pub(crate) async fn watch(shared: Arc<Shared>) {
    loop {
        let end = tokio::select! {
            end = follow(&shared) => end,
            () = shared.lifetime.stopping() => return,
        };
        if let Err(status) = end {
            debug!(
                why = status.message(),
                "discovery does not say when to ask again"
            );
            // An older one never will; then answers last for seconds.
            if status.code() == Code::Unimplemented {
                return;
            }
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = shared.lifetime.stopping() => return,
        }
    }
}

async fn follow(shared: &Shared) -> Result<(), Status> {
    let watching = shared
        .discovery()
        .watch_refresh(WatchRefreshRequest {})
        .await?;
    let mut refreshes = watching.into_inner();
    while let Some(refreshed) = refreshes.message().await? {
        let ids: Vec<TreeId> = refreshed
            .content_ids
            .iter()
            .filter_map(|id| tree(id))
            .collect();
        // None of them a tree is not the same as none at all.
        if !ids.is_empty() || refreshed.content_ids.is_empty() {
            shared.answers().refresh(&ids);
        }
    }
    Ok(())
}

fn tree(id: &str) -> Option<TreeId> {
    id.parse::<ContentId>().ok()?.tree()
}
