//! What happened in a lookup, for people who want to know why it found somebody, or nobody.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_wire::datagram::{HoldingState, NodeId};

use crate::{
    drops::DropReason,
    event::{Claim, Destination},
    place::Place,
    surroundings::Road,
};

/// One thing that happened in a lookup, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Instant,
    /// What.
    pub step: Step,
}

/// One thing that happened in a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It began.
    Began(Beginning),
    /// A peer is on record to hold it: by its filter, or by what it said lately.
    OnRecord {
        /// Who.
        node: NodeId,
        /// Where its store listens, by its own word.
        store: SocketAddr,
        /// On what grounds.
        claim: Claim,
    },
    /// The question went out, or was held back by this node's own limit.
    Asked {
        /// Where to.
        destination: Destination,
        /// How often the lookup asked by then, from 1.
        number: u32,
        /// In a round above 0 holders answer by chance, and do not listen to each other.
        round: u8,
        /// Whether the limit of its interface let it through.
        sent: bool,
    },
    /// Nobody is asked, or not yet.
    NotAsked(Unasked),
    /// The edge could not send something; of the lookup, or beside it.
    Unsent {
        /// Where to.
        destination: Destination,
    },
    /// Somebody answered.
    Answered {
        /// Who, by its own word.
        node: NodeId,
        /// From where.
        source: SocketAddr,
        /// The interface on which it came in, when that is known.
        interface: Option<u32>,
        /// The road by which it came.
        road: Road,
        /// How much of it there is, in 1/255.
        part: u8,
        /// What it has to do with it.
        state: HoldingState,
    },
    /// Somebody who claims to hold it must send back a number first.
    EchoAsked {
        /// Who.
        node: NodeId,
        /// Where.
        place: Place,
    },
    /// It did.
    Echoed {
        /// Who.
        node: NodeId,
        /// Where.
        place: Place,
        /// After how long.
        took: Duration,
    },
    /// It did not, however often it was asked.
    Silent {
        /// Who.
        node: NodeId,
        /// Where.
        place: Place,
    },
    /// Somebody who claims to hold it is not told of.
    PassedOver {
        /// Who.
        node: NodeId,
        /// Where its store listens, by its own word.
        store: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// It is over.
    Ended(Box<Ending>),
}

/// What was known when a lookup began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// Live peers that sent back what was sent to them.
    pub peers: usize,
    /// … of which so many told in sum what they hold.
    pub summed_up: usize,
    /// Interfaces in use.
    pub interfaces: usize,
    /// Roads to everybody that work, on all of them.
    pub roads: usize,
    /// Static peers.
    pub static_peers: usize,
    /// Nobody had it so long ago; then it is looked for only shortly.
    pub absent_since: Option<Duration>,
    /// For how long it looks.
    pub wait: Duration,
}

/// Why nobody is asked, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unasked {
    /// Only what is known already was wanted.
    NoWait,
    /// As many are known as are wanted.
    Enough,
    /// Every peer has told all that it holds: nobody else would answer.
    SummariesTellAll,
    /// Some are known; others are asked after this.
    Later(Duration),
}

/// Why somebody who claims to hold something is not told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It was convicted of lying, and is banned.
    Banned,
    /// Asked for this very content, its store had nothing of it a moment ago.
    Lacks,
    /// It has no store that others can read.
    NoStore,
    /// It is on no network that may be spoken with.
    OutOfReach,
    /// It was forgotten meanwhile.
    Gone,
}

/// How a lookup ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// Peers told of.
    pub found: usize,
    /// Questions that went out; one for each interface, road and peer.
    pub asked: u32,
    /// Questions that this node's own limit held back.
    pub held_back: u32,
    /// Datagrams that the edge could not send meanwhile.
    pub unsent: u32,
    /// Answers.
    pub answers: u32,
    /// Claimants that did not echo.
    pub silent: u32,
    /// Claimants that were passed over.
    pub passed_over: u32,
    /// Live peers at the end.
    pub peers: usize,
    /// Datagrams of others that came in meanwhile.
    pub heard: u64,
    /// This node's own datagrams that came back to it meanwhile, as what is said to everybody does.
    pub heard_own: u64,
    /// Datagrams dropped meanwhile, by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// Further steps, not told.
    pub untold: u32,
    /// Why nobody was found, the likeliest cause first; empty when somebody was.
    pub reasons: Vec<Reason>,
}

/// Why nobody was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No interface is usable, and no peer is named.
    NoInterface,
    /// There are interfaces, and no road on them works.
    NoRoad,
    /// Nothing that was to be said could be sent.
    NothingSent,
    /// What this node says to everybody does not even come back to itself.
    OwnUnheard,
    /// Those who claim it are banned, or do not have it by the word of their stores.
    PassedOver {
        /// How many.
        claimants: u32,
    },
    /// Those who claim it do not answer by unicast.
    Silent {
        /// How many.
        claimants: u32,
    },
    /// Datagrams of another group came in, or of none.
    OtherGroup {
        /// How many, since the start.
        datagrams: u64,
    },
    /// Datagrams of another day came in: somebody's clock is wrong.
    OtherDay {
        /// How many, since the start.
        datagrams: u64,
    },
    /// Datagrams of another version came in.
    OtherVersion {
        /// How many, since the start.
        datagrams: u64,
    },
    /// Nobody is there, as far as can be heard.
    NobodyHeard,
    /// Peers are there, and none has it.
    NoneHolds {
        /// How many peers.
        peers: usize,
    },
    /// Nobody was asked.
    NotAsked,
}
