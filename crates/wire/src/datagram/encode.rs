//! From checked types to bytes.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use prost::Message as _;

use super::{
    Alive, Body, Datagram, FORMAT, GroupKey, Holding, HoldingState, MAX_DATAGRAM_BYTES, MAX_ROUND,
    MAX_SPREAD, MAX_TTL, NodeAddress, Query, SigningKey,
};
use crate::pb::beacon::v1 as pb;

/// The shortest question.
pub const MIN_QUERY_BYTES: usize = 448;

/// The shortest `Alive` and `Echo`: no shorter than an unsigned `Echo` and its reply, which they
/// draw from nodes that do not know the sender yet.
pub const MIN_BEACON_BYTES: usize = 100;

/// The longest `Answer` without its holdings: envelope with MAC, key and signature, sender, trace.
const ANSWER_BYTES: usize = 225;

/// The longest holding in an answer.
const HOLDING_BYTES: usize = 16;

/// Writes a datagram of at most [`MAX_DATAGRAM_BYTES`].
///
/// A question is padded to the longest answer that it may draw, so that nobody answers a stranger
/// with more than it sent: a query to [`MIN_QUERY_BYTES`] and a signed answer that holds all of it, a
/// request for peers to [`MAX_DATAGRAM_BYTES`], `Alive` and `Echo` to [`MIN_BEACON_BYTES`].
/// `signer` must be the key of the datagram's node, else everybody drops it. Numbers beyond the
/// bounds named in [`Alive`] and [`Query`] are brought back into them.
pub fn encode(datagram: &Datagram, group: &GroupKey, signer: Option<&SigningKey>) -> Vec<u8> {
    encode_padded(datagram, group, signer, 0)
}

/// Writes a datagram of at least `least` bytes, as far as [`MAX_DATAGRAM_BYTES`] allows.
///
/// Lets an asker make room for a signed reply.
pub fn encode_padded(
    datagram: &Datagram,
    group: &GroupKey,
    signer: Option<&SigningKey>,
    least: usize,
) -> Vec<u8> {
    let serialised = serialise(datagram);
    let (public_key, signature) = match signer {
        Some(key) => (
            key.public_key().as_bytes().to_vec(),
            key.sign(&serialised).to_vec(),
        ),
        None => Default::default(),
    };
    let mut envelope = pb::Envelope {
        group_mac: group.mac(&serialised).into(),
        public_key: public_key.into(),
        signature: signature.into(),
        format: FORMAT,
        datagram: serialised.into(),
        padding: Bytes::new(),
    };
    let least = least.max(longest_reply(&datagram.body));
    envelope.padding = padding(envelope.encoded_len(), least.min(MAX_DATAGRAM_BYTES));
    envelope.encode_to_vec()
}

fn longest_reply(body: &Body) -> usize {
    match body {
        Body::Alive(_) => MIN_BEACON_BYTES,
        Body::Echo(echo) if !echo.reply => MIN_BEACON_BYTES,
        Body::Query(query) => MIN_QUERY_BYTES.max(ANSWER_BYTES + HOLDING_BYTES * query.tags.len()),
        Body::PeersRequest(_) => MAX_DATAGRAM_BYTES,
        Body::Leaving | Body::Answer(_) | Body::Peers(_) | Body::Echo(_) => 0,
    }
}

/// The padding that makes an envelope of `bytes` at least `least` bytes long, and no longer than
/// that where it can be hit.
fn padding(bytes: usize, least: usize) -> Bytes {
    // A key of one byte and a length of one or two stand before the padding.
    let padding = match least.saturating_sub(bytes) {
        0 => 0,
        missing @ 1..=129 => missing.saturating_sub(2).clamp(1, 127),
        missing => missing - 3,
    };
    Bytes::from(vec![0; padding])
}

