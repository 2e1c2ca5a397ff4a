//! What a machine says to its edge.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_content::ContentId;
use zeroshare_wire::datagram::{HoldingState, NodeId, TraceContext};

use crate::{
    checks::NetworkCheck, drops::DropReason, place::Place, steps::Told, surroundings::Road,
};

/// Names a lookup that was begun by [`crate::Membership::find`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub(crate) u64);

/// Something that the edge must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer is live, and sent back what was sent to it; said again when its addresses change.
    PeerUp(NodeId),
    /// Nothing was heard of the peer for its time to live, or it left by its proven word.
    PeerDown(NodeId),
    /// Somebody claims to hold what a lookup looks for.
    Found(LookupId, Box<Provider>),
    /// The lookup's time is over.
    LookupEnded(LookupId),
    /// Something happened in a lookup whose story is wanted; of its end, just before [`Self::LookupEnded`].
    Step(LookupId, Box<Told>),
    /// Somebody cast doubt on a peer: connect to its store and report the result by
    /// [`crate::Membership::handle_probe`].
    Probe(SocketAddr),
    /// Somebody asked for what this node holds.
    Asked(Box<Asked>),
    /// What came of [`crate::Membership::check_network`].
    Checked(Box<NetworkCheck>),
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: Destination,
    /// At most 1,200 bytes.
    pub payload: Vec<u8>,
}

/// Where a datagram goes. In the order in which the same is sent: whoever is asked alone answers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// To one socket, from this node's unicast socket.
    One(SocketAddr),
    /// To everybody on an interface.
    Everybody {
        /// The interface's index.
        interface: u32,
        /// By which road; never [`Road::Unicast`].
        road: Road,
    },
}

/// A peer that claims to hold what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Who it is; its first address is that of the claim.
    pub peer: PeerView,
    /// Which of the ids it holds.
    pub content: ContentId,
    /// How much of it, in 1/255.
    pub part: u8,
    /// What it has to do with it.
    pub state: HoldingState,
    /// How far the claim can be trusted.
    pub claim: Claim,
}

/// How a provider came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// Its filter matched, which may be by chance.
    Probable,
    /// It said so of this very content.
    Stated,
    /// It does not hold it: it looks for it too, and goes before this node should nobody have it.
    Asks,
}

/// What is known of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its id, by its own word.
    pub node: NodeId,
    /// Where its store listens, the best first; only addresses that sent back what was sent to them.
    pub store_addresses: Vec<SocketAddr>,
    /// When it was last heard of.
    pub last_heard: Instant,
    /// The roads by which it was heard.
    pub roads: Vec<Road>,
    /// About how many things it holds, when known.
    pub held_ids: Option<u32>,
    /// What it gave per second lately.
    pub bytes_per_second: u64,
    /// How often it failed lately.
    pub faults: u32,
    /// For how long it is still banned.
    pub ban: Option<Duration>,
}

/// A question that this node can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Where the question came from.
    pub source: SocketAddr,
    /// Who asks, by its own word.
    pub node: NodeId,
    /// What was asked for, as far as it is held here.
    pub contents: Vec<ContentId>,
    /// The trace of the asker's fetch.
    pub trace: Option<TraceContext>,
}

/// A ban that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanView {
    /// Whose store is not read.
    pub address: SocketAddr,
    /// For how long still.
    pub remaining: Duration,
    /// How often it was convicted.
    pub convictions: u32,
    /// What it was asked for when it was convicted last.
    pub content: Option<ContentId>,
    /// The live peers that say their store is there.
    pub nodes: Vec<NodeId>,
}

/// Whose bans are lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mercy {
    /// Everybody's.
    Everybody,
    /// Those of whoever is live under an id.
    Node(NodeId),
    /// That of one store.
    Store(SocketAddr),
    /// Those of all stores of a machine.
    Machine(Place),
}

/// How a provider did, as the reader of its store saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Whom the transfer was with.
    pub address: SocketAddr,
    /// Who proved to be there, with its key; `None`: nobody did, as without TLS.
    pub node: Option<NodeId>,
    /// What it was asked for.
    pub content: Option<ContentId>,
    /// How it did.
    pub verdict: Verdict,
}

/// How a provider did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It gave so many bytes per second.
    Gave(u64),
    /// It could not be reached, or stalled.
    Unreachable,
    /// It does not hold what it was asked for.
    NotHolding,
    /// Its own disk was at fault, by its own word.
    Corrupt,
    /// It contradicted itself.
    Convicted,
}

/// Datagrams since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed to the edge for sending; one for each interface and road.
    pub sent: u64,
    /// Handed in by the edge.
    pub received: u64,
    /// Dropped, by reason.
    pub drops: BTreeMap<DropReason, u64>,
}
