//! What a machine is told when it starts.

use std::{net::SocketAddr, time::Duration};

use zeroshare_content::ContentId;
use zeroshare_wire::datagram::{Day, GroupKey, SigningKey};

use crate::place::Subnet;

/// Whether a node shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It says that it lives and answers questions.
    Announced,
    /// It asks, and is silent otherwise.
    Hidden,
}

/// What does not change while a machine runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's key: its id follows from it, and it signs what must be proven.
    pub key: SigningKey,
    /// Marks this run; random.
    pub incarnation: u64,
    /// Where datagrams for this node alone arrive.
    pub unicast_port: u16,
    /// Whose datagrams count.
    pub group: GroupKey,
    /// Whether the node shows itself.
    pub presence: Presence,
    /// Networks that are not directly connected and may ask all the same.
    pub allowed: Vec<Subnet>,
    /// The day at the start; later ones come by [`crate::Membership::handle_day`].
    pub day: Day,
    /// What an earlier run learnt.
    pub memory: Memory,
    /// How many other nodes are believed to be there even if fewer are heard; 0 but where somebody knows better.
    pub assumed_nodes: u32,
}

/// What is worth keeping over a restart. Bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Where peers were asked by unicast: they are asked for an echo at the start.
    pub learnt: Vec<SocketAddr>,
    /// Who is banned.
    pub bans: Vec<RememberedBan>,
}

/// A ban, or that there was one: the next will take longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RememberedBan {
    /// Whose store is not read.
    pub address: SocketAddr,
    /// For how long from now; zero: it is over.
    pub remaining: Duration,
    /// How long it has been over.
    pub over_for: Duration,
    /// How often it was convicted.
    pub convictions: u32,
    /// What it was asked for when it was convicted last.
    pub content: Option<ContentId>,
}
