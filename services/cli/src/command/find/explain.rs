//! Looks for something, and tells what happens meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_stream::StreamExt as _;
use zeroshare_api::deadline;
use zeroshare_content::ContentId;
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::discovery::v1::explain_find_response::Step;
use zeroshare_wire::pb::discovery::v1::{DescribeNetworkRequest, ExplainFindRequest};

use super::ask::{Asked, Asker, Claimants, MAX_ASKED};
use super::story::{Line, millis};
use super::why::Why;
use crate::failure::Failure;
use crate::reach::DiscoveryClient;
use crate::together::all;
use crate::words::of_status;

/// A service of this machine that takes longer is in trouble.
const DESCRIBE_TIME: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Explained {
    pub(super) asked: Vec<Asked>,
    pub(super) story: Vec<Line>,
    /// Why nobody has it; empty when somebody confirms to have it.
    pub(super) why: Vec<Why>,
}

/// Looks for it; then asks those who claim it themselves.
pub(super) async fn explained(
    asker: &Asker,
    mut discovery: DiscoveryClient,
    id: ContentId,
    wait: Duration,
) -> Result<Explained, Failure> {
    let began = Instant::now();
    let failed = |status| of_status(&id.to_string(), &status);
    let request = ExplainFindRequest {
        content_ids: vec![id.to_string()],
        wait: Some(to_duration(wait)),
    };
    let told = discovery.explain_find(request).await.map_err(failed)?;
    let mut told = told.into_inner();
    let mut explained = Explained::default();
    let mut found: Claimants = BTreeMap::new();
    while let Some(told) = told.next().await {
        let told = told.map_err(failed)?;
        explained.story.extend(Line::of(&told));
        match told.step {
            Some(Step::Found(answer)) => {
                let claim = answer.claim();
                if let Some(peer) = answer.provider
                    && (found.len() < MAX_ASKED || found.contains_key(&peer.peer_id))
                {
                    found.insert(peer.peer_id.clone(), (peer, claim));
                }
            }
            Some(Step::Ended(ended)) => {
                explained.why = ended.reasons.iter().filter_map(Why::of).collect();
            }
            Some(_) | None => {}
        }
    }
    let asking = found
        .into_values()
        .map(|(peer, claim)| asker.ask_peer(peer, claim, id));
    explained.asked = all(asking.collect()).await;
    let lines = explained.asked.iter().flat_map(|asked| asked.lines(began));
    explained.story.extend(lines);
    explained.conclude();
    explained.name_outsiders(discovery).await;
    Ok(explained)
}

impl Explained {
    /// Discovery knows who is of another group; without its answer the story is the poorer for it, and no less true.
    async fn name_outsiders(&mut self, mut discovery: DiscoveryClient) {
        if !self.why.iter().any(Why::is_other_group) {
            return;
        }
        let asked = discovery.describe_network(DescribeNetworkRequest {});
        if let Ok(described) = deadline::within(DESCRIBE_TIME, asked).await {
            let described = described.into_inner();
            for why in &mut self.why {
                why.name_outsiders(&described);
            }
        }
    }

    /// What those who claim it say themselves counts more than their claims.
    fn conclude(&mut self) {
        let count = |is_so: fn(&Asked) -> bool| {
            self.asked.iter().filter(|asked| is_so(asked)).count() as u64
        };
        let (untrue, unproven) = (count(Asked::has_nothing), count(Asked::is_unproven));
        let unreachable = count(Asked::does_not_answer);
        if count(Asked::has_it) > 0 {
            self.why.clear();
        } else {
            let theirs = [
                (untrue, Why::untrue(untrue)),
                (unproven, Why::unproven(unproven)),
                (unreachable, Why::unreachable(unreachable)),
            ];
            let theirs = theirs.into_iter().filter(|(peers, _)| *peers > 0);
            let theirs: Vec<Why> = theirs.map(|(_, why)| why).collect();
            self.why.splice(0..0, theirs);
        }
    }
}

/// When something happened, counted from the question.
pub(super) fn since(began: Instant, at: Instant) -> f64 {
    millis(at.saturating_duration_since(began))
}
