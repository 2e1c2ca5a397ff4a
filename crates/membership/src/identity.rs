//! Who this node is, and how it speaks.

use zeroshare_wire::datagram::{
    Body, Datagram, GroupKey, NodeId, SigningKey, TraceContext, encode,
};

/// Puts this node's name under what it says.
#[derive(Debug)]
pub(crate) struct Identity {
    key: SigningKey,
    group: GroupKey,
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) unicast_port: u16,
    /// 0 while no store listens.
    pub(crate) store_port: u16,
    sequence: u64,
}

impl Identity {
    pub(crate) fn new(
        key: SigningKey,
        group: GroupKey,
        incarnation: u64,
        unicast_port: u16,
    ) -> Self {
        Self {
            node: key.node_id(),
            key,
            group,
            incarnation,
            unicast_port,
            store_port: 0,
            sequence: 0,
        }
    }

    pub(crate) fn group(&self) -> &GroupKey {
        &self.group
    }

    /// Writes a datagram; each `Alive` gets the next number.
    pub(crate) fn say(&mut self, body: Body, trace: Option<TraceContext>) -> Vec<u8> {
        if matches!(body, Body::Alive(_)) {
            self.sequence += 1;
        }
        // Only what removes needs proof of origin: it costs 50 µs and 96 bytes.
        let signer = matches!(body, Body::Leaving).then(|| self.key.clone());
        encode(&self.datagram(body, trace), &self.group, signer.as_ref())
    }

    fn datagram(&self, body: Body, trace: Option<TraceContext>) -> Datagram {
        Datagram {
            node: self.node,
            incarnation: self.incarnation,
            sequence: self.sequence,
            store_port: self.store_port,
            unicast_port: self.unicast_port,
            trace,
            body,
        }
    }
}
