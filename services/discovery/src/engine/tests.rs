use std::net::{Ipv4Addr, UdpSocket};

use zeroshare_content::{BlobId, HashKind};
use zeroshare_membership::{Presence, Settings};
use zeroshare_wire::datagram::{Body, GroupKey, SigningKey, decode};

use super::*;
use crate::sockets::UnicastSockets;

/// Nothing here takes as long.
const LIMIT: Duration = Duration::from_secs(20);

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
