//! Nobody holds more than a share, nor for ever.

use std::time::Duration;

use zeroshare_api::errors::{ErrorReason, retry_after};
use zeroshare_content::{Algorithm, ContentId};
use zeroshare_testkit::attack::DeafReaders;
use zeroshare_testkit::{Offered, Scratch, TestTree, eventually};
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::store::v1::{
    DescribeStoreRequest, PauseSharingRequest, ReadPiecesRequest, StatContentRequest,
    WatchContentRequest, watch_content_response::Event,
};

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
async fn while_sharing_is_paused_peers_get_nothing_and_nothing_is_offered() {
    let running = Running::start();
    let tree = TestTree::with_slices(1);
    let pieces = Offered::tree(&tree, Algorithm::Sha256New).piece_count();
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let pause = async |duration: Option<Duration>| {
        let duration = duration.map(to_duration);
        let request = PauseSharingRequest { duration };
        running
            .local()
            .pause_sharing(request)
            .await
            .map(|answer| answer.into_inner().resume_time)
    };
    assert!(pause(Some(Duration::from_mins(5))).await.unwrap().is_some());

    let mut peers = running.peers().await;
    let refused = read(&mut peers, &request(id, all(pieces)))
        .await
        .unwrap_err();
    assert_eq!(reason::<()>(Err(refused.clone())), ErrorReason::NotAllowed);
    assert!(retry_after(&refused) > Some(Duration::from_mins(4)));
    let stat = StatContentRequest {
        content_ids: vec![id.to_string()],
    };
    assert!(peers.stat_content(stat.clone()).await.is_err());
    assert!(!running.held(&id).await.unwrap().offered);
    let own = read(&mut running.local_peers(), &request(id, all(pieces)))
        .await
        .unwrap();
    assert_eq!(own.pieces.len(), pieces as usize, "this machine reads on");
    let described = running
        .local()
        .describe_store(DescribeStoreRequest {})
        .await
        .unwrap();
    assert!(described.into_inner().resume_time.is_some());

    let too_long = pause(Some(Duration::from_hours(24 * 32)))
        .await
        .unwrap_err();
    assert_eq!(reason::<()>(Err(too_long)), ErrorReason::MalformedRequest);
    assert_eq!(pause(None).await.unwrap(), None);
    assert!(running.held(&id).await.unwrap().offered);
    assert_eq!(
        peers
            .stat_content(stat.clone())
            .await
            .unwrap()
            .into_inner()
            .stats
            .len(),
        1
    );

    running.stop().await;
}

#[tokio::test]
async fn who_watches_learns_of_a_pause_and_of_its_end() {
    let running = Running::start();
    let tree = TestTree::with_slices(1);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let mut watch = running
        .local()
        .watch_content(WatchContentRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut next = async |wanted: bool| loop {
        let event = watch.message().await.unwrap().unwrap().event;
        if let Some(Event::Held(held)) = event
            && held.content_id == id.to_string()
            && held.offered == wanted
        {
            return;
        }
    };
    next(true).await;
    let duration = Some(to_duration(Duration::from_millis(100)));
    running
        .local()
        .pause_sharing(PauseSharingRequest { duration })
        .await
        .unwrap();
    next(false).await;
    next(true).await;
    let stat = StatContentRequest {
        content_ids: vec![id.to_string()],
    };
    let stats = running.peers().await.stat_content(stat).await.unwrap();
    assert_eq!(stats.into_inner().stats.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn peers_are_sent_no_more_than_the_limit_and_this_machine_is_not_limited() {
    const LIMITED: usize = 1024 * 1024;
    let running = Running::start_in(Scratch::new(), |config| {
        config.upload_limit_bytes = Some(2 * LIMITED as u64);
    });
    let tree = TestTree::one_file(1, LIMITED);
    let pieces = Offered::tree(&tree, Algorithm::Sha256New).piece_count();
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let took = async |mut peers| {
        let began = std::time::Instant::now();
        let received = read(&mut peers, &request(id, all(pieces))).await.unwrap();
        assert_eq!(received.pieces.len(), pieces as usize);
        began.elapsed()
    };
    // All but what a burst lets through, and the last portion, which is paid for by the next.
    assert!(took(running.peers().await).await > Duration::from_millis(300));
    took(running.local_peers()).await;
    let described = running
        .local()
        .describe_store(DescribeStoreRequest {})
        .await
        .unwrap();
    assert_eq!(
        described.into_inner().upload_limit_bytes,
        2 * LIMITED as u64
    );
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
