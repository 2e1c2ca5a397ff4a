//! Replies to the original 0share.

use std::time::Instant;

use tracing::debug;
use zeroshare_content::TreeId;
use zeroshare_kin::Responder;
use zeroshare_membership::{Destination, Transmit};

use super::Engine;
use crate::sockets::Incoming;

/// How the original 0share is answered.
#[derive(Debug)]
pub(crate) struct ZeroShare {
    responder: Responder,
    /// Where its clients look for an archive once they were answered: at the port at which they asked.
    store_port: u16,
}

impl ZeroShare {
    pub(crate) fn new(store_port: u16) -> Self {
        Self {
            responder: Responder::default(),
            store_port,
        }
    }
}

impl Engine {
    /// Says what is held to whoever asked, if it is in a directly connected network and could read it.
    pub(super) fn reply_to_0share(&mut self, now: Instant, incoming: &Incoming) {
        let Some(zero_share) = &mut self.parts.zero_share else {
            return;
        };
        let (machine, source) = (&self.parts.machine, incoming.arrival.source);
        if machine.store_port() != zero_share.store_port || !machine.is_neighbour(&incoming.arrival)
        {
            return;
        }
        let holds = |tree: &TreeId| machine.offers(&tree.into());
        let reply = (zero_share.responder).handle(now, source.ip(), &incoming.bytes, holds);
        if let Some(payload) = reply {
            debug!(%source, "0share asks for what is held");
            let destination = Destination::One(source);
            // What cannot be sent is lost, as on the way.
            self.parts.sockets.send(
                now,
                &Transmit {
                    destination,
                    payload,
                },
            );
        }
    }
}
