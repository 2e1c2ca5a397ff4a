//! From bytes to checked types.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use prost::Message as _;

use super::{
    Alive, Answer, Body, Datagram, Day, Echo, FORMAT, FilterPart, GroupKey, Holding, HoldingState,
    MAX_DATAGRAM_BYTES, MAX_FILTERS, MAX_ROUND, MAX_SPREAD, MAX_TTL, NodeAddress, NodeId, Peers,
    PeersRequest, PublicKey, Query, Tag, TraceContext, bloom::Bloom,
};
use crate::{
    AtMost, FieldError,
    field::{fixed, within},
    pb::beacon::v1 as pb,
};

/// Why a datagram is dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// It is longer than [`MAX_DATAGRAM_BYTES`].
    #[error("{bytes} bytes are too long for a datagram")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not the serialised message that it should be.
    #[error("not a datagram of ours")]
    Malformed(#[source] prost::DecodeError),
    /// It is written in another major version of the format.
    #[error("format {format} is not ours")]
    OtherFormat {
        /// What it says.
        format: u32,
    },
    /// It has no MAC, and this node belongs to a group.
    #[error("sent outside of our group")]
    NoGroup,
    /// Its MAC is that of another group, or this node belongs to none.
    #[error("sent in another group")]
    OtherGroup,
    /// The node id is not that of the key under which it is signed.
    #[error("signed with another node's key")]
    WrongKey,
    /// The signature does not match.
    #[error("wrong signature")]
    WrongSignature,
    /// It says nothing, or something that this version does not know.
    #[error("unknown kind of datagram")]
    UnknownBody,
    /// A field is not what it should be.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// What a datagram brings along to prove its origin; not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    key: PublicKey,
    signature: [u8; 64],
    signed: Bytes,
}

/// Reads a datagram: bounds, MAC, fields. Does not check its signature, see [`verify_origin`].
pub fn decode(bytes: &[u8], group: &GroupKey) -> Result<Datagram, DatagramError> {
    let envelope = open(bytes)?;
    group.check(&envelope.datagram, &envelope.group_mac)?;
    let key = origin_of(&envelope)?.map(|origin| origin.key);
    let datagram = pb::Datagram::decode(envelope.datagram).map_err(DatagramError::Malformed)?;
    let datagram = checked(datagram)?;
    if key.is_some_and(|key| NodeId::of(&key) != datagram.node) {
        return Err(DatagramError::WrongKey);
    }
    Ok(datagram)
}

/// Takes out what proves the origin, cheaply; `None` for a datagram without signature.
pub fn origin(bytes: &[u8]) -> Result<Option<Origin>, DatagramError> {
    origin_of(&open(bytes)?)
}

/// Checks that `sender` signed the datagram, for some 50 µs; `None` when nobody did.
///
/// A signature says who made the datagram, not when: it can be replayed.
pub fn verify_origin(bytes: &[u8], sender: NodeId) -> Result<Option<PublicKey>, DatagramError> {
    origin(bytes)?
        .map(|origin| origin.verify(sender))
        .transpose()
}

impl Origin {
    /// Checks that `sender` made the signature.
    pub fn verify(&self, sender: NodeId) -> Result<PublicKey, DatagramError> {
        if NodeId::of(&self.key) != sender {
            return Err(DatagramError::WrongKey);
        }
        if !self.key.verifies(&self.signed, self.signature) {
            return Err(DatagramError::WrongSignature);
        }
        Ok(self.key)
    }
}

impl DatagramError {
    /// One word for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too-long",
            Self::Malformed(_) => "malformed",
            Self::OtherFormat { .. } => "other-format",
            Self::NoGroup => "no-group",
            Self::OtherGroup => "other-group",
            Self::WrongKey => "wrong-key",
            Self::WrongSignature => "wrong-signature",
            Self::UnknownBody => "unknown-body",
            Self::Field(_) => "bad-field",
        }
    }
}

