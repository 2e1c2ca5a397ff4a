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
use zeroshare_wire::pb::discovery::v1::{ProviderFault, ReportProviderRequest};

use crate::shared::Shared;

/// For how long a conviction counts when several are compared.
const CONVICTIONS_TIME: Duration = Duration::from_hours(1);

/// How a provider did.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    Gave { bytes_per_second: u64 },
    Fault(ProviderFault),
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
            times.pop_first();
        }
        times.len() <= Self::MOST
    }
}

/// Tells discovery in the background.
pub(crate) fn report(
    shared: &Arc<Shared>,
    id: ContentId,
    peer_id: &str,
    address: SocketAddr,
    deed: Deed,
) {
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
        peer_id: peer_id.to_owned(),
        address: Some(store_address(address)),
        bytes_per_second,
        content_id: id.to_string(),
        fault: fault.into(),
        ..ReportProviderRequest::default()
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
}
