//! What this machine's store holds, so that others can be told.

use std::{collections::BTreeSet, mem, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep, timeout},
};
use tonic::Status;
use tracing::{debug, info, warn};
use zeroshare_api::{
    clients,
    connect::{LocalEndpoint, TracedChannel, local_channel},
    rpc::store::v1::local_store_service_client::LocalStoreServiceClient,
};
use zeroshare_content::ContentId;
use zeroshare_wire::datagram::HoldingState;
use zeroshare_wire::pb::store::v1::{
    DescribeStoreRequest, HeldContent, WatchContentRequest, WatchContentResponse,
    watch_content_response::Event,
};

use crate::engine::Command;

/// A store that is not there is tried again after this, then more slowly.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// After so long without a store, nothing is offered any more: a restart takes less.
const GRACE: Duration = Duration::from_secs(10);

/// The LAN port may be bound later than the local API.
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(5);

/// A question to the store.
const CALL_TIME: Duration = Duration::from_secs(5);

/// Ids that are followed: more than any machine holds; 40 MB here and in filters.
const MOST_HELD: usize = 200_000;

/// Follows the store over all its restarts. Ends with its receiver.
pub(crate) async fn watch(endpoint: LocalEndpoint, engine: mpsc::Sender<Command>) {
    let mut follower = Follower {
        client: clients::local_store(local_channel(&endpoint)),
        engine,
        held: BTreeSet::new(),
        port: 0,
    };
    let mut pause = FIRST_RETRY;
    let mut lost_at: Option<Instant> = None;
    let mut warned = false;
    loop {
        let started = Instant::now();
        let ended = follower.follow().await;
        if follower.engine.is_closed() {
            return;
        }
        if started.elapsed() > LAST_RETRY {
            pause = FIRST_RETRY;
            lost_at = None;
            warned = false;
        }
        debug!(error = %ended, "the store does not answer");
        let lost_at = *lost_at.get_or_insert_with(Instant::now);
        if lost_at.elapsed() > GRACE && !mem::replace(&mut warned, true) {
            warn!(error = %ended, "the store does not answer, so nothing is offered; trying again");
            follower.offer_nothing().await;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

struct Follower {
    client: LocalStoreServiceClient<TracedChannel>,
    engine: mpsc::Sender<Command>,
    held: BTreeSet<ContentId>,
    port: u16,
}

impl Follower {
    /// Follows until the stream breaks, and says why it did.
    async fn follow(&mut self) -> Status {
        match self.follow_stream().await {
            Ok(()) => Status::unavailable("the stream ended"),
            Err(status) => status,
        }
    }

    async fn follow_stream(&mut self) -> Result<(), Status> {
        self.learn_port().await?;
        let mut client = self.client.clone();
        let watching = timeout(CALL_TIME, client.watch_content(WatchContentRequest {}));
        let mut stream = watching
            .await
            .map_err(|_| Status::deadline_exceeded("no answer"))??
            .into_inner();
        info!("following the store");
        // Whatever is not in the snapshot was lost while nobody followed.
        let mut missing = Some(self.held.clone());
        let mut describe = interval(DESCRIBE_INTERVAL);
        loop {
            tokio::select! {
                message = stream.message() => match message? {
                    Some(message) => self.take(message, &mut missing).await,
                    None => return Ok(()),
                },
                _ = describe.tick(), if self.port == 0 => self.learn_port().await?,
            }
        }
    }

    async fn take(
        &mut self,
        message: WatchContentResponse,
        missing: &mut Option<BTreeSet<ContentId>>,
    ) {
        match message.event {
            Some(Event::Held(held)) => {
                let Ok(id) = held.content_id.parse::<ContentId>() else {
                    return;
                };
                if let Some(missing) = missing {
                    missing.remove(&id);
                }
                self.set(id, share_of(&held)).await;
            }
            Some(Event::GoneContentId(id)) => {
                if let Ok(id) = id.parse() {
                    self.set(id, None).await;
                }
            }
            Some(Event::SnapshotDone(_)) => {
                for id in missing.take().unwrap_or_default() {
                    self.set(id, None).await;
                }
            }
            None => {}
        }
    }

    async fn set(&mut self, id: ContentId, share: Option<(u8, HoldingState)>) {
        let command = match share {
            None if !self.held.remove(&id) => return,
            Some(_) if self.held.len() >= MOST_HELD && !self.held.contains(&id) => return,
            None => Command::Holding(id, 0),
            Some((part, HoldingState::Held)) => Command::Holding(id, part),
            Some((part, state)) => Command::Arriving(id, part, state),
        };
        if share.is_some() {
            self.held.insert(id);
        }
        // The engine is gone only when the service stops.
        drop(self.engine.send(command).await);
    }

    async fn learn_port(&mut self) -> Result<(), Status> {
        let describing = timeout(
            CALL_TIME,
            self.client.describe_store(DescribeStoreRequest {}),
        );
        let described = describing
            .await
            .map_err(|_| Status::deadline_exceeded("no answer"))??;
        let port = lan_port(&described.into_inner().lan_addresses);
        if port != self.port {
            self.port = port;
            drop(self.engine.send(Command::StorePort(port)).await);
        }
        Ok(())
    }

    async fn offer_nothing(&mut self) {
        for id in mem::take(&mut self.held) {
            drop(self.engine.send(Command::Holding(id, 0)).await);
        }
        if self.port != 0 {
            self.port = 0;
            drop(self.engine.send(Command::StorePort(0)).await);
        }
    }
}

/// How much of it peers may have, in 1/255, and what this machine has to do with it; `None`: they are told nothing.
fn share_of(held: &HeldContent) -> Option<(u8, HoldingState)> {
    if !held.offered {
        return None;
    }
    if held.verify_time.is_some() {
        return Some((u8::MAX, HoldingState::Held));
    }
    // What lies here and is not verified yet is nobody's business; what is being fetched lies nowhere.
    if !held.path.is_empty() {
        return None;
    }
    let state = match (held.member, held.held_pieces) {
        (true, _) => HoldingState::Member,
        (false, 0) => HoldingState::OnItsWay,
        (false, _) => HoldingState::Held,
    };
    if held.held_pieces == 0 {
        return Some((0, state));
    }
    if held.held_pieces >= held.total_pieces {
        return Some((u8::MAX, state));
    }
    // Something, and less than all.
    let part = u64::from(held.held_pieces) * 255 / u64::from(held.total_pieces);
    let part = u8::try_from(part).unwrap_or(u8::MAX).clamp(1, 254);
    Some((part, state))
}

/// The port at which peers are served: all addresses have the same.
fn lan_port(addresses: &[String]) -> u16 {
    let port = |text: &String| text.rsplit_once(':')?.1.parse().ok();
    addresses.iter().find_map(port).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use zeroshare_wire::convert::from_system_time;

    use super::*;

    #[test]
    fn only_what_is_offered_counts_and_a_part_is_never_all() {
        let fetched = |held_pieces, total_pieces, member| HeldContent {
            offered: true,
            held_pieces,
            total_pieces,
            member,
            ..HeldContent::default()
        };
        let whole = HeldContent {
            path: "/store/a".to_owned(),
            verify_time: Some(from_system_time(UNIX_EPOCH)),
            ..fetched(5, 5, false)
        };
        let unverified = HeldContent {
            verify_time: None,
            ..whole.clone()
        };
        let hidden = HeldContent {
            offered: false,
            ..whole.clone()
        };
        let empty = HeldContent {
            held_pieces: 0,
            total_pieces: 0,
            ..whole.clone()
        };
        let cases = [
            (hidden, None),
            (whole, Some((255, HoldingState::Held))),
            (unverified, None),
            (empty, Some((255, HoldingState::Held))),
            (fetched(0, 5, false), Some((0, HoldingState::OnItsWay))),
            (fetched(0, 5, true), Some((0, HoldingState::Member))),
            (fetched(1, 5, false), Some((51, HoldingState::Held))),
            (fetched(1, 5, true), Some((51, HoldingState::Member))),
            (fetched(1, 5_000, false), Some((1, HoldingState::Held))),
            (
                fetched(4_999, 5_000, false),
                Some((254, HoldingState::Held)),
            ),
            (fetched(5, 5, false), Some((255, HoldingState::Held))),
        ];
        for (content, share) in cases {
            assert_eq!(share_of(&content), share, "{content:?}");
        }
    }

    #[test]
    fn the_lan_port_is_that_of_any_address() {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lan_port(&texts(&["0.0.0.0:38339", "[::]:38339"])), 38339);
        assert_eq!(lan_port(&texts(&["[::]:5"])), 5);
        assert_eq!(lan_port(&[]), 0);
    }
}
