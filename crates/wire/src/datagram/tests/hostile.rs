//! What a stranger may send.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::{
    super::*,
    samples::{alive, from_key, key, query, sample},
};
use crate::{FieldFault, pb::beacon::v1 as pb};

fn send(change: impl FnOnce(&mut pb::Datagram)) -> Result<Datagram, DatagramError> {
    decode(&changed(change), &GroupKey::none())
}

fn changed(change: impl FnOnce(&mut pb::Datagram)) -> Vec<u8> {
    let bytes = encode(&from_key(query(2)), &GroupKey::none(), None);
    let mut envelope = pb::Envelope::decode(&*bytes).unwrap();
    let mut datagram = pb::Datagram::decode(envelope.datagram).unwrap();
    change(&mut datagram);
    envelope.datagram = datagram.encode_to_vec().into();
    envelope.padding = Bytes::new();
    envelope.encode_to_vec()
}

fn send_body(body: pb::datagram::Body) -> Result<Datagram, DatagramError> {
    send(|datagram| datagram.body = Some(body))
}

/// Which field is refused.
fn refused(result: Result<Datagram, DatagramError>) -> &'static str {
    match result {
        Err(DatagramError::Field(error)) => error.field,
        other => panic!("refuses a field: {other:?}"),
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_an_error_at_worst(bytes in vec(any::<u8>(), 0..1400)) {
        let _unused = decode(&bytes, &GroupKey::none());
        let _unused = decode(&bytes, &GroupKey::from_keys([7; 32], [7; 32]));
        let _unused = verify_origin(&bytes, key().node_id());
    }

    #[test]
    fn arbitrary_datagrams_in_a_right_envelope_are_an_error_at_worst(datagram in vec(any::<u8>(), 0..400)) {
        let envelope = pb::Envelope { datagram: datagram.into(), format: FORMAT, ..Default::default() };
        let _unused = decode(&envelope.encode_to_vec(), &GroupKey::none());
    }

    #[test]
    fn a_changed_byte_of_what_is_signed_is_noticed(sent in sample(), at: prop::sample::Index, flip in 1..=255_u8) {
        let bytes = encode(&sent, &GroupKey::none(), Some(&key()));
        let mut envelope = pb::Envelope::decode(&*bytes).unwrap();
        let mut datagram = envelope.datagram.to_vec();
        let at = at.index(datagram.len());
        datagram[at] ^= flip;
        envelope.datagram = datagram.into();
        let changed = envelope.encode_to_vec();
        prop_assert_eq!(verify_origin(&changed, sent.node), Err(DatagramError::WrongSignature));
    }

    #[test]
    fn a_changed_byte_is_noticed_in_a_group(sent in sample(), at: prop::sample::Index, flip in 1..=255_u8) {
        let group = GroupKey::from_keys([7; 32], [7; 32]);
        let mut envelope = pb::Envelope::decode(&*encode(&sent, &group, None)).unwrap();
        let mut datagram = envelope.datagram.to_vec();
        let at = at.index(datagram.len());
        datagram[at] ^= flip;
        envelope.datagram = datagram.into();
        prop_assert_eq!(decode(&envelope.encode_to_vec(), &group), Err(DatagramError::OtherGroup));
    }
}

#[test]
fn a_datagram_that_is_too_long_is_not_read() {
    let bytes = [0; MAX_DATAGRAM_BYTES + 1];
    let error = DatagramError::TooLong { bytes: bytes.len() };
    assert_eq!(decode(&bytes, &GroupKey::none()), Err(error));
}

#[test]
fn other_formats_are_told_apart_from_garbage() {
    let envelope = pb::Envelope {
        format: 2,
        ..Default::default()
    };
    assert_eq!(
        decode(&envelope.encode_to_vec(), &GroupKey::none()),
        Err(DatagramError::OtherFormat { format: 2 })
    );
    let error = decode(b"GET / HTTP/1.1\r\n", &GroupKey::none()).unwrap_err();
    assert_eq!(error.reason(), "malformed");
}

#[test]
fn groups_do_not_hear_each_other() {
    let (ours, theirs) = (
        GroupKey::from_keys([1; 32], [1; 32]),
        GroupKey::from_keys([2; 32], [2; 32]),
    );
    let sent = from_key(query(1));
    let open = encode(&sent, &GroupKey::none(), None);
    let closed = encode(&sent, &theirs, None);
    assert_eq!(decode(&open, &ours), Err(DatagramError::NoGroup));
    assert_eq!(decode(&closed, &ours), Err(DatagramError::OtherGroup));
    assert_eq!(
        decode(&closed, &GroupKey::none()),
        Err(DatagramError::OtherGroup)
    );
    assert_eq!(decode(&closed, &theirs), Ok(sent));
}

