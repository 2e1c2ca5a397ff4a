//! Who shares a secret, and who does not.

use std::time::Duration;

use zeroshare_membership::{Destination, Road};
use zeroshare_wire::{
    AtMost,
    datagram::{
        Body, Day, DayKey, Echo, GroupKey, MAX_DATAGRAM_BYTES, NodeAddress, Peers, PeersRequest,
        Query,
    },
    pb::beacon::v1 as pb,
};

use crate::bench::{Bench, DAY, Other, SECOND, alive, answer, content, query};

fn group() -> GroupKey {
    GroupKey::from_keys([1; 32], [2; 32])
}

fn another_group() -> GroupKey {
    GroupKey::from_keys([3; 32], [4; 32])
}

fn at(last: u8, group: GroupKey) -> Other {
    Other {
        group,
        ..Other::at(last)
    }
}

/// A member that holds something.
fn holder() -> Bench {
    let mut bench = Bench::of(group());
    bench.machine.handle_holding(bench.now, content("it"), 255);
    bench.pass(5 * SECOND);
    bench.said();
    bench
}

/// A question for what is held, under the names of a group and of a day.
fn question(nonce: u64, group: &GroupKey, day: u32) -> Query {
    let day = Day::from_number(day);
    Query {
        day,
        tags: AtMost::first([DayKey::new(day, group).tag(&content("it"))]),
        ..query(nonce, "it")
    }
}

fn answers(bench: &mut Bench) -> usize {
    let said = bench.said().into_iter();
    said.filter(|said| matches!(said.datagram.body, Body::Answer(_)))
        .count()
}

/// Everything that anybody can say.
fn all_speech(group: &GroupKey) -> Vec<Body> {
    let node = NodeAddress {
        node: Other::at(77).node(),
        address: [10, 0, 0, 77].into(),
        unicast_port: 1,
        store_port: 1,
    };
    let echo = |reply| Body::Echo(Echo { nonce: 1, reply });
    vec![
        alive(),
        Body::Query(question(1, group, DAY)),
        answer(2, "it"),
        Body::PeersRequest(PeersRequest {
            nonce: 3,
            after: None,
        }),
        Body::Peers(Peers {
            nonce: 3,
            nodes: AtMost::first([node]),
            more: false,
        }),
        echo(false),
        echo(true),
        Body::Leaving,
    ]
}

#[test]
fn nothing_that_an_outsider_says_is_answered_or_remembered() {
    for (outside, in_group) in [(GroupKey::none(), false), (another_group(), true)] {
        let mut bench = holder();
        let stranger = at(9, outside.clone());
        let mut said = 0;
        for body in all_speech(&outside) {
            for bytes in [stranger.bytes(body.clone()), stranger.signed_bytes(body)] {
                for road in [Road::Multicast4, Road::Unicast] {
                    bench.hear_bytes(stranger.source, road, &bytes);
                    said += 1;
                }
            }
        }
        assert!(bench.said().is_empty() && bench.events().is_empty());
        assert_eq!(bench.machine.table_len(), 0);
        assert_eq!(bench.drops("other_group"), said);
        let [outsider] = bench.machine.outsiders()[..] else {
            panic!("one stranger");
        };
        assert_eq!(
            (outsider.address, outsider.datagrams, outsider.in_group),
            (stranger.source, said, in_group)
        );
    }
}

#[test]
fn who_is_in_no_group_does_not_hear_those_who_are() {
    let mut bench = Bench::new();
    bench.machine.handle_holding(bench.now, content("it"), 255);
    let member = at(1, group());
    bench.hear(&member, alive());
    bench.hear(&member, Body::Query(question(1, &GroupKey::none(), DAY)));
    assert_eq!(answers(&mut bench), 0);
    assert_eq!(bench.machine.table_len(), 0);
    assert!(bench.machine.outsiders()[0].in_group && !bench.machine.is_in_group());
}

