use std::net::{Ipv4Addr, UdpSocket};

use zeroshare_content::{BlobId, HashKind};
use zeroshare_membership::{Presence, Road, Settings};
use zeroshare_wire::datagram::{Body, GroupKey, SigningKey, decode};

use super::*;
use crate::sockets::UnicastSockets;

/// Nothing here takes as long.
const LIMIT: Duration = Duration::from_secs(20);

/// Where 0share's clients look for archives.
const STORE_PORT: u16 = 7;

/// An engine that has slept since the first of all days.
fn engine() -> Engine {
    let now = Instant::now();
    let settings = Settings {
        key: SigningKey::from_seed(&[1; 32]),
        incarnation: 1,
        unicast_port: 1,
        group: GroupKey::none(),
        presence: Presence::Announced,
        allowed: Vec::new(),
        day: Day::from_number(0),
        memory: Memory::default(),
        assumed_nodes: 0,
    };
    let lifetime = Lifetime::new();
    let unicast = UnicastSockets::bind(0, true).unwrap();
    let unicast_port = unicast.port();
    let (inbox, _) = mpsc::channel(1);
    let parts = Parts {
        machine: Membership::new(now, settings, fastrand::Rng::with_seed(1)),
        sockets: Sockets::new(unicast_port, unicast, inbox, lifetime.clone()).unwrap(),
        unicast_port,
        state_dir: None,
        memory: Memory::default(),
        zero_share: Some(ZeroShare::new(STORE_PORT)),
        advert: Advert::default(),
    };
    let (commands, _) = mpsc::channel(1);
    Engine::new(parts, commands.downgrade(), lifetime)
}

#[tokio::test]
async fn a_question_after_a_sleep_is_of_the_day_it_is() {
    let mut engine = engine();
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    engine.obey(Command::StaticPeers(vec![peer.local_addr().unwrap()]));
    let (found, _found) = mpsc::channel(1);
    let before = today();
    engine.obey(Command::Find(FindRequest {
        key: LookupKey(1),
        contents: vec![ContentId::Blob(BlobId::of(HashKind::Sha256, b"it"))],
        wait: LIMIT,
        trace: None,
        enough: None,
        explained: false,
        askers: false,
        news: found,
    }));
    engine.do_what_is_due();
    engine.flush();
    let day = loop {
        let mut buffer = [0; 2048];
        let len = peer.recv(&mut buffer).unwrap();
        let datagram = decode(&buffer[..len], &GroupKey::none()).unwrap();
        if let Body::Query(query) = datagram.body {
            break query.day;
        }
    };
    assert!(before <= day && day <= today());
}

#[tokio::test]
async fn the_original_0share_is_told_of_what_is_held_whole_if_it_is_next_door() {
    let mut engine = engine();
    let [held, partly, arriving] = [1, 2, 3].map(|byte| {
        let digest = [byte; 32];
        zeroshare_content::TreeId::new(zeroshare_content::Family::Sha256, &digest).unwrap()
    });
    engine.obey(Command::Holding(held.into(), u8::MAX));
    engine.obey(Command::Holding(partly.into(), 100));
    engine.obey(Command::Arriving(
        arriving.into(),
        u8::MAX,
        HoldingState::Member,
    ));
    let asker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    asker.set_read_timeout(Some(LIMIT)).unwrap();
    let ask = |engine: &mut Engine, first: &str| {
        let bytes = format!("{first}\n{partly}\n{held}\n{arriving}").into_bytes();
        let arrival = zeroshare_membership::Arrival {
            source: asker.local_addr().unwrap(),
            interface: None,
            road: Road::Unicast,
            ttl: Some(u8::MAX),
        };
        engine.hear(Instant::now(), &Incoming { arrival, bytes });
        engine.parts.sockets.sent()
    };
    assert_eq!(ask(&mut engine, "0share"), 0, "from nowhere");
    engine.obey(Command::Interfaces(vec![loopback()]));
    assert_eq!(ask(&mut engine, "0share"), 0, "without a store");
    engine.obey(Command::StorePort(STORE_PORT + 1));
    assert_eq!(ask(&mut engine, "0share"), 0, "where it does not look");
    engine.obey(Command::StorePort(STORE_PORT));
    assert_eq!(ask(&mut engine, "0sharing"), 0, "another word");
    assert_eq!(ask(&mut engine, "0share-reply"), 0, "a reply");
    assert_eq!(ask(&mut engine, "0share"), 1);
    let mut buffer = [0; 2048];
    let len = asker.recv(&mut buffer).unwrap();
    let reply = format!("0share-reply\n{held}");
    assert_eq!(str::from_utf8(&buffer[..len]).unwrap(), reply);
    engine.obey(Command::Holding(held.into(), 0));
    assert_eq!(ask(&mut engine, "0share"), 1, "it is gone");
    assert_eq!(engine.parts.machine.counters().received, 0);
}

fn loopback() -> UsableInterface {
    UsableInterface {
        index: 1,
        name: "lo".to_owned(),
        addresses: ["127.0.0.1/8".parse().unwrap()].into(),
        broadcasts: std::collections::BTreeSet::new(),
        roads: std::collections::BTreeSet::new(),
    }
}
