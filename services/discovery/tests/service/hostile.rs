//! Garbage at the port.

use std::net::UdpSocket;

use zeroshare_membership::Road;
use zeroshare_testkit::eventually;

use crate::{
    node::{LIMIT, Node, content, group_port},
    store::FakeStore,
};

/// A minute of it runs with the lab; here only until all kinds were seen.
const DATAGRAMS: usize = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_dropped_and_counted_and_peers_are_found_all_the_same() {
    let port = group_port();
    let holder = Node::start(port, &[Road::Multicast4]).await;
    let _store = FakeStore::start(&holder.store_address(), 4711, &[content("it")]);
    let asker = Node::start(port, &[Road::Multicast4]).await;
    let unicast = u16::try_from(asker.describe().await.unicast_port).expect("a port");
    let attacker = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket2::SockRef::from(&attacker)
        .set_ttl_v4(255)
        .expect("a TTL");
    let mut rng = fastrand::Rng::with_seed(1);
    let mut garbage = [0; 1_400];
    for _ in 0..DATAGRAMS {
        rng.fill(&mut garbage);
        let len = rng.usize(..garbage.len());
        // A full queue loses some, as on any network.
        drop(attacker.send_to(&garbage[..len], ("127.0.0.1", unicast)));
    }
    eventually("drops are counted", LIMIT, async || {
        let network = asker.describe().await;
        network
            .drops
            .iter()
            .any(|drop| drop.reason == "malformed" && drop.datagrams > 100)
    })
    .await;
    let found = asker.find_at_last(&content("it")).await;
    assert_eq!(found.content_id, content("it").to_string());
}
