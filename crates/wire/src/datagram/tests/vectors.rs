//! The format in bytes. Whoever has to change one of these breaks every network there is.

use std::{net::Ipv4Addr, time::Duration};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use zeroshare_content::{ContentId, Family, TreeId};

use super::{
    super::*,
    samples::{from_key, key},
};
use crate::AtMost;

fn secret() -> GroupKey {
    let mut secret = [0; 32];
    (0..).zip(&mut secret).for_each(|(i, byte)| *byte = i);
    GroupKey::from_keys(secret, secret)
}

fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn tags(count: u32) -> Vec<Tag> {
    let tag = |i: u32| {
        let digest = Sha256::digest(i.to_be_bytes());
        Tag::from_bits(u64::from_be_bytes(digest[..8].try_into().unwrap()))
    };
    (0..count).map(tag).collect()
}

#[test]
fn tags_follow_from_day_group_and_id() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let blob: ContentId = format!("blob:sha256:{empty}").parse().unwrap();
    let sha256 = TreeId::of_manifest(Family::Sha256, b"").into();
    let sha1new = TreeId::of_manifest(Family::Sha1New, b"").into();
    let day = Day::from_number(20_000);
    for (group, content, bits) in [
        (GroupKey::none(), blob, 0x3b71_7c96_750d_d3ec),
        (GroupKey::none(), sha256, 0x3338_0604_d716_69f6),
        (GroupKey::none(), sha1new, 0xb93e_04e8_bdc7_9006),
        (secret(), blob, 0xa1d4_daa1_c227_f602),
        (secret(), sha256, 0x78f3_464f_9582_3df6),
        (secret(), sha1new, 0x4a7e_28be_a59a_20c1),
    ] {
        assert_eq!(tag(day, &content, &group), Tag::from_bits(bits));
    }
}

#[test]
fn days_begin_at_midnight() {
    assert_eq!(Day::of_unix_seconds(0).number(), 0);
    assert_eq!(Day::of_unix_seconds(86_399).number(), 0);
    assert_eq!(Day::of_unix_seconds(86_400).number(), 1);
    let today = Day::from_number(5);
    let accepted: Vec<_> = (0..9)
        .map(Day::from_number)
        .filter(|&day| today.accepts(day))
        .collect();
    assert_eq!(accepted, today.accepted());
}

#[test]
fn filters_follow_from_tags() {
    for (count, bytes, expected) in [
        (
            1,
            128,
            "242bf680a83bfeb07947d7e1b64fad091147bc5a769ea4262070d9b7cf1db4df",
        ),
        (
            64,
            128,
            "94355e8742baf2aad9355468591cd12c65e75c438c4006da575a0c75e7698d7d",
        ),
        (
            300,
            600,
            "588cc749ba00b04593fe46c5336e9e0db9497139f0369ceb36a35e5542ebbbce",
        ),
        (
            480,
            960,
            "3bd147e3fbfcbc99bf1ab0743ea7d1b40058159523834d573cd6e627975c1b63",
        ),
    ] {
        let filters = Bloom::summaries(tags(count));
        assert_eq!(filters.len(), 1);
        assert_eq!(filters[0].as_bytes().len(), bytes);
        assert_eq!(digest(filters[0].as_bytes()), expected, "{count} tags");
    }
    let filter = &Bloom::summaries(tags(1))[0];
    let ones: Vec<_> = (0..1024)
        .filter(|bit| filter.as_bytes()[bit / 8] >> (bit % 8) & 1 == 1)
        .collect();
    assert_eq!(
        ones,
        [195, 196, 203, 205, 221, 243, 270, 301, 335, 371, 408]
    );
}

#[test]
fn a_node_id_follows_from_the_key() {
    let node = key().node_id();
    assert_eq!(node.to_string(), "21fe31dfa154a261626bf854046fd227");
    assert_eq!(node.first_half(), 0x21fe_31df_a154_a261);
}