fn open(bytes: &[u8]) -> Result<pb::Envelope, DatagramError> {
    if bytes.len() > MAX_DATAGRAM_BYTES {
        return Err(DatagramError::TooLong { bytes: bytes.len() });
    }
    let envelope = pb::Envelope::decode(bytes).map_err(DatagramError::Malformed)?;
    match envelope.format {
        FORMAT => Ok(envelope),
        format => Err(DatagramError::OtherFormat { format }),
    }
}

fn origin_of(envelope: &pb::Envelope) -> Result<Option<Origin>, DatagramError> {
    if envelope.public_key.is_empty() && envelope.signature.is_empty() {
        return Ok(None);
    }
    Ok(Some(Origin {
        key: PublicKey::from_bytes(fixed("public_key", &envelope.public_key)?),
        signature: fixed("signature", &envelope.signature)?,
        signed: envelope.datagram.clone(),
    }))
}

fn checked(datagram: pb::Datagram) -> Result<Datagram, DatagramError> {
    Ok(Datagram {
        node: node_id("node_id", &datagram.node_id)?,
        incarnation: datagram.incarnation,
        sequence: datagram.sequence,
        store_port: port("store_port", datagram.store_port)?,
        unicast_port: port("unicast_port", datagram.unicast_port)?,
        trace: trace(&datagram.trace_context)?,
        body: body(datagram.body.ok_or(DatagramError::UnknownBody)?)?,
    })
}

fn trace(bytes: &[u8]) -> Result<Option<TraceContext>, FieldError> {
    let field = "trace_context";
    if bytes.is_empty() {
        return Ok(None);
    }
    TraceContext::from_bytes(fixed(field, bytes)?)
        .map(Some)
        .ok_or_else(|| FieldError::refused(field, "an id of zeros"))
}

fn body(body: pb::datagram::Body) -> Result<Body, FieldError> {
    use pb::datagram::Body as Sent;
    Ok(match body {
        Sent::Alive(alive) => Body::Alive(self::alive(&alive)?),
        Sent::Leaving(pb::Leaving {}) => Body::Leaving,
        Sent::Query(query) => Body::Query(self::query(query)?),
        Sent::Answer(answer) => Body::Answer(self::answer(&answer)?),
        Sent::PeersRequest(request) => Body::PeersRequest(peers_request(&request)?),
        Sent::Peers(peers) => Body::Peers(self::peers(&peers)?),
        Sent::Echo(echo) => Body::Echo(Echo {
            nonce: echo.nonce,
            reply: echo.reply,
        }),
    })
}

fn alive(alive: &pb::Alive) -> Result<Alive, FieldError> {
    let ttl = within("ttl_seconds", alive.ttl_seconds, 1, MAX_TTL.as_secs())?;
    Ok(Alive {
        ttl: Duration::from_secs(ttl),
        known_nodes: alive.known_nodes,
        filter: filter(alive)?,
    })
}

fn filter(alive: &pb::Alive) -> Result<Option<FilterPart>, FieldError> {
    if alive.filter_count == 0 {
        return match alive.holdings_filter.len() {
            0 => Ok(None),
            _ => Err(FieldError::missing("filter_count")),
        };
    }
    // Later versions may take more parts: their beacon counts, without its filter.
    let Some(count) = u8::try_from(alive.filter_count)
        .ok()
        .filter(|count| *count <= MAX_FILTERS)
    else {
        return Ok(None);
    };
    let last = u64::from(count) - 1;
    Ok(Some(FilterPart {
        day: Day::from_number(alive.key_epoch),
        index: within("filter_index", alive.filter_index, 0, last)?,
        count,
        bloom: Bloom::from_wire("holdings_filter", &alive.holdings_filter)?,
    }))
}

fn query(query: pb::Query) -> Result<Query, FieldError> {
    let most = MAX_SPREAD.as_secs() * 1000;
    let spread = within("spread_milliseconds", query.spread_milliseconds, 0, most)?;
    Ok(Query {
        nonce: query.nonce,
        tags: some("tags", query.tags.into_iter().map(Tag::from_bits).collect())?,
        day: Day::from_number(query.key_epoch),
        enough: within("enough", query.enough, 1, u64::from(u8::MAX))?,
        spread: Duration::from_millis(spread),
        known_nodes: query.known_nodes,
        exclude: few("exclude", query.exclude)?,
        round: within("round", query.round, 0, u64::from(MAX_ROUND))?,
    })
}