#[test]
fn a_mac_cut_short_is_no_mac() {
    let group = GroupKey::from_keys([1; 32], [1; 32]);
    let mut envelope = pb::Envelope::decode(&*encode(&from_key(alive()), &group, None)).unwrap();
    envelope.group_mac.truncate(1);
    let result = decode(&envelope.encode_to_vec(), &group);
    assert_eq!(result, Err(DatagramError::OtherGroup));
}

#[test]
fn nobody_signs_for_another() {
    let thief = SigningKey::from_seed(&[1; 32]);
    let bytes = encode(&from_key(alive()), &GroupKey::none(), Some(&thief));
    assert_eq!(
        decode(&bytes, &GroupKey::none()),
        Err(DatagramError::WrongKey)
    );
    assert_eq!(
        verify_origin(&bytes, key().node_id()),
        Err(DatagramError::WrongKey)
    );
}

#[test]
fn half_a_proof_of_origin_is_refused() {
    let bytes = encode(&from_key(alive()), &GroupKey::none(), Some(&key()));
    let whole = pb::Envelope::decode(&*bytes).unwrap();
    let without_key = pb::Envelope {
        public_key: Bytes::new(),
        ..whole.clone()
    };
    let without_signature = pb::Envelope {
        signature: Bytes::new(),
        ..whole
    };
    for (envelope, field) in [
        (without_key, "public_key"),
        (without_signature, "signature"),
    ] {
        let bytes = envelope.encode_to_vec();
        assert_eq!(refused(decode(&bytes, &GroupKey::none())), field);
        assert!(origin(&bytes).is_err());
    }
}

#[test]
fn saying_nothing_is_an_unknown_kind() {
    assert_eq!(
        send(|datagram| datagram.body = None),
        Err(DatagramError::UnknownBody)
    );
}

#[test]
fn fields_that_this_version_does_not_know_are_passed_over() {
    let bytes = encode(&from_key(alive()), &GroupKey::none(), None);
    let newer = [&bytes[..], &[0xa2, 0x06, 3, 1, 2, 3]].concat();
    assert_eq!(decode(&newer, &GroupKey::none()), Ok(from_key(alive())));
}

#[test]
fn fields_of_the_sender_are_checked() {
    assert_eq!(refused(send(|d| d.node_id = vec![0; 15].into())), "node_id");
    assert_eq!(refused(send(|d| d.store_port = 65_536)), "store_port");
    assert_eq!(refused(send(|d| d.unicast_port = u32::MAX)), "unicast_port");
    assert_eq!(
        refused(send(|d| d.trace_context = vec![1; 24].into())),
        "trace_context"
    );
    assert_eq!(
        refused(send(|d| d.trace_context = vec![0; 25].into())),
        "trace_context"
    );
}

#[test]
fn fields_of_a_query_are_checked() {
    let change = |change: fn(&mut pb::Query)| {
        let mut query = pb::Query {
            tags: vec![1],
            enough: 3,
            ..Default::default()
        };
        assert!(send_body(pb::datagram::Body::Query(query.clone())).is_ok());
        change(&mut query);
        refused(send_body(pb::datagram::Body::Query(query)))
    };
    assert_eq!(change(|query| query.tags.clear()), "tags");
    assert_eq!(change(|query| query.tags = vec![1; MAX_ASKED + 1]), "tags");
    assert_eq!(
        change(|query| query.exclude = vec![1; MAX_EXCLUDED + 1]),
        "exclude"
    );
    assert_eq!(change(|query| query.enough = 0), "enough");
    assert_eq!(change(|query| query.enough = 256), "enough");
    assert_eq!(
        change(|query| query.spread_milliseconds = 10_001),
        "spread_milliseconds"
    );
    assert_eq!(change(|query| query.round = 33), "round");
}

#[test]
fn fields_of_a_beacon_are_checked() {
    let change = |change: fn(&mut pb::Alive)| {
        let mut alive = pb::Alive {
            ttl_seconds: 60,
            holdings_filter: vec![0; 128].into(),
            filter_count: 2,
            ..Default::default()
        };
        assert!(send_body(pb::datagram::Body::Alive(alive.clone())).is_ok());
        change(&mut alive);
        refused(send_body(pb::datagram::Body::Alive(alive)))
    };
    assert_eq!(change(|alive| alive.ttl_seconds = 0), "ttl_seconds");
    assert_eq!(change(|alive| alive.ttl_seconds = 86_401), "ttl_seconds");
    assert_eq!(change(|alive| alive.filter_count = 0), "filter_count");
    assert_eq!(change(|alive| alive.filter_index = 2), "filter_index");
    for bytes in [1, 127, 961, 1000] {
        let mut alive = pb::Alive {
            ttl_seconds: 60,
            filter_count: 1,
            ..Default::default()
        };
        alive.holdings_filter = vec![0; bytes].into();
        assert_eq!(
            refused(send_body(pb::datagram::Body::Alive(alive))),
            "holdings_filter"
        );
    }
}