#[test]
fn a_signed_query_in_a_group_in_bytes() {
    let mut query = from_key(Body::Query(Query {
        nonce: 0x1122_3344_5566_7788,
        tags: AtMost::first([Tag::from_bits(0xa1), Tag::from_bits(0xa2)]),
        day: Day::from_number(20_000),
        enough: 3,
        spread: Duration::from_millis(20),
        known_nodes: 40,
        exclude: AtMost::first([0xe1]),
        round: 1,
    }));
    query.trace = TraceContext::new([0xaa; 16], [0xbb; 8], 1);
    let bytes = encode(&query, &secret(), Some(&key()));
    let without_padding = "\
        0a730a1021fe31dfa154a261626bf854046fd227110807060504030201180720c3ab0228c0b8023219aaaaaaaa\
        aaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb0162310988776655443322111210a100000000000000a20000\
        000000000018a09c012003281430283a08e10000000000000040011210ac016c439001fce2b9ea4be09ee70947\
        1a20d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a22404845fa300a667dab3e\
        b8989a40dbdf14b4ac36d3540850c715d4a7329e315e7171b3154ed42006d4cf776930373e995dad011b9735e6\
        207c307798c4a3b3110b2d010000007acd01";
    let expected = without_padding.to_owned() + &"00".repeat(448 - without_padding.len() / 2);
    assert_eq!(HEXLOWER.encode(&bytes), expected);
}

#[test]
fn an_echo_in_bytes() {
    let echo = from_key(Body::Echo(Echo {
        nonce: 5,
        reply: false,
    }));
    let without_padding = "\
        0a310a1021fe31dfa154a261626bf854046fd227110807060504030201180720c3ab0228c0b802820109090500\
        0000000000002d010000007a2a";
    let expected = without_padding.to_owned() + &"00".repeat(42);
    assert_eq!(
        HEXLOWER.encode(&encode(&echo, &GroupKey::none(), None)),
        expected
    );
}

#[test]
fn a_beacon_with_a_filter_in_bytes() {
    let alive = from_key(Body::Alive(Alive {
        ttl: Duration::from_mins(1),
        known_nodes: 3,
        filter: Some(FilterPart {
            day: Day::from_number(20_000),
            index: 0,
            count: 1,
            bloom: Bloom::summaries(tags(1))[0].clone(),
        }),
    }));
    let bytes = encode(&alive, &GroupKey::none(), None);
    assert_eq!(bytes.len(), 189);
    assert_eq!(
        digest(&bytes),
        "f030404a71d74e04b37f114332028687a4e9b7f6d7c4cdc2000e4dca6b3b5201"
    );
}

#[test]
fn answers_peers_and_leaving_in_bytes() {
    let answer = Body::Answer(Answer {
        nonce: 5,
        day: Day::from_number(20_000),
        holdings: AtMost::first([Holding {
            tag: Tag::from_bits(0xa1),
            part: 255,
            state: HoldingState::Held,
        }]),
        held_back: None,
    });
    let peers = Body::Peers(Peers {
        nonce: 5,
        nodes: AtMost::first([NodeAddress {
            node: NodeId::from_bytes([1; 16]),
            address: Ipv4Addr::new(192, 168, 1, 2).into(),
            unicast_port: 40001,
            store_port: 38339,
        }]),
        more: true,
    });
    for (body, expected) in [
        (
            answer,
            "0a440a1021fe31dfa154a261626bf854046fd227110807060504030201180720c3ab0228c0b8026a1d0905\
             00000000000000120e09a10000000000000010ff01180118a09c012d01000000",
        ),
        (
            peers,
            "0a540a1021fe31dfa154a261626bf854046fd227110807060504030201180720c3ab0228c0b8027a2d0905\
             0000000000000012200a10010101010101010101010101010101011204c0a8010218c1b80220c3ab021801\
             2d01000000",
        ),
        (
            Body::Leaving,
            "0a270a1021fe31dfa154a261626bf854046fd227110807060504030201180720c3ab0228c0b8025a002d01\
             000000",
        ),
    ] {
        let bytes = encode(&from_key(body), &GroupKey::none(), None);
        assert_eq!(HEXLOWER.encode(&bytes), expected);
    }
}