fn answer(answer: &pb::Answer) -> Result<Answer, FieldError> {
    let sent = &answer.holdings;
    let known: Result<Vec<_>, _> = sent
        .iter()
        .filter_map(|one| holding(one).transpose())
        .collect();
    let known = known?;
    if let (Some(first), true) = (sent.first(), known.is_empty()) {
        return Err(FieldError::unknown("state", first.state));
    }
    let most = MAX_SPREAD.as_secs() * 1_000_000;
    let held_back: Option<u64> = answer
        .held_back_microseconds
        .map(|held| within("held_back_microseconds", held, 0, most))
        .transpose()?;
    Ok(Answer {
        nonce: answer.nonce,
        day: Day::from_number(answer.key_epoch),
        holdings: some("holdings", known)?,
        held_back: held_back.map(Duration::from_micros),
    })
}

/// `None` for a state that only a later version knows: the other holdings of the answer count.
fn holding(holding: &pb::Holding) -> Result<Option<Holding>, FieldError> {
    let state = match pb::HoldingState::try_from(holding.state) {
        Ok(pb::HoldingState::Unspecified) | Err(_) => return Ok(None),
        Ok(pb::HoldingState::Held) => HoldingState::Held,
        Ok(pb::HoldingState::Member) => HoldingState::Member,
        Ok(pb::HoldingState::OnItsWay) => HoldingState::OnItsWay,
    };
    Ok(Some(Holding {
        tag: Tag::from_bits(holding.tag),
        part: within("part", holding.part, 0, u64::from(u8::MAX))?,
        state,
    }))
}

fn peers_request(request: &pb::PeersRequest) -> Result<PeersRequest, FieldError> {
    let after = match request.after.len() {
        0 => None,
        _ => Some(node_id("after", &request.after)?),
    };
    Ok(PeersRequest {
        nonce: request.nonce,
        after,
    })
}

fn peers(peers: &pb::Peers) -> Result<Peers, FieldError> {
    let nodes: Result<Vec<_>, _> = peers.nodes.iter().map(node_address).collect();
    Ok(Peers {
        nonce: peers.nonce,
        nodes: few("nodes", nodes?)?,
        more: peers.more,
    })
}

fn node_address(node: &pb::NodeAddress) -> Result<NodeAddress, FieldError> {
    Ok(NodeAddress {
        node: node_id("node_id", &node.node_id)?,
        address: host_address("address", &node.address)?,
        unicast_port: port("unicast_port", node.unicast_port)?,
        store_port: port("store_port", node.store_port)?,
    })
}

/// Takes the address of one host: 4 or 16 bytes, in the one spelling it has.
pub(crate) fn host_address(field: &'static str, bytes: &[u8]) -> Result<IpAddr, FieldError> {
    let address = match bytes.len() {
        4 => IpAddr::from(fixed::<4>(field, bytes)?),
        _ => IpAddr::from(fixed::<16>(field, bytes)?),
    };
    let many = match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.is_multicast() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unspecified(),
    };
    if many || address.to_canonical() != address {
        return Err(FieldError::refused(field, "not the address of one host"));
    }
    Ok(address)
}

pub(crate) fn port(field: &'static str, port: u32) -> Result<u16, FieldError> {
    within(field, port, 0, u64::from(u16::MAX))
}

fn node_id(field: &'static str, bytes: &[u8]) -> Result<NodeId, FieldError> {
    fixed(field, bytes).map(NodeId::from_bytes)
}

fn few<T, const N: usize>(field: &'static str, items: Vec<T>) -> Result<AtMost<T, N>, FieldError> {
    let count = items.len();
    AtMost::try_from(items).map_err(|_| FieldError::too_many(field, count, N))
}

fn some<T, const N: usize>(field: &'static str, items: Vec<T>) -> Result<AtMost<T, N>, FieldError> {
    if items.is_empty() {
        return Err(FieldError::missing(field));
    }
    few(field, items)
}
