//! A lookup's story as messages.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;
use zeroshare_membership::{Beginning, Claim, Destination, Ending, Reason, Refusal, Step, Unasked};
use zeroshare_wire::{
    convert::{store_address, to_duration},
    datagram::{HoldingState, NodeId},
    pb::discovery::v1::{
        DropCount, ExplainFindResponse, HoldingClaim,
        explain_find_response::{
            self as pb, Answered, Asked, Began, EchoAsked, Ended, NobodyCause, NobodyReason,
            NotAsked, Silent,
        },
    },
};

use super::{convert, too_many_lookups};
use crate::engine::{Command, LookupKey, News, StepNews, TooManyLookups};

/// What happens in a lookup; whoever drops it ends the lookup.
#[derive(Debug)]
pub(crate) struct StoryStream {
    news: mpsc::Receiver<Result<News, TooManyLookups>>,
    began: Instant,
    key: LookupKey,
    engine: mpsc::Sender<Command>,
}

impl StoryStream {
    pub(super) fn new(
        news: mpsc::Receiver<Result<News, TooManyLookups>>,
        began: Instant,
        (key, engine): (LookupKey, mpsc::Sender<Command>),
    ) -> Self {
        Self {
            news,
            began,
            key,
            engine,
        }
    }
}

impl Stream for StoryStream {
    type Item = Result<ExplainFindResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let began = self.began;
        self.news.poll_recv(context).map(|news| {
            news.map(|news| match news {
                Ok(news) => Ok(response(began, news)),
                Err(TooManyLookups) => Err(too_many_lookups()),
            })
        })
    }
}

impl Drop for StoryStream {
    fn drop(&mut self) {
        // When the engine is too busy to hear it, the lookup ends with its time.
        drop(self.engine.try_send(Command::Cancel(self.key)));
    }
}

fn response(began: Instant, news: News) -> ExplainFindResponse {
    let after = |at: Instant| Some(to_duration(at.saturating_duration_since(began)));
    match news {
        News::Found(at, provider) => ExplainFindResponse {
            after: after(at),
            peer_id: provider.peer.node.to_string(),
            address: provider
                .peer
                .store_addresses
                .first()
                .copied()
                .map(store_address),
            step: Some(pb::Step::Found(convert::provider(*provider))),
            ..ExplainFindResponse::default()
        },
        News::Step(news) => {
            let StepNews {
                told,
                interface,
                refusal,
            } = *news;
            ExplainFindResponse {
                after: after(told.at),
                interface_name: interface.unwrap_or_default(),
                ..step(told.step, refusal)
            }
        }
    }
}

/// All but when, and the interface's name.
fn step(step: Step, refusal: Option<String>) -> ExplainFindResponse {
    match step {
        Step::Began(beginning) => told(pb::Step::Began(began(&beginning))),
        Step::OnRecord { node, store, claim } => of_peer(node, store, on_record(claim)),
        Step::Asked {
            destination,
            number,
            round,
            sent,
        } => {
            let asked = Asked {
                number,
                round: round.into(),
                held_back: !sent,
            };
            to(destination, pb::Step::Asked(asked))
        }
        Step::NotAsked(unasked) => told(pb::Step::NotAsked(not_asked(unasked))),
        Step::Unsent { destination } => {
            to(destination, pb::Step::Unsent(refusal.unwrap_or_default()))
        }
        Step::Answered {
            node,
            source,
            road,
            part,
            state,
            ..
        } => ExplainFindResponse {
            road: road.name().to_owned(),
            ..of_peer(node, source, answered(part, state))
        },
        Step::EchoAsked { node, place } => {
            of_peer(node, place.port(0), pb::Step::EchoAsked(EchoAsked {}))
        }
        Step::Echoed { node, place, took } => {
            of_peer(node, place.port(0), pb::Step::Echoed(to_duration(took)))
        }
        Step::Silent { node, place } => of_peer(node, place.port(0), pb::Step::Silent(Silent {})),
        Step::PassedOver {
            node,
            store,
            refusal,
        } => of_peer(node, store, passed_over(refusal)),
        Step::Ended(ending) => told(pb::Step::Ended(ended(*ending))),
    }
}

fn on_record(claim: Claim) -> pb::Step {
    let claim = match claim {
        Claim::Probable => HoldingClaim::Probable,
        Claim::Stated | Claim::Asks => HoldingClaim::Stated,
    };
    pb::Step::OnRecord(claim.into())
}

