//! Between messages and what the machine knows.

use std::time::{Duration, Instant, SystemTime};

use zeroshare_content::ContentId;
use zeroshare_membership::{
    BanView, Claim, Mercy, OutsiderView, PeerView, Place, Provider, Report, Road, Verdict,
};
use zeroshare_wire::{
    FieldError, FieldFault,
    convert::{content_id, content_ids, from_system_time, socket_address, store_address},
    datagram::{HoldingState, NodeId, PublicKey},
    pb::discovery::v1::{
        Ban, DescribeNetworkResponse, DropCount, FindProvidersResponse, ForgivePeerRequest,
        HoldingClaim, NetworkInterface, Outsider, Peer, ProviderFault, RefreshRequest,
        ReportProviderRequest, StoreAddress, WatchRefreshResponse,
    },
};

use crate::engine::NetworkView;

/// Providers that a lookup may want: as many as it tells of.
const MOST_WANTED: u8 = 64;

pub(super) fn provider(provider: Provider) -> FindProvidersResponse {
    let claim = match provider.claim {
        Claim::Probable => HoldingClaim::Probable,
        Claim::Stated | Claim::Asks => HoldingClaim::Stated,
    };
    FindProvidersResponse {
        provider: Some(peer(provider.peer)),
        claim: claim.into(),
        content_id: provider.content.to_string(),
        part: provider.part.into(),
        member: provider.state == HoldingState::Member,
        on_its_way: provider.state == HoldingState::OnItsWay && provider.claim != Claim::Asks,
        goes_first: provider.claim == Claim::Asks,
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

/// The address counts, and the key that TLS proved: an id is only what somebody claimed.
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
    let node = if request.public_key.is_empty() {
        None
    } else {
        let key = <[u8; 32]>::try_from(request.public_key.as_ref());
        let key = key.map_err(|_| refused("public_key", "not 32 bytes"))?;
        Some(NodeId::of(&PublicKey::from_bytes(key)))
    };
    Ok(Report {
        address: socket_address(field, address)?,
        node,
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

pub(super) fn ban(ban: &BanView) -> Ban {
    let end = SystemTime::now().checked_add(ban.remaining);
    Ban {
        address: Some(store_address(ban.address)),
        end_time: end.map(from_system_time),
        convictions: ban.convictions,
        content_id: ban
            .content
            .map(|content| content.to_string())
            .unwrap_or_default(),
        peer_ids: ban.nodes.iter().map(ToString::to_string).collect(),
    }
}

/// Whose bans are lifted; nothing set means everybody's.
pub(super) fn mercy(request: &ForgivePeerRequest) -> Result<Mercy, FieldError> {
    match (request.peer_id.as_str(), request.address.as_ref()) {
        ("", None) => Ok(Mercy::Everybody),
        ("", Some(address)) if address.port == 0 => {
            let some_port = StoreAddress {
                port: 1,
                ..address.clone()
            };
            let store = socket_address("address", &some_port)?;
            Ok(Mercy::Machine(Place::of(store)))
        }
        ("", Some(address)) => Ok(Mercy::Store(socket_address("address", address)?)),
        (id, None) => match id.parse() {
            Ok(node) => Ok(Mercy::Node(node)),
            Err(_) => Err(refused("peer_id", "not 32 hex digits")),
        },
        (_, Some(_)) => Err(refused("peer_id", "a peer or an address, not both")),
    }
}

/// What is to be forgotten; nothing in particular: all.
pub(super) fn refreshed(
    request: &RefreshRequest,
    most: usize,
) -> Result<Vec<ContentId>, FieldError> {
    if request.content_ids.is_empty() {
        return Ok(Vec::new());
    }
    content_ids("content_ids", &request.content_ids, most)
}

/// What was forgotten.
pub(super) fn refresh(refreshed: &[ContentId]) -> WatchRefreshResponse {
    WatchRefreshResponse {
        content_ids: refreshed.iter().map(ToString::to_string).collect(),
    }
}

fn refused(field: &'static str, why: &str) -> FieldError {
    FieldError {
        field,
        fault: FieldFault::Refused { why: why.into() },
    }
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
        in_group: view.in_group,
        outsiders: view.outsiders.into_iter().map(outsider).collect(),
    }
}

fn outsider(one: OutsiderView) -> Outsider {
    let now = SystemTime::now();
    let ago = Instant::now().saturating_duration_since(one.last_heard);
    Outsider {
        address: Some(store_address(one.address)),
        datagrams: one.datagrams,
        last_seen_time: Some(from_system_time(now.checked_sub(ago).unwrap_or(now))),
        in_group: one.in_group,
    }
}

pub(super) fn names(roads: &[Road]) -> Vec<String> {
    roads.iter().map(|road| road.name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use zeroshare_wire::datagram::SigningKey;

    use super::*;

    #[test]
    fn mercy_is_for_a_peer_a_store_a_machine_or_everybody() {
        let at = |text: &str| Some(store_address(text.parse().unwrap()));
        let request = |peer_id: &str, address| ForgivePeerRequest {
            peer_id: peer_id.to_owned(),
            address,
        };
        let every_port = at("10.0.0.7:1").map(|at| StoreAddress { port: 0, ..at });
        let store = "10.0.0.7:9".parse().unwrap();
        let id = "00112233445566778899aabbccddeeff";
        let cases = [
            (request("", None), Mercy::Everybody),
            (request("", at("10.0.0.7:9")), Mercy::Store(store)),
            (
                request("", every_port.clone()),
                Mercy::Machine(Place::of(store)),
            ),
            (request(id, None), Mercy::Node(id.parse().unwrap())),
        ];
        for (request, wanted) in cases {
            assert_eq!(mercy(&request), Ok(wanted), "{request:?}");
        }
        assert!(mercy(&request("x", None)).is_err());
        assert!(mercy(&request(id, every_port)).is_err());
    }

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
        let key = SigningKey::from_seed(&[7; 32]);
        let proven = |public_key: &[u8]| ReportProviderRequest {
            peer_id: "of somebody else".to_owned(),
            public_key: public_key.to_vec().into(),
            ..good.clone()
        };
        assert_eq!(read.node, None);
        let read = report(&proven(key.public_key().as_bytes())).unwrap();
        assert_eq!(
            read.node,
            Some(key.node_id()),
            "what was proven, not what was claimed"
        );
        assert!(report(&proven(&[7; 31])).is_err());
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
