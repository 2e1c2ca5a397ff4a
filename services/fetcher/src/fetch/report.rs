//! Telling discovery how providers did; best effort.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Instrument as _, debug, warn};
use zeroshare_api::deadline;
use zeroshare_content::{ContentId, HashKind};
use zeroshare_transfer::DropReason;
use zeroshare_wire::convert::store_address;
use zeroshare_wire::datagram::PublicKey;
use zeroshare_wire::pb::discovery::v1::{ProviderFault, ReportProviderRequest};
use zeroshare_wire::pb::fetcher::v1::PeerFault;

use crate::peers::{Candidate, Peer};
use crate::shared::Shared;

/// For how long a conviction counts when several are compared.
const CONVICTIONS_TIME: Duration = Duration::from_hours(1);

/// How a provider did.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    Gave { bytes_per_second: u64 },
    Fault(ProviderFault),
}

/// Whom something is said of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whom<'a> {
    /// What it called itself.
    pub(crate) peer_id: &'a str,
    /// Where it was reached, or not.
    pub(crate) address: SocketAddr,
    /// What it proved, if it was reached over TLS.
    pub(crate) node_key: Option<PublicKey>,
}

impl<'a> Whom<'a> {
    /// Somebody who could not be reached there.
    pub(crate) fn absent(candidate: &'a Candidate, address: SocketAddr) -> Self {
        Self {
            peer_id: &candidate.peer_id,
            address,
            node_key: None,
        }
    }

    /// Somebody who was reached.
    pub(crate) fn reached(peer: &'a Peer) -> Self {
        Self {
            peer_id: &peer.candidate.peer_id,
            address: peer.address,
            node_key: peer.node_key(),
        }
    }
}

/// What a provider is dropped for, as discovery counts it.
///
/// Only insisting on wrong bytes convicts: a wrong slice or file may be a bad disk, there or here. And only where nobody can
/// make two contents of one hash, of which an honest provider holds the other one.
pub(crate) fn fault_of(reason: DropReason, hash: HashKind) -> Option<ProviderFault> {
    match reason {
        DropReason::Unreachable | DropReason::TooSlow => Some(ProviderFault::Unreachable),
        DropReason::NotHolding | DropReason::Refused | DropReason::Mismatch => {
            Some(ProviderFault::NotHolding)
        }
        DropReason::Corrupt
        | DropReason::WrongSlices
        | DropReason::OftenWrong
        | DropReason::Renamed
        | DropReason::Violation => Some(ProviderFault::Corrupt),
        DropReason::WrongTwice | DropReason::LostDispute => match hash {
            HashKind::Sha256 => Some(ProviderFault::Convicted),
            HashKind::Sha1 => Some(ProviderFault::Corrupt),
        },
        // Whoever is busy does its share elsewhere.
        DropReason::TooBusy => None,
    }
}

/// What callers are told of a provider that is dropped, where discovery was told this; `None`: its bytes were not wrong.
pub(crate) fn told_of(reason: DropReason, told: ProviderFault) -> Option<PeerFault> {
    match reason {
        DropReason::Violation => Some(PeerFault::Violation),
        DropReason::Corrupt => Some(PeerFault::Corrupt),
        DropReason::WrongTwice | DropReason::LostDispute if told == ProviderFault::Convicted => {
            Some(PeerFault::Convicted)
        }
        DropReason::WrongTwice
        | DropReason::LostDispute
        | DropReason::Mismatch
        | DropReason::WrongSlices
        | DropReason::OftenWrong
        | DropReason::Renamed => Some(PeerFault::WrongBytes),
        DropReason::Unreachable
        | DropReason::TooSlow
        | DropReason::TooBusy
        | DropReason::NotHolding
        | DropReason::Refused => None,
    }
}

/// Who was convicted lately: when that are many, it is us.
#[derive(Debug, Default)]
pub(crate) struct Convictions {
    times: Mutex<BTreeMap<SocketAddr, Instant>>,
}

