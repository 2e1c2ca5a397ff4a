//! The checked types: what can be written here fits into a datagram.

use std::{net::IpAddr, time::Duration};

use super::{Bloom, Day, NodeId, Tag, TraceContext};
use crate::AtMost;

/// How many ids a query may ask for, and an answer may name.
pub const MAX_ASKED: usize = 16;

/// How many nodes a query may excuse from answering.
pub const MAX_EXCLUDED: usize = 32;

/// How many addresses fit into a datagram, each IPv6, signed, with a MAC and a trace.
pub const MAX_PEERS: usize = 21;

/// The longest time to live: twelve times the longest interval between beacons.
pub const MAX_TTL: Duration = Duration::from_hours(24);

/// The longest time over which answers may be spread.
pub const MAX_SPREAD: Duration = Duration::from_secs(10);

/// The last repetition of a question: 2³² nodes are more than any network has.
pub const MAX_ROUND: u8 = 32;

/// One datagram, and who says that it sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The sender by its own word; only [`super::verify_origin`] proves it.
    pub node: NodeId,
    /// Marks one run of the sender.
    pub incarnation: u64,
    /// Grows with every `Alive` of one run, and orders those only.
    pub sequence: u64,
    /// Where the sender's store listens; 0: it offers none.
    pub store_port: u16,
    /// Where the sender takes datagrams that are meant for it alone; 0: nowhere.
    pub unicast_port: u16,
    /// The trace of the fetch that this belongs to.
    pub trace: Option<TraceContext>,
    /// What is said.
    pub body: Body,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The sender lives.
    Alive(Alive),
    /// The sender goes: a hint, not a fact.
    Leaving,
    /// The sender looks for content.
    Query(Query),
    /// The sender holds content that was looked for.
    Answer(Answer),
    /// The sender wants addresses of other nodes.
    PeersRequest(PeersRequest),
    /// Addresses of nodes that the sender heard itself.
    Peers(Peers),
    /// Proves that an address receives what is sent to it.
    Echo(Echo),
}

/// Says that a node lives, and on small networks sums up what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alive {
    /// The receiver forgets the node when it hears nothing for this long; whole seconds, from 1 s
    /// to [`MAX_TTL`].
    pub ttl: Duration,
    /// How many nodes the sender knows, by its own word.
    pub known_nodes: u32,
    /// One part of the summary of what is held; `None`: this beacon says nothing about that.
    pub filter: Option<FilterPart>,
}

/// One of the filters that together sum up what a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterPart {
    /// The day under whose key the tags were made.
    pub day: Day,
    /// Which of the parts this is, from 0.
    pub index: u8,
    /// How many parts there are, from 1 to [`super::MAX_FILTERS`].
    pub count: u8,
    /// The filter; an empty one says that nothing is held.
    pub bloom: Bloom,
}

/// Asks who holds any of some content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Marks the question; answers repeat it.
    pub nonce: u64,
    /// What is looked for; at least one.
    pub tags: AtMost<Tag, MAX_ASKED>,
    /// The day under whose key the tags were made.
    pub day: Day,
    /// A holder stays silent once it heard so many answers; at least 1.
    pub enough: u8,
    /// Answers are spread over this time; whole milliseconds, at most [`MAX_SPREAD`].
    pub spread: Duration,
    /// How many nodes the asker believes there are.
    pub known_nodes: u32,
    /// [`NodeId::first_half`] of those who need not answer.
    pub exclude: AtMost<u64, MAX_EXCLUDED>,
    /// 0 for the first question, n for its n-th repetition because nobody usable answered; at most
    /// [`MAX_ROUND`].
    pub round: u8,
}

/// Says which of the content asked for the sender holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As in the query.
    pub nonce: u64,
    /// The day under whose key the tags were made, as in the query.
    pub day: Day,
    /// What is held of it; at least one.
    pub holdings: AtMost<Holding, MAX_ASKED>,
    /// How long the sender held the answer back; whole microseconds, at most [`MAX_SPREAD`]. `None`: it does not say.
    pub held_back: Option<Duration>,
}

/// How much of one thing a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// As in the query.
    pub tag: Tag,
    /// The part held, in 1/255: 255 is all.
    pub part: u8,
    /// What the node has to do with it.
    pub state: HoldingState,
}

/// What a node has to do with some content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldingState {
    /// It holds it, whole or in part.
    Held,
    /// It takes part in a cold start, and may hold nothing yet.
    Member,
    /// Somebody on this node is getting it from elsewhere.
    OnItsWay,
}

/// Asks for addresses of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeersRequest {
    /// Marks the question; the answer repeats it.
    pub nonce: u64,
    /// Only nodes with a larger id are wanted; `None`: from the beginning.
    pub after: Option<NodeId>,
}

/// Some of the nodes that the sender heard itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// As in the request.
    pub nonce: u64,
    /// Sorted by id by an honest sender.
    pub nodes: AtMost<NodeAddress, MAX_PEERS>,
    /// Whether there are nodes with larger ids.
    pub more: bool,
}

/// Where a node was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// The node.
    pub node: NodeId,
    /// One host's address: never unspecified, multicast or limited broadcast.
    pub address: IpAddr,
    /// As in [`Datagram`].
    pub unicast_port: u16,
    /// As in [`Datagram`].
    pub store_port: u16,
}

/// A nonce to be sent back, or sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Chosen at random by who asks.
    pub nonce: u64,
    /// Whether this is the reply.
    pub reply: bool,
}
