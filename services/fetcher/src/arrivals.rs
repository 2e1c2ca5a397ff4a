//! `FollowArrival`: who else gets what nobody has, by its own word over a connection to it.
//!
//! Datagrams only tell whom to connect to. A claim counts for as long as the connection to its claimant lives and speaks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tracing::debug;
use zeroshare_chassis::Lifetime;
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::discovery::v1::{
    FindProvidersRequest, FindProvidersResponse, HoldingClaim,
};
use zeroshare_wire::pb::fetcher::v1::FollowArrivalResponse;
use zeroshare_wire::pb::fetcher::v1::follow_arrival_response::{ClaimState, Claimant};
use zeroshare_wire::pb::store::v1::{WatchArrivalRequest, WatchArrivalResponse};

use crate::fetch::Members;
use crate::peers::{Candidate, Peer};
use crate::request::ArrivalOrder;
use crate::shared::Shared;
use crate::status::CallError;

/// Claimants that are connected to at once: one is enough to wait for, and some may be gone.
const MAX_CLAIMANTS: usize = 8;

/// One lookup lasts so long; then another begins.
const LOOKUP: Duration = Duration::from_mins(1);

/// As many as discovery tells of: those who only get it too do not end the lookup.
const ENOUGH: u32 = 64;

/// Between two lookups.
const PAUSE: Duration = Duration::from_millis(200);

/// A claimant speaks each second; one that does not is gone.
const SILENCE: Duration = Duration::from_secs(3);

/// A claimant's datagram may come before its own store heard of its claim.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Follows until the caller is gone.
pub(crate) fn follow(
    shared: &Arc<Shared>,
    order: &ArrivalOrder,
) -> Result<ReceiverStream<Result<FollowArrivalResponse, Status>>, CallError> {
    let permit = shared.arrivals.clone().try_acquire_owned();
    let permit = permit.map_err(|_| CallError::Busy)?;
    let (messages, stream) = mpsc::channel(1);
    let (say, said) = mpsc::channel(MAX_CLAIMANTS);
    let tasks = shared.lifetime.child();
    let following = Following {
        shared: shared.clone(),
        ids: order.ids.iter().map(ToString::to_string).collect(),
        tasks: tasks.clone(),
        messages: messages.clone(),
        say,
        said,
        claimants: BTreeMap::new(),
        is_held: false,
        _permit: permit,
    };
    let stopping = shared.lifetime.stopping();
    let run = async move {
        tokio::select! {
            () = following.run() => {}
            () = messages.closed() => {}
            () = stopping => {}
        }
        tasks.stop();
    };
    drop(shared.lifetime.spawn("follow an arrival", run));
    Ok(ReceiverStream::new(stream))
}

/// What a claimant says; `None`: nothing more.
type Said = (String, Option<ClaimState>);

struct Following {
    shared: Arc<Shared>,
    ids: Vec<String>,
    /// The connections.
    tasks: Lifetime,
    messages: mpsc::Sender<Result<FollowArrivalResponse, Status>>,
    say: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
    claimants: BTreeMap<String, Claimant>,
    is_held: bool,
    _permit: OwnedSemaphorePermit,
}

impl Following {
    async fn run(mut self) {
        while self.tell().await {
            match self.look_up().await {
                Ok(()) => {}
                // An older one never tells of claimants.
                Err(error) if error.code() == Code::Unimplemented => return,
                Err(error) => debug!(%error, "discovery does not say who else looks for it"),
            }
            sleep(PAUSE).await;
        }
    }

    /// One lookup, until it is over or a claim has ended: others may be found then that were not told of before.
    async fn look_up(&mut self) -> Result<(), Status> {
        let request = FindProvidersRequest {
            content_ids: self.ids.clone(),
            wait: Some(to_duration(LOOKUP)),
            enough: ENOUGH,
            with_askers: true,
        };
        let mut discovery = self.shared.discovery();
        let mut found: Streaming<FindProvidersResponse> =
            discovery.find_providers(request).await?.into_inner();
        loop {
            tokio::select! {
                next = found.message() => match next? {
                    Some(response) => self.consider(response),
                    None => return Ok(()),
                },
                Some((peer_id, state)) = self.said.recv() => {
                    if self.hear(&peer_id, state) {
                        self.tell().await;
                        return Ok(());
                    }
                }
            }
            if !self.tell().await {
                return Ok(());
            }
        }
    }