impl Convictions {
    /// How many different ones within [`CONVICTIONS_TIME`] are believed to be guilty.
    const MOST: usize = 2;

    fn may_convict(&self, now: Instant, address: SocketAddr) -> bool {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.retain(|_, time| now.saturating_duration_since(*time) < CONVICTIONS_TIME);
        times.insert(address, now);
        // Bounded: who comes beyond a few is only counted once more.
        while times.len() > Self::MOST + 1 {
            let oldest = times.iter().min_by_key(|(_, time)| **time);
            let Some(oldest) = oldest.map(|(address, _)| *address) else {
                break;
            };
            times.remove(&oldest);
        }
        times.len() <= Self::MOST
    }
}

/// Tells discovery in the background, and gives what it is told.
pub(crate) fn report(
    shared: &Arc<Shared>,
    id: ContentId,
    whom: &Whom<'_>,
    deed: Deed,
) -> ProviderFault {
    let address = whom.address;
    let (bytes_per_second, fault) = match deed {
        Deed::Gave { bytes_per_second } => (bytes_per_second, ProviderFault::Unspecified),
        Deed::Fault(ProviderFault::Convicted)
            if !shared.convictions.may_convict(Instant::now(), address) =>
        {
            warn!(
                "several peers seem to send wrong bytes: it may be our own memory or network card"
            );
            (0, ProviderFault::Corrupt)
        }
        Deed::Fault(fault) => (0, fault),
    };
    let request = ReportProviderRequest {
        peer_id: whom.peer_id.to_owned(),
        address: Some(store_address(address)),
        public_key: whom
            .node_key
            .map(|key| key.as_bytes().to_vec().into())
            .unwrap_or_default(),
        bytes_per_second,
        content_id: id.to_string(),
        fault: fault.into(),
    };
    let mut discovery = shared.discovery();
    let limit = shared.config.patience.local_call;
    let telling = async move {
        if let Err(error) = deadline::within(limit, discovery.report_provider(request)).await {
            debug!(%error, "discovery was not told how a provider did");
        }
    };
    drop(
        shared
            .lifetime
            .spawn("report a provider", telling.in_current_span()),
    );
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_insisting_on_what_nobody_can_forge_convicts() {
        let fault = |reason, family| fault_of(reason, family).unwrap();
        let (twice, often) = (DropReason::WrongTwice, DropReason::OftenWrong);
        assert_eq!(fault(twice, HashKind::Sha256), ProviderFault::Convicted);
        assert_eq!(fault(twice, HashKind::Sha1), ProviderFault::Corrupt);
        assert_eq!(fault(often, HashKind::Sha256), ProviderFault::Corrupt);
    }

    #[test]
    fn after_two_convicts_in_an_hour_we_suspect_ourselves() {
        let convictions = Convictions::default();
        let start = Instant::now();
        let may = |minutes: u64, port: u16| {
            let now = start + Duration::from_mins(minutes);
            convictions.may_convict(now, SocketAddr::from(([10, 0, 0, 1], port)))
        };
        assert!(may(0, 1));
        assert!(may(1, 1));
        assert!(may(2, 2));
        assert!(!may(3, 3));
        assert!(!may(4, 4));
        assert!(may(120, 5));
    }

    #[test]
    fn who_was_convicted_longest_ago_gives_way() {
        let convictions = Convictions::default();
        let start = Instant::now();
        let may = |minutes: u64, port: u16| {
            let now = start + Duration::from_mins(minutes);
            convictions.may_convict(now, SocketAddr::from(([10, 0, 0, 1], port)))
        };
        // The first by address is the newest: it must not be the one that is forgotten.
        for (minutes, port) in [(0, 9), (1, 8), (40, 7), (41, 1)] {
            may(minutes, port);
        }
        assert!(!may(65, 6), "two others were convicted within the hour");
    }
}
