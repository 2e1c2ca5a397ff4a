//! Nobody holds more than a share, nor for ever.

use std::time::Duration;

use zeroshare_api::errors::{ErrorReason, retry_after};
use zeroshare_content::{Algorithm, ContentId};
use zeroshare_testkit::attack::DeafReaders;
use zeroshare_testkit::{Offered, Scratch, TestTree, eventually};
use zeroshare_wire::pb::store::v1::{DescribeStoreRequest, ReadPiecesRequest};

use crate::fixture::{LIMIT, Running, all, read, reason, request};

/// More than all buffers between a store and a reader that does not read.
const LARGE: usize = 40 * 1024 * 1024;

#[tokio::test]
async fn a_reader_that_stops_is_cut_off_and_its_slot_is_free_again() {
    let running = Running::start_in(Scratch::new(), |config| {
        config.bounds.stall = Duration::from_millis(300);
        config.part_deadline = Duration::from_millis(300);
    });
    let tree = TestTree::one_file(1, LARGE);
    let pieces = Offered::tree(&tree, Algorithm::Sha256New).piece_count();
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let (deaf, refused) = DeafReaders::open(running.address, ContentId::Tree(id), pieces, 3).await;
    assert!(refused.is_none(), "{refused:?}");
    eventually("the slots are free again", LIMIT, async || {
        transfers(&running).await == 0
    })
    .await;
    for result in deaf.listen_again().await {
        assert!(
            !matches!(result, Ok(bytes) if bytes == LARGE as u64),
            "{result:?}"
        );
    }
    let received = read(&mut running.peers().await, &request(id, all(pieces)))
        .await
        .unwrap();
    assert_eq!(received.pieces.len(), pieces as usize);
    running.stop().await;
}

#[tokio::test]
async fn one_peer_gets_so_many_transfers_and_is_told_when_to_come_back() {
    let running = Running::start_in(Scratch::new(), |config| config.max_transfers_per_peer = 2);
    let tree = TestTree::one_file(1, LARGE);
    let pieces = Offered::tree(&tree, Algorithm::Sha256New).piece_count();
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let wanted = ReadPiecesRequest::from(&request(id, all(pieces)));
    let mut client = running.peers().await;
    let first = client.read_pieces(wanted.clone()).await.unwrap();
    let _second = client.read_pieces(wanted.clone()).await.unwrap();
    let status = client.read_pieces(wanted.clone()).await.unwrap_err();
    assert!(retry_after(&status).is_some_and(|after| after <= Duration::from_secs(5)));
    assert_eq!(reason(Err::<(), _>(status)), ErrorReason::TooManyTransfers);
    // This machine's own services are not held up by peers.
    assert!(
        running
            .local_peers()
            .read_pieces(wanted.clone())
            .await
            .is_ok()
    );
    drop(first);
    eventually("there is room", LIMIT, async || {
        client.clone().read_pieces(wanted.clone()).await.is_ok()
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_stops_does_not_wait_for_its_readers() {
    let running = Running::start();
    let tree = TestTree::one_file(1, LARGE);
    let pieces = Offered::tree(&tree, Algorithm::Sha256New).piece_count();
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let (deaf, _) = DeafReaders::open(running.address, ContentId::Tree(id), pieces, 1).await;
    running.stop().await;
    drop(deaf);
}

async fn transfers(running: &Running) -> u32 {
    let described = running
        .local()
        .describe_store(DescribeStoreRequest {})
        .await;
    described.unwrap().into_inner().active_transfers
}