    fn consider(&mut self, response: FindProvidersResponse) {
        let goes_first = response.goes_first;
        let is_claim = goes_first || (response.on_its_way && response.part == 0);
        if !is_claim {
            let is_said = response.claim() == HoldingClaim::Stated;
            self.is_held |= is_said && response.part > 0 && !response.member;
            return;
        }
        let Some(candidate) = Candidate::of_discovery(response, Members::Wanted) else {
            return;
        };
        if let Some(known) = self.claimants.get_mut(&candidate.peer_id) {
            known.goes_first |= goes_first;
            return;
        }
        if self.claimants.len() >= MAX_CLAIMANTS {
            return;
        }
        let claimant = Claimant {
            peer_id: candidate.peer_id.clone(),
            state: ClaimState::Opening.into(),
            goes_first,
        };
        self.claimants.insert(claimant.peer_id.clone(), claimant);
        let (shared, say) = (self.shared.clone(), self.say.clone());
        let (ids, stopping) = (self.ids.clone(), self.tasks.stopping());
        let watching = async move {
            let peer_id = candidate.peer_id.clone();
            let listening = listen(&shared, candidate, &ids, &say);
            tokio::select! {
                () = listening => {}
                () = stopping => {}
            }
            // Fails when nobody follows any more.
            drop(say.send((peer_id, None)).await);
        };
        drop(self.tasks.spawn("watch an arrival", watching));
    }

    /// Takes in what a claimant says. Says whether its claim has ended.
    fn hear(&mut self, peer_id: &str, state: Option<ClaimState>) -> bool {
        match (state, self.claimants.get_mut(peer_id)) {
            (Some(state), Some(claimant)) => claimant.state = state.into(),
            (None, Some(_)) => {
                self.claimants.remove(peer_id);
                return true;
            }
            (_, None) => {}
        }
        false
    }

    /// Tells of all claimants; says whether anybody listens.
    async fn tell(&self) -> bool {
        let message = FollowArrivalResponse {
            claimants: self.claimants.values().cloned().collect(),
            is_held: self.is_held,
        };
        self.messages.send(Ok(message)).await.is_ok()
    }
}

/// Says what a claimant says, until it says nothing more.
async fn listen(shared: &Shared, candidate: Candidate, ids: &[String], say: &mpsc::Sender<Said>) {
    let (peer_id, name) = (candidate.peer_id.clone(), candidate.name());
    let connect = &shared.config.patience.connect;
    let Ok(peer) = Peer::connect(candidate, connect).await else {
        debug!(peer = name, "a claimant cannot be reached");
        return;
    };
    let mut store = peer.store();
    for _ in 0..TRIES {
        let request = WatchArrivalRequest {
            content_ids: ids.to_vec(),
        };
        let watching = timeout(SILENCE, store.watch_arrival(request));
        let mut said = match watching.await {
            Ok(Ok(said)) => said.into_inner(),
            // It may be of an older version.
            Ok(Err(error)) => return debug!(peer = name, %error, "a claimant does not answer"),
            Err(_) => return debug!(peer = name, "a claimant is silent"),
        };
        let mut was_heard = false;
        while let Ok(Ok(Some(message))) = timeout(SILENCE, said.message()).await {
            let WatchArrivalResponse { on_its_way } = message;
            let state = if on_its_way {
                ClaimState::OnItsWay
            } else {
                ClaimState::Asks
            };
            if say.send((peer_id.clone(), Some(state))).await.is_err() {
                return;
            }
            was_heard = true;
        }
        if was_heard {
            return debug!(peer = name, "a claim has ended");
        }
        // Nobody waits while it is asked again.
        let nothing = (peer_id.clone(), Some(ClaimState::Unspecified));
        if say.send(nothing).await.is_err() {
            return;
        }
        sleep(BETWEEN_TRIES).await;
    }
}
