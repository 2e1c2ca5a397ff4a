//! Asking the fetcher what neighbours share, for those who list the root.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;
use tracing::{debug, info};
use zeroshare_api::deadline;
use zeroshare_content::TreeId;
use zeroshare_wire::pb::fetcher::v1::ListNeighboursRequest;

use crate::neighbours::{MAX_TREES, Turn};
use crate::shared::Shared;

/// How long neighbours have to answer.
const ANSWER_TIME: prost_types::Duration = prost_types::Duration {
    seconds: 0,
    nanos: 300_000_000,
};

/// How long whoever lists is kept waiting, whatever becomes of the fetcher.
const DEADLINE: Duration = Duration::from_millis(500);

/// Hears what neighbours share, unless that was done lately. May be dropped midway.
pub(crate) async fn hear(shared: &Arc<Shared>) {
    let turn = shared.neighbours().begin(Instant::now());
    let mut heard = match turn {
        Turn::Fresh => return,
        Turn::Wait(heard) => heard,
        Turn::Ask(tell, heard) => {
            let own = shared.clone();
            shared.spawn("list neighbours", async move {
                let mut told = BTreeSet::new();
                let end = tokio::select! {
                    end = deadline::within(DEADLINE, ask(&own, &mut told)) => end,
                    () = own.lifetime.stopping() => Ok(()),
                };
                if let Err(error) = end {
                    debug!(%error, "not all neighbours say what they share");
                }
                info!(trees = told.len(), "neighbours said what they share");
                own.answers().void_nobody(&told);
                own.neighbours().end(Instant::now(), &told);
                tell.send_replace(true);
            });
            heard
        }
    };
    // Whoever asks ends in time, or was stopped.
    let _heard = heard.wait_for(|done| *done).await;
}

async fn ask(shared: &Shared, told: &mut BTreeSet<TreeId>) -> Result<(), Status> {
    let request = ListNeighboursRequest {
        timeout: Some(ANSWER_TIME),
        from: shared.config.from.clone(),
    };
    let mut answers = shared
        .fetcher()
        .list_neighbours(request)
        .await?
        .into_inner();
    while let Some(answer) = answers.message().await? {
        if answer.truncated {
            debug!(
                peer = answer.address,
                "a neighbour shares more than it tells"
            );
        }
        let trees = answer
            .tree_ids
            .iter()
            .filter_map(|id| id.parse::<TreeId>().ok());
        let room = MAX_TREES.saturating_sub(told.len());
        told.extend(trees.take(room));
    }
    Ok(())
}