#[test]
fn members_meet_and_answer_to_names_of_their_group_alone() {
    let mut bench = holder();
    let member = at(1, group());
    bench.meet(&member);
    assert_eq!(bench.machine.peers(bench.now).len(), 1);
    for (nonce, names, expected) in [
        (1, group(), 1),
        (2, GroupKey::none(), 0),
        (3, another_group(), 0),
    ] {
        bench.hear(&member, Body::Query(question(nonce, &names, DAY)));
        assert_eq!(answers(&mut bench), expected, "{names:?}");
    }
}

#[test]
fn names_change_with_the_day_and_those_of_the_days_beside_it_count() {
    let mut bench = holder();
    let member = at(1, group());
    let ask = |bench: &mut Bench, nonce, day| {
        bench.hear(&member, Body::Query(question(nonce, &group(), day)));
        answers(bench)
    };
    assert_eq!(ask(&mut bench, 1, DAY + 1), 1);
    assert_eq!(ask(&mut bench, 2, DAY + 2), 0);
    bench
        .machine
        .handle_day(bench.now, Day::from_number(DAY + 1));
    bench.pass(SECOND);
    bench.said();
    assert_eq!(ask(&mut bench, 3, DAY + 2), 1);
    assert_eq!(ask(&mut bench, 4, DAY), 1);
    assert_eq!(ask(&mut bench, 5, DAY - 1), 0);
}

#[test]
fn a_mac_that_was_changed_cut_or_taken_from_elsewhere_is_none() {
    let mut bench = holder();
    let member = at(1, group());
    let right = member.bytes(alive());
    let other = member.bytes(Body::Query(question(1, &group(), DAY)));
    let taken = opened(&other).group_mac;
    let with_mac = |mac: Vec<u8>| {
        let mut envelope = opened(&right);
        envelope.group_mac = mac.into();
        prost::Message::encode_to_vec(&envelope)
    };
    let mac = opened(&right).group_mac.to_vec();
    let mut forged = vec![
        with_mac(taken.to_vec()),
        with_mac(mac[..15].to_vec()),
        with_mac([&mac[..], &[0]].concat()),
        with_mac(Vec::new()),
    ];
    for bit in 0..128 {
        let mut flipped = mac.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        forged.push(with_mac(flipped));
    }
    let count = u64::try_from(forged.len()).expect("few");
    for bytes in forged {
        bench.hear_bytes(member.source, Road::Multicast4, &bytes);
    }
    assert_eq!(bench.drops("other_group"), count);
    assert_eq!(bench.machine.table_len(), 0);
    bench.hear_bytes(member.source, Road::Multicast4, &right);
    assert_eq!(bench.machine.table_len(), 1);
}

#[test]
fn what_was_overheard_and_is_said_again_brings_nobody_in() {
    let mut bench = holder();
    let member = at(1, group());
    let heard_from = at(9, group()).source;
    // The beacon of a member, from where no member is.
    bench.hear_bytes(heard_from, Road::Multicast4, &member.bytes(alive()));
    bench.pass(Duration::from_secs(2));
    let asked = bench.said();
    assert!(
        asked
            .iter()
            .all(|said| matches!(said.datagram.body, Body::Echo(_))
                || said.to != Destination::One(heard_from)),
        "only an echo is asked for, which cannot be sent back: {asked:?}"
    );
    assert!(bench.machine.peers(bench.now).is_empty());
    // A question is answered once, wherever it comes from.
    let overheard = member.bytes(Body::Query(question(1, &group(), DAY)));
    bench.hear_bytes(member.source, Road::Multicast4, &overheard);
    assert_eq!(answers(&mut bench), 1);
    bench.hear_bytes(member.source, Road::Multicast4, &overheard);
    assert_eq!(answers(&mut bench), 0);
    assert!(bench.drops("duplicate") >= 1);
}

fn opened(bytes: &[u8]) -> pb::Envelope {
    assert!(bytes.len() <= MAX_DATAGRAM_BYTES);
    prost::Message::decode(bytes).expect("our own format")
}
