//! Asking the fetcher for a tree's manifest; who asks for the same meanwhile shares the answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tonic::{Code, Status};
use tracing::{debug, info, warn};
use zeroshare_api::deadline;
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_content::{MAX_MANIFEST_BYTES, Manifest, TreeId};
use zeroshare_wire::pb::fetcher::v1::ReadManifestRequest;

use crate::answers::Answer;
use crate::shared::Shared;
use crate::shown::Shown;
use crate::table::Content;

/// Questions that run at once; further ones are not asked.
const MAX_QUESTIONS: usize = 256;

/// How long neighbours are asked: those who wait may have given up, but the next ones have the answer.
const LOCATE: prost_types::Duration = prost_types::Duration {
    seconds: 1,
    nanos: 0,
};

/// A manifest may be large, and whoever has it slow.
const DEADLINE: Duration = Duration::from_secs(10);

/// All targets of links that are held of one tree.
const MAX_TARGET_BYTES: usize = 32 * 1024 * 1024;

/// A question's answer, once there is one.
pub(crate) type Asked = watch::Receiver<Option<Answer>>;

/// Asks, or joins who asks already; `None` if too much is asked at once.
pub(crate) fn ask(shared: &Arc<Shared>, id: TreeId) -> Option<Asked> {
    let mut asked = shared.asked();
    if let Some(running) = asked.get(&id) {
        return Some(running.clone());
    }
    if asked.len() >= MAX_QUESTIONS {
        return None;
    }
    let (tell, hear) = watch::channel(None);
    asked.insert(id, hear.clone());
    drop(asked);
    let own = shared.clone();
    shared.spawn("ask for a tree", async move {
        let start = Instant::now();
        let answer = tokio::select! {
            answer = find_out(&own, id) => answer,
            () = own.lifetime.stopping() => Answer::Nobody,
        };
        let now = Instant::now();
        if answer == Answer::Nobody {
            own.neighbours().forget(&id);
        } else {
            own.patience()
                .answered(now.saturating_duration_since(start));
        }
        own.answers().handle(now, id, answer);
        own.asked().remove(&id);
        tell.send_replace(Some(answer));
    });
    Some(hear)
}

async fn find_out(shared: &Shared, id: TreeId) -> Answer {
    let content = match deadline::within(DEADLINE, read(shared, id)).await {
        Ok(content) => content,
        Err(status) if errors::reason(&status) == Some(ErrorReason::NoProviders) => {
            debug!(%id, "nobody has it");
            return Answer::Nobody;
        }
        Err(status) => {
            warn!(%id, why = status.message(), "a tree cannot be looked up");
            return Answer::Nobody;
        }
    };
    let shown = shared.table().show(id, content);
    if let Ok(number) = shown {
        info!(%id, "a neighbour has it");
        Answer::Shown(number)
    } else {
        warn!(%id, "too many trees are in use to show another one");
        Answer::Nobody
    }
}

async fn read(shared: &Shared, id: TreeId) -> Result<Content, Status> {
    let request = ReadManifestRequest {
        content_ids: vec![id.to_string()],
        locate_timeout: Some(LOCATE),
        from: shared.config.from.clone(),
    };
    let mut parts = shared.fetcher().read_manifest(request).await?.into_inner();
    let (mut text, mut targets, mut target_bytes) = (Vec::new(), Vec::<Bytes>::new(), 0);
    while let Some(part) = parts.message().await? {
        if !part.path.is_empty() {
            return Ok(Content::Link(PathBuf::from(part.path)));
        }
        target_bytes += part.link_targets.iter().map(Bytes::len).sum::<usize>();
        targets.extend(part.link_targets);
        text.extend_from_slice(&part.data);
        if text.len() > MAX_MANIFEST_BYTES || target_bytes > MAX_TARGET_BYTES {
            return Err(Status::new(Code::OutOfRange, "its manifest is too large"));
        }
    }
    let refused = |error: &dyn std::error::Error| Status::data_loss(error.to_string());
    let manifest = Manifest::verified(&id, text).map_err(|error| refused(&error))?;
    let shown = Shown::new(manifest, targets).map_err(|error| refused(&error))?;
    Ok(Content::Tree(Arc::new(shown)))
}
