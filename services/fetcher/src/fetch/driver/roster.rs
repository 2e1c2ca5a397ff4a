//! Who takes part.

use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, warn};
use zeroshare_transfer::{DropReason, Holding, ProviderId};
use zeroshare_wire::pb::discovery::v1::ProviderFault;

use super::super::reader::Report;
use super::super::report::{Deed, Whom, fault_of, report, told_of};
use super::super::view::Rate;
use super::super::watch_pieces::watch_pieces;
use super::{Driver, Left, MAX_ADDRESSES, MAX_QUEUE, Provider};
use crate::peers::{Candidate, Extent, Peer};

impl Driver {
    pub(super) fn add_peer(&mut self, peer: Peer) {
        let is_partial = peer.candidate.extent != Extent::Whole;
        let holding = if is_partial {
            Holding::Partial(Vec::new())
        } else {
            Holding::Complete
        };
        let id = self.machine.add_provider(holding);
        let rate = Rate::new(peer.meter.clone(), Instant::now());
        debug!(peer = %peer.address, is_partial, "a provider joins");
        self.peers.insert(
            id,
            Provider {
                peer,
                rate,
                watches: None,
            },
        );
        if is_partial {
            self.follow(id);
        }
    }

    pub(super) fn follow(&mut self, id: ProviderId) {
        let Some(provider) = self.peers.get_mut(&id) else {
            return;
        };
        let unwatch = CancellationToken::new();
        provider.watches = Some(unwatch.clone());
        let watching = watch_pieces(
            provider.peer.clone(),
            id,
            self.around.clone(),
            self.shared.config.patience.starved,
        );
        let watching = async move {
            tokio::select! {
                () = watching => {}
                () = unwatch.cancelled() => {}
            }
        };
        drop(self.tasks.spawn("watch pieces", watching.in_current_span()));
    }

    pub(super) fn drop_peer(&mut self, id: ProviderId, reason: DropReason) {
        let Some(provider) = self.peers.remove(&id) else {
            return;
        };
        if let Some(unwatch) = &provider.watches {
            unwatch.cancel();
        }
        let (peer, address) = (&provider.peer, provider.peer.address);
        let fault = format!("{address} {reason}");
        if reason.is_wrong_bytes() {
            warn!(peer = %address, peer_id = peer.candidate.peer_id, %reason, "a provider sent wrong bytes and is dropped");
        } else {
            info!(peer = %address, peer_id = peer.candidate.peer_id, %reason, "a provider is given up");
            let addresses = peer.candidate.addresses.iter();
            if matches!(reason, DropReason::NotHolding | DropReason::Refused) {
                self.second_chance.extend(addresses);
            } else {
                // It joins again as soon as it is found again.
                for address in addresses {
                    self.seen.remove(address);
                }
            }
        }
        let whom = Whom::reached(peer);
        let told = match fault_of(reason, self.content.hash_kind()) {
            Some(fault) => report(&self.shared, self.content, &whom, Deed::Fault(fault)),
            None => ProviderFault::Unspecified,
        };
        if let Some(fault) = told_of(reason, told) {
            let address = address.to_string();
            self.entry
                .update(|view| view.accused.add(whom.peer_id, &address, fault));
        }
        self.last_fault = Some(fault);
        self.left.push(Left {
            node_key: provider.peer.node_key(),
            peer_id: provider.peer.candidate.peer_id,
            address,
            rate: provider.rate,
        });
    }

    pub(super) fn consider(&mut self, candidate: Candidate) {
        let is_new = candidate
            .addresses
            .iter()
            .all(|address| !self.seen.contains(address));
        if is_new && self.queue.len() < MAX_QUEUE && self.seen.len() < MAX_ADDRESSES {
            self.seen.extend(&candidate.addresses);
            self.queue.push_back(candidate);
        }
    }

    pub(super) fn lose_candidate(&mut self, candidate: &Candidate, why: String) {
        debug!(peer = candidate.name(), why, "a provider cannot be reached");
        self.last_fault = Some(why);
        for address in &candidate.addresses {
            self.seen.remove(address);
            let deed = Deed::Fault(ProviderFault::Unreachable);
            let whom = Whom::absent(candidate, *address);
            report(&self.shared, self.content, &whom, deed);
        }
    }

    pub(super) fn connect(&mut self, most: usize) {
        while self.machine.live_providers() + self.connecting < most {
            let Some(candidate) = self.queue.pop_front() else {
                return;
            };
            self.connecting += 1;
            let options = self.shared.config.patience.connect.clone();
            let reports = self.around.reports.clone();
            let stopping = self.tasks.stopping();
            let connecting = async move {
                let connected = tokio::select! {
                    connected = Peer::connect(candidate, &options) => connected,
                    () = stopping => return,
                };
                let result = connected.map_err(|(candidate, error)| {
                    let why = error.map_or(String::new(), |error| error.to_string());
                    (candidate, why)
                });
                drop(reports.send(Report::Connected(result)).await);
            };
            drop(self.tasks.spawn("connect", connecting.in_current_span()));
        }
    }

    pub(super) fn note(&mut self, fault: Option<String>) {
        if fault.is_some() {
            self.last_fault = fault;
        }
    }
}
