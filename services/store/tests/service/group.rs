//! The store of a group.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroshare_api::clients;
use zeroshare_api::connect::{ConnectError, PeerChannelOptions, peer_channel};
use zeroshare_content::Algorithm;
use zeroshare_identity::{GroupSecret, Member, node_key};
use zeroshare_testkit::{Offered, Scratch, TestTree};
use zeroshare_wire::pb::store::v1::{DescribeStoreRequest, ListPublicRequest, StatContentRequest};

use crate::fixture::{LIMIT, Running, all, read, request};

const SECRET: &[u8] = b"the members know it";

fn running() -> Running {
    Running::start_in(Scratch::new(), |config| {
        config.group = Some(GroupSecret::of(SECRET));
    })
}

fn options(secret: &[u8]) -> PeerChannelOptions {
    let key = node_key::in_memory().unwrap();
    let member = Member::new(&GroupSecret::of(secret), &key).unwrap();
    PeerChannelOptions {
        member: Some(Arc::new(member)),
        ..PeerChannelOptions::default()
    }
}

#[tokio::test]
async fn a_member_reads_and_knows_which_node_it_reads_from() {
    let running = running();
    let tree = TestTree::with_slices(5);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let key = node_key::on_disk(&running.scratch.directory("state")).unwrap();
    for wanted in [None, Some(key.node_id())] {
        let options = options(SECRET).expecting(wanted);
        let channel = peer_channel(running.address, &options).await.unwrap();
        assert_eq!(channel.node_key(), Some(key.public_key()));
        let mut client = clients::store(channel);
        let listed = client.list_public(ListPublicRequest {}).await.unwrap();
        assert_eq!(listed.into_inner().tree_ids, [id.to_string()]);
        let whole = request(id, all(offered.piece_count()));
        let received = read(&mut client, &whole).await.unwrap();
        for ((_, data), number) in received.pieces.iter().zip(0..) {
            assert!(data == &offered.piece(number).unwrap(), "piece {number}");
        }
        assert_eq!(received.pieces.len(), offered.piece_count() as usize);
    }
    let mut local = running.local();
    let described = local.describe_store(DescribeStoreRequest {});
    let readers = described.await.unwrap().into_inner().readers;
    assert_eq!(readers[0], "only members of the group");
    running.stop().await;
}

#[tokio::test]
async fn who_knows_another_secret_or_none_is_not_served() {
    let running = running();
    let refused = peer_channel(running.address, &options(b"they know another one")).await;
    assert!(
        matches!(refused, Err(ConnectError::Unproven { .. })),
        "{refused:?}"
    );
    let stranger = PeerChannelOptions::default();
    if let Ok(channel) = peer_channel(running.address, &stranger).await {
        let mut client = clients::store(channel);
        let calling = client.stat_content(StatContentRequest::default());
        timeout(LIMIT, calling).await.unwrap().unwrap_err();
        let listing = client.list_public(ListPublicRequest {});
        timeout(LIMIT, listing).await.unwrap().unwrap_err();
    }
    running.stop().await;
}

#[tokio::test]
async fn another_member_than_the_one_that_was_found_is_not_read() {
    let running = running();
    let other = node_key::in_memory().unwrap().node_id();
    let refused = peer_channel(running.address, &options(SECRET).expecting(Some(other))).await;
    assert!(
        matches!(refused, Err(ConnectError::Unproven { .. })),
        "{refused:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn health_is_no_strangers_business_either() {
    let running = running();
    let mut io = TcpStream::connect(running.address).await.unwrap();
    io.write_all(b"POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    match timeout(LIMIT, io.read_to_end(&mut answer)).await.unwrap() {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    assert_eq!(answer, b"");
    running.stop().await;
}
