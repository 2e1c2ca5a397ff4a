//! Whom a cold start follows.

use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, warn};
use zeroshare_content::ContentId;
use zeroshare_transfer::cold::{ColdDrop, MemberId};
use zeroshare_wire::pb::discovery::v1::ProviderFault;
use zeroshare_wire::pb::fetcher::v1::PeerFault;

use super::super::report::{Deed, Whom, report};
use super::super::view::Rate;
use super::before::node_name;
use super::{Driver, MAX_ADDRESSES, Report, follow};
use crate::peers::{Candidate, Peer};

/// A peer, also when it is not followed any more.
pub(super) struct Followed {
    pub(super) peer: Peer,
    pub(super) rate: Rate,
    /// Ends the stream of its events.
    unfollow: CancellationToken,
}

impl Driver {
    pub(super) fn consider(&mut self, candidate: Candidate) {
        let is_new = candidate
            .addresses
            .iter()
            .all(|address| !self.seen.contains(address));
        let is_self = !self.own_id.is_empty() && candidate.peer_id == self.own_id;
        if !is_new || is_self || self.seen.len() >= MAX_ADDRESSES {
            return;
        }
        self.seen.extend(&candidate.addresses);
        let options = self.beginning.shared.config.patience.connect.clone();
        let reports = self.reports_in.clone();
        let stopping = self.beginning.tasks.stopping();
        let connecting = async move {
            let connected = tokio::select! {
                connected = Peer::connect(candidate, &options) => connected,
                () = stopping => return,
            };
            let result = connected.map_err(|(candidate, _)| candidate);
            drop(reports.send(Report::Connected(result)).await);
        };
        drop(
            self.beginning
                .tasks
                .spawn("connect", connecting.in_current_span()),
        );
    }

    pub(super) fn join(&mut self, peer: Peer) {
        let now = Instant::now();
        let Some(member) = self.member_of(now, &peer) else {
            return;
        };
        if peer.candidate.is_member {
            self.machine.handle_takes_part(member);
        }
        debug!(peer = %peer.address, is_member = peer.candidate.is_member, "a peer is followed");
        let following = follow::follow(
            peer.clone(),
            member,
            self.beginning.clone(),
            self.reports_in.clone(),
        );
        let unfollow = CancellationToken::new();
        let until = unfollow.clone();
        let following = async move {
            tokio::select! {
                () = following => {}
                () = until.cancelled() => {}
            }
        };
        drop(
            self.beginning
                .tasks
                .spawn("watch pieces", following.in_current_span()),
        );
        let followed = Followed {
            rate: Rate::new(peer.meter.clone(), now),
            peer,
            unfollow,
        };
        if let Some(before) = self.peers.insert(member, followed) {
            self.left_bytes += before.received_bytes();
        }
    }

    /// Who comes back is trusted as before: by where it was reached, and what it calls itself.
    fn member_of(&mut self, now: Instant, peer: &Peer) -> Option<MemberId> {
        let is_same = |known: &Peer| {
            known.address == peer.address && known.candidate.peer_id == peer.candidate.peer_id
        };
        let mut known = self.peers.iter();
        let known = known.find(|(_, followed)| is_same(&followed.peer));
        if let Some((member, _)) = known {
            let member = *member;
            return self.machine.handle_back(now, member).then_some(member);
        }
        let name = node_name(&peer.candidate.peer_id);
        let member = self.machine.add_member(now, name)?;
        let (machine, left_bytes) = (&self.machine, &mut self.left_bytes);
        self.peers.retain(|id, followed| {
            let is_remembered = machine.remembers(*id);
            *left_bytes += if is_remembered {
                0
            } else {
                followed.received_bytes()
            };
            is_remembered
        });
        Some(member)
    }

    pub(super) fn forget(&mut self, candidate: &Candidate) {
        for address in &candidate.addresses {
            self.seen.remove(address);
        }
    }

    pub(super) fn drop_member(&mut self, member: MemberId, reason: ColdDrop) {
        let Some(Followed { peer, unfollow, .. }) = self.peers.get(&member) else {
            return;
        };
        unfollow.cancel();
        let candidate = (!reason.is_wrong_bytes()).then(|| peer.candidate.clone());
        let fault = if reason.is_wrong_bytes() {
            warn!(peer = %peer.address, peer_id = peer.candidate.peer_id, %reason, "a member sent wrong bytes and is dropped");
            let (peer_id, address) = (&peer.candidate.peer_id, peer.address.to_string());
            let wrong = PeerFault::WrongBytes;
            self.beginning
                .entry
                .update(|view| view.accused.add(peer_id, &address, wrong));
            // Not a conviction: its mirror may have misled it.
            ProviderFault::Corrupt
        } else {
            info!(peer = %peer.address, peer_id = peer.candidate.peer_id, %reason, "a member is given up");
            ProviderFault::Unreachable
        };
        let id = ContentId::Blob(self.beginning.blob);
        let whom = Whom::reached(peer);
        report(&self.beginning.shared, id, &whom, Deed::Fault(fault));
        if let Some(candidate) = candidate {
            // It joins again as soon as it is found again.
            self.forget(&candidate);
        }
    }
}

impl Followed {
    pub(super) fn received_bytes(&self) -> u64 {
        self.peer.meter.received_bytes()
    }
}
