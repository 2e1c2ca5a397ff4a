//! Between messages and what the machine knows.

use std::time::{Duration, Instant, SystemTime};

use zeroshare_membership::{Claim, PeerView, Provider, Report, Road, Verdict};
use zeroshare_wire::{
    FieldError, FieldFault,
    convert::{content_id, from_system_time, socket_address, store_address},
    datagram::HoldingState,
    pb::discovery::v1::{
        DescribeNetworkResponse, DropCount, FindProvidersResponse, HoldingClaim, NetworkInterface,
        Peer, ProviderFault, ReportProviderRequest,
    },
};

use crate::engine::NetworkView;

/// Providers that a lookup may want: as many as it tells of.
const MOST_WANTED: u8 = 64;

pub(super) fn provider(provider: Provider) -> FindProvidersResponse {
    let claim = match provider.claim {
        Claim::Probable => HoldingClaim::Probable,
        Claim::Stated => HoldingClaim::Stated,
    };
    FindProvidersResponse {
        provider: Some(peer(provider.peer)),
        claim: claim.into(),
        content_id: provider.content.to_string(),
        part: provider.part.into(),
        member: provider.state == HoldingState::Member,
        on_its_way: provider.state == HoldingState::OnItsWay,
    }
}

pub(super) fn peer(peer: PeerView) -> Peer {
    let now = SystemTime::now();
    let ago = Instant::now().saturating_duration_since(peer.last_heard);
    let last_seen = now.checked_sub(ago).unwrap_or(now);
    let ban_end = peer
        .ban
        .and_then(|remaining: Duration| now.checked_add(remaining));
    Peer {
        peer_id: peer.node.to_string(),
        store_addresses: peer
            .store_addresses
            .into_iter()
            .map(store_address)
            .collect(),
        last_seen_time: Some(from_system_time(last_seen)),
        roads: names(&peer.roads),
        held_ids: peer.held_ids,
        bytes_per_second: peer.bytes_per_second,
        faults: peer.faults,
        ban_end_time: ban_end.map(from_system_time),
    }
}

/// How many providers a lookup wants; `None`: as many as usual.
pub(super) fn enough(number: u32) -> Result<Option<u8>, FieldError> {
    match u8::try_from(number) {
        Ok(0) => Ok(None),
        Ok(number) if number <= MOST_WANTED => Ok(Some(number)),
        Ok(_) | Err(_) => Err(FieldError {
            field: "enough",
            fault: FieldFault::OutOfRange {
                value: number.into(),
                least: 0,
                most: MOST_WANTED.into(),
            },
        }),
    }
}

/// Only the address counts: an id is what somebody claimed, and keys come with TLS.
pub(super) fn report(request: &ReportProviderRequest) -> Result<Report, FieldError> {
    let field = "address";
    let address = request.address.as_ref().ok_or(FieldError {
        field,
        fault: FieldFault::Missing,
    })?;
    let content = match request.content_id.as_str() {
        "" => None,
        text => Some(content_id("content_id", text)?),
    };
    Ok(Report {
        address: socket_address(field, address)?,
        content,
        verdict: verdict(request)?,
    })
}

fn verdict(request: &ReportProviderRequest) -> Result<Verdict, FieldError> {
    let unknown = || FieldError {
        field: "fault",
        fault: FieldFault::Unknown {
            value: request.fault.into(),
        },
    };
    Ok(
        match ProviderFault::try_from(request.fault).map_err(|_| unknown())? {
            ProviderFault::Unspecified => Verdict::Gave(request.bytes_per_second),
            ProviderFault::Unreachable => Verdict::Unreachable,
            ProviderFault::NotHolding => Verdict::NotHolding,
            ProviderFault::Corrupt => Verdict::Corrupt,
            ProviderFault::Convicted => Verdict::Convicted,
        },
    )
}

pub(super) fn network(view: NetworkView) -> DescribeNetworkResponse {
    let interfaces = view
        .interfaces
        .into_iter()
        .map(|(interface, roads)| NetworkInterface {
            addresses: interface
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect(),
            name: interface.name,
            interface_index: interface.index,
            roads: names(&roads),
        });
    let drops = view
        .counters
        .drops
        .into_iter()
        .map(|(reason, datagrams)| DropCount {
            reason: reason.name().to_owned(),
            datagrams,
        });
    DescribeNetworkResponse {
        node_id: view.node.to_string(),
        unicast_port: view.unicast_port.into(),
        interfaces: interfaces.collect(),
        sent_datagrams: view.sent,
        received_datagrams: view.counters.received,
        drops: drops.collect(),
        live_peers: u32::try_from(view.live_peers).unwrap_or(u32::MAX),
    }
}

fn names(roads: &[Road]) -> Vec<String> {
    roads.iter().map(|road| road.name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_needs_an_address_and_a_known_fault() {
        let address = "10.0.0.7:38339".parse().unwrap();
        let good = ReportProviderRequest {
            address: Some(store_address(address)),
            fault: ProviderFault::Convicted.into(),
            ..ReportProviderRequest::default()
        };
        let read = report(&good).unwrap();
        assert_eq!((read.address, read.verdict), (address, Verdict::Convicted));
        let gave = ReportProviderRequest {
            bytes_per_second: 7,
            fault: 0,
            ..good.clone()
        };
        assert_eq!(report(&gave).unwrap().verdict, Verdict::Gave(7));
        let cases = [
            (
                ReportProviderRequest {
                    address: None,
                    ..good.clone()
                },
                "address",
            ),
            (
                ReportProviderRequest {
                    fault: 99,
                    ..good.clone()
                },
                "fault",
            ),
            (
                ReportProviderRequest {
                    content_id: "x".to_owned(),
                    ..good
                },
                "content_id",
            ),
        ];
        for (wrong, field) in cases {
            assert_eq!(report(&wrong).unwrap_err().field, field);
        }
    }
}