fn serialise(datagram: &Datagram) -> Vec<u8> {
    let trace = datagram.trace.as_ref();
    pb::Datagram {
        node_id: Bytes::copy_from_slice(datagram.node.as_bytes()),
        incarnation: datagram.incarnation,
        sequence: datagram.sequence,
        store_port: datagram.store_port.into(),
        unicast_port: datagram.unicast_port.into(),
        trace_context: trace
            .map_or_else(Bytes::new, |trace| Bytes::copy_from_slice(trace.as_bytes())),
        body: Some(body(&datagram.body)),
    }
    .encode_to_vec()
}

fn body(body: &Body) -> pb::datagram::Body {
    use pb::datagram::Body as Sent;
    match body {
        Body::Alive(alive) => Sent::Alive(self::alive(alive)),
        Body::Leaving => Sent::Leaving(pb::Leaving {}),
        Body::Query(query) => Sent::Query(self::query(query)),
        Body::Answer(answer) => Sent::Answer(pb::Answer {
            nonce: answer.nonce,
            holdings: answer.holdings.iter().map(holding).collect(),
            key_epoch: answer.day.number(),
            held_back_microseconds: answer
                .held_back
                .and_then(|held| u32::try_from(held.min(MAX_SPREAD).as_micros()).ok()),
        }),
        Body::PeersRequest(request) => Sent::PeersRequest(pb::PeersRequest {
            nonce: request.nonce,
            after: request
                .after
                .map_or_else(Bytes::new, |after| Bytes::copy_from_slice(after.as_bytes())),
        }),
        Body::Peers(peers) => Sent::Peers(pb::Peers {
            nonce: peers.nonce,
            nodes: peers.nodes.iter().map(node_address).collect(),
            more: peers.more,
        }),
        Body::Echo(echo) => Sent::Echo(pb::Echo {
            nonce: echo.nonce,
            reply: echo.reply,
        }),
    }
}

fn alive(alive: &Alive) -> pb::Alive {
    let ttl = alive.ttl.clamp(Duration::from_secs(1), MAX_TTL);
    let mut sent = pb::Alive {
        ttl_seconds: u32::try_from(ttl.as_secs()).unwrap_or(1),
        known_nodes: alive.known_nodes,
        ..pb::Alive::default()
    };
    if let Some(part) = &alive.filter {
        sent.holdings_filter = Bytes::copy_from_slice(part.bloom.as_bytes());
        sent.key_epoch = part.day.number();
        sent.filter_index = part.index.into();
        sent.filter_count = part.count.into();
    }
    sent
}

fn query(query: &Query) -> pb::Query {
    let spread = query.spread.min(MAX_SPREAD).as_millis();
    pb::Query {
        nonce: query.nonce,
        tags: query.tags.iter().map(|tag| tag.bits()).collect(),
        key_epoch: query.day.number(),
        enough: query.enough.max(1).into(),
        spread_milliseconds: u32::try_from(spread).unwrap_or(0),
        known_nodes: query.known_nodes,
        exclude: query.exclude.to_vec(),
        round: query.round.min(MAX_ROUND).into(),
    }
}

fn holding(holding: &Holding) -> pb::Holding {
    let state = match holding.state {
        HoldingState::Held => pb::HoldingState::Held,
        HoldingState::Member => pb::HoldingState::Member,
        HoldingState::OnItsWay => pb::HoldingState::OnItsWay,
    };
    pb::Holding {
        tag: holding.tag.bits(),
        part: holding.part.into(),
        state: state.into(),
    }
}

fn node_address(node: &NodeAddress) -> pb::NodeAddress {
    pb::NodeAddress {
        node_id: Bytes::copy_from_slice(node.node.as_bytes()),
        address: address_bytes(node.address),
        unicast_port: node.unicast_port.into(),
        store_port: node.store_port.into(),
    }
}

/// An address as it travels: 4 or 16 bytes.
pub(crate) fn address_bytes(address: IpAddr) -> Bytes {
    match address {
        IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
    }
}