#[test]
fn fields_of_an_answer_are_checked() {
    let held = pb::Holding {
        tag: 1,
        part: 255,
        state: 1,
    };
    let send = |holdings| {
        send_body(pb::datagram::Body::Answer(pb::Answer {
            nonce: 1,
            holdings,
            key_epoch: 20_000,
            held_back_microseconds: None,
        }))
    };
    assert!(send(vec![held]).is_ok());
    assert_eq!(refused(send(vec![])), "holdings");
    assert_eq!(refused(send(vec![held; MAX_ASKED + 1])), "holdings");
    assert_eq!(
        refused(send(vec![pb::Holding { part: 256, ..held }])),
        "part"
    );
    for state in [0, 4, -1] {
        assert_eq!(refused(send(vec![pb::Holding { state, ..held }])), "state");
    }
}

#[test]
fn a_state_of_a_later_version_costs_only_its_own_holding() {
    let holding = |tag, state| pb::Holding {
        tag,
        part: 255,
        state,
    };
    let answer = pb::Answer {
        nonce: 1,
        holdings: vec![holding(1, 4), holding(2, 1), holding(3, 0), holding(4, -1)],
        key_epoch: 20_000,
        held_back_microseconds: None,
    };
    let read = send_body(pb::datagram::Body::Answer(answer)).unwrap();
    let Body::Answer(read) = read.body else {
        panic!("{read:?}")
    };
    let tags: Vec<Tag> = read.holdings.iter().map(|one| one.tag).collect();
    assert_eq!(tags, [Tag::from_bits(2)]);
    assert_eq!(read.day, Day::from_number(20_000));
}

#[test]
fn a_filter_in_more_parts_than_this_version_takes_costs_only_the_filter() {
    for count in [u32::from(MAX_FILTERS) + 1, 256, 257, u32::MAX] {
        let later = pb::Alive {
            ttl_seconds: 60,
            holdings_filter: vec![0; 128].into(),
            filter_index: 64,
            filter_count: count,
            ..Default::default()
        };
        let read = send_body(pb::datagram::Body::Alive(later)).unwrap();
        let Body::Alive(read) = read.body else {
            panic!("{read:?}")
        };
        assert_eq!(read.filter, None);
    }
}

#[test]
fn addresses_of_peers_are_those_of_one_host() {
    let send = |address: &[u8], count| {
        let node = pb::NodeAddress {
            node_id: vec![1; 16].into(),
            address: Bytes::copy_from_slice(address),
            unicast_port: 1,
            store_port: 1,
        };
        let peers = pb::Peers {
            nonce: 1,
            nodes: vec![node; count],
            more: false,
        };
        send_body(pb::datagram::Body::Peers(peers))
    };
    assert!(send(&[10, 0, 0, 1], 0).is_ok());
    assert!(send(&[10, 0, 0, 1], MAX_PEERS).is_ok());
    assert_eq!(refused(send(&[10, 0, 0, 1], MAX_PEERS + 1)), "nodes");
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1];
    let multicast = [255, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for address in [
        &[][..],
        &[10, 0, 0],
        &[0; 4],
        &[224, 0, 0, 1],
        &[255; 4],
        &[0; 16],
        &mapped,
        &multicast,
        &[1; 17],
    ] {
        assert_eq!(refused(send(address, 1)), "address", "{address:?}");
    }
}

#[test]
fn an_empty_message_repeated_does_not_become_many_nodes() {
    // 2 bytes each on the wire, 80 in memory: the bound on the datagram bounds this too.
    let mut peers = vec![];
    while peers.len() < 1000 {
        peers.extend([0x12, 0]);
    }
    let mut datagram = vec![0x7a];
    prost::encoding::encode_varint(peers.len() as u64, &mut datagram);
    datagram.extend(peers);
    let envelope = pb::Envelope {
        datagram: [&[0x0a, 16][..], &[1; 16], &datagram].concat().into(),
        format: FORMAT,
        ..Default::default()
    };
    let error = decode(&envelope.encode_to_vec(), &GroupKey::none()).unwrap_err();
    let DatagramError::Field(error) = error else {
        panic!("a field: {error}");
    };
    assert_eq!(error.field, "node_id");
    assert_eq!(error.fault, FieldFault::Length { bytes: 0 });
}
