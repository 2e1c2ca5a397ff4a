//! Telling discovery how providers did; best effort.

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{Instrument as _, debug};
use zeroshare_api::deadline;
use zeroshare_content::TreeId;
use zeroshare_transfer::DropReason;
use zeroshare_wire::convert::store_address;
use zeroshare_wire::pb::discovery::v1::{ProviderFault, ReportProviderRequest};

use crate::shared::Shared;

/// How a provider did.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    Gave { bytes_per_second: u64 },
    Fault(ProviderFault),
}

/// What a provider is dropped for, as discovery counts it.
///
/// Only insisting on wrong bytes convicts: a wrong slice or file may be a bad disk, there or here.
pub(crate) fn fault_of(reason: DropReason) -> Option<ProviderFault> {
    match reason {
        DropReason::Unreachable | DropReason::TooSlow => Some(ProviderFault::Unreachable),
        DropReason::NotHolding | DropReason::Refused | DropReason::Mismatch => {
            Some(ProviderFault::NotHolding)
        }
        DropReason::Corrupt | DropReason::WrongSlices | DropReason::Violation => {
            Some(ProviderFault::Corrupt)
        }
        DropReason::WrongTwice => Some(ProviderFault::Convicted),
        // Whoever is busy does its share elsewhere.
        DropReason::TooBusy => None,
    }
}

/// Tells discovery in the background.
pub(crate) fn report(
    shared: &Arc<Shared>,
    id: TreeId,
    peer_id: &str,
    address: SocketAddr,
    deed: Deed,
) {
    let (bytes_per_second, fault) = match deed {
        Deed::Gave { bytes_per_second } => (bytes_per_second, ProviderFault::Unspecified),
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