fn answered(part: u8, state: HoldingState) -> pb::Step {
    pb::Step::Answered(Answered {
        part: part.into(),
        member: state == HoldingState::Member,
        on_its_way: state == HoldingState::OnItsWay,
    })
}

fn passed_over(refusal: Refusal) -> pb::Step {
    let refusal = match refusal {
        Refusal::Banned => pb::Refusal::Banned,
        Refusal::Lacks => pb::Refusal::Lacks,
        Refusal::NoStore => pb::Refusal::NoStore,
        Refusal::OutOfReach => pb::Refusal::OutOfReach,
        Refusal::Gone => pb::Refusal::Gone,
    };
    pb::Step::PassedOver(refusal.into())
}

fn told(step: pb::Step) -> ExplainFindResponse {
    ExplainFindResponse {
        step: Some(step),
        ..ExplainFindResponse::default()
    }
}

/// Port 0 stands for a machine.
fn of_peer(node: NodeId, address: SocketAddr, step: pb::Step) -> ExplainFindResponse {
    ExplainFindResponse {
        peer_id: node.to_string(),
        address: Some(store_address(address)),
        ..told(step)
    }
}

fn to(destination: Destination, step: pb::Step) -> ExplainFindResponse {
    let (address, road) = match destination {
        Destination::One(address) => (Some(store_address(address)), "unicast"),
        Destination::Everybody { road, .. } => (None, road.name()),
    };
    ExplainFindResponse {
        address,
        road: road.to_owned(),
        ..told(step)
    }
}

fn began(beginning: &Beginning) -> Began {
    Began {
        peers: count(beginning.peers),
        summed_up: count(beginning.summed_up),
        interfaces: count(beginning.interfaces),
        roads: count(beginning.roads),
        static_peers: count(beginning.static_peers),
        absent_since: beginning.absent_since.map(to_duration),
        wait: Some(to_duration(beginning.wait)),
    }
}

fn not_asked(unasked: Unasked) -> NotAsked {
    let reason = match unasked {
        Unasked::NoWait => pb::Unasked::NoWait,
        Unasked::Enough => pb::Unasked::Enough,
        Unasked::SummariesTellAll => pb::Unasked::SummariesTellAll,
        Unasked::Later(_) => pb::Unasked::Later,
    };
    let later: Option<Duration> = match unasked {
        Unasked::Later(later) => Some(later),
        Unasked::NoWait | Unasked::Enough | Unasked::SummariesTellAll => None,
    };
    NotAsked {
        reason: reason.into(),
        later: later.map(to_duration),
    }
}

fn ended(ending: Ending) -> Ended {
    let drops = ending
        .drops
        .into_iter()
        .map(|(reason, datagrams)| DropCount {
            reason: reason.name().to_owned(),
            datagrams,
        });
    Ended {
        found: count(ending.found),
        asked: ending.asked,
        held_back: ending.held_back,
        unsent: ending.unsent,
        answers: ending.answers,
        silent: ending.silent,
        passed_over: ending.passed_over,
        peers: count(ending.peers),
        heard: ending.heard,
        heard_own: ending.heard_own,
        drops: drops.collect(),
        untold: ending.untold,
        reasons: ending.reasons.into_iter().map(reason).collect(),
    }
}

fn reason(reason: Reason) -> NobodyReason {
    let (cause, count) = match reason {
        Reason::NoInterface => (NobodyCause::NoInterface, 0),
        Reason::NoRoad => (NobodyCause::NoRoad, 0),
        Reason::NothingSent => (NobodyCause::NothingSent, 0),
        Reason::OwnUnheard => (NobodyCause::OwnUnheard, 0),
        Reason::PassedOver { claimants } => (NobodyCause::PassedOver, u64::from(claimants)),
        Reason::Silent { claimants } => (NobodyCause::Silent, u64::from(claimants)),
        Reason::OtherGroup { datagrams } => (NobodyCause::OtherGroup, datagrams),
        Reason::OtherDay { datagrams } => (NobodyCause::OtherDay, datagrams),
        Reason::OtherVersion { datagrams } => (NobodyCause::OtherVersion, datagrams),
        Reason::NobodyHeard => (NobodyCause::NobodyHeard, 0),
        Reason::NoneHolds { peers } => (NobodyCause::NoneHolds, peers as u64),
        Reason::NotAsked => (NobodyCause::NotAsked, 0),
    };
    NobodyReason {
        cause: cause.into(),
        count,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
