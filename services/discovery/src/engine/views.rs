//! What the engine shows of itself.

use zeroshare_membership::{Counters, NetworkCheck, OutsiderView, Road};
use zeroshare_wire::datagram::NodeId;

use super::Engine;
use crate::interfaces::UsableInterface;

/// How the network is used.
#[derive(Debug)]
pub(crate) struct NetworkView {
    pub(crate) node: NodeId,
    pub(crate) unicast_port: u16,
    pub(crate) interfaces: Vec<(UsableInterface, Vec<Road>)>,
    pub(crate) sent: u64,
    pub(crate) counters: Counters,
    pub(crate) live_peers: usize,
    pub(crate) in_group: bool,
    pub(crate) outsiders: Vec<OutsiderView>,
}

/// What trying the network came to.
#[derive(Debug, Clone)]
pub(crate) struct CheckView {
    pub(crate) found: NetworkCheck,
    /// The interfaces in use.
    pub(crate) interfaces: Vec<UsableInterface>,
    /// The roads that do not work, and why, in the system's words.
    pub(crate) broken: Vec<(u32, Road, String)>,
}

impl Engine {
    pub(super) fn check_view(&self, found: NetworkCheck) -> CheckView {
        let sockets = &self.parts.sockets;
        CheckView {
            found,
            interfaces: sockets.interfaces().to_vec(),
            broken: sockets.broken_roads(),
        }
    }

    pub(super) fn describe(&self) -> NetworkView {
        let sockets = &self.parts.sockets;
        let with_roads = |one: &UsableInterface| (one.clone(), sockets.working_roads(one.index));
        NetworkView {
            node: self.parts.machine.node_id(),
            unicast_port: self.parts.unicast_port,
            interfaces: sockets.interfaces().iter().map(with_roads).collect(),
            sent: sockets.sent(),
            counters: self.parts.machine.counters(),
            live_peers: self.parts.machine.live_peers(),
            in_group: self.parts.machine.is_in_group(),
            outsiders: self.parts.machine.outsiders(),
        }
    }
}
