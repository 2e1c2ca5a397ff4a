//! What is still being fetched is offered meanwhile.

use std::fs;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use zeroshare_api::errors::{ErrorReason, retry_after};
use zeroshare_content::{Algorithm, TreeId};
use zeroshare_proof::{GrainHasher, Midstates};
use zeroshare_testkit::{Offered, TestTree, flip_byte};
use zeroshare_wire::convert::{ReadPieces, Span, Wanted, to_duration};
use zeroshare_wire::pb::content::v1::{PieceRange, PieceState};
use zeroshare_wire::pb::store::v1::{
    FileMidstates, OfferPartialRequest, OfferPartialResponse, PauseSharingRequest,
    ReadMidstatesRequest, StatContentRequest, WatchPiecesRequest,
};

use crate::fixture::{Running, next, read, reason, request};
use crate::holding::{commit, describe};

struct Offering {
    messages: mpsc::Sender<OfferPartialRequest>,
    answers: Streaming<OfferPartialResponse>,
}

#[tokio::test]
async fn staged_pieces_are_served_and_no_others() {
    let running = Running::start();
    let tree = TestTree::with_slices(3);
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let id = stage(&running, &tree, "tmp-1");
    let offering = offer(&running, first(&running, &offered, id, &[(0, 2), (3, 1)]))
        .await
        .unwrap();

    let mut client = running.peers().await;
    let stat = StatContentRequest {
        content_ids: vec![id.to_string()],
    };
    let stats = client
        .stat_content(stat.clone())
        .await
        .unwrap()
        .into_inner()
        .stats;
    assert_eq!(
        (stats[0].held_pieces, stats[0].total_pieces),
        (3, offered.piece_count())
    );
    let received = read(&mut client, &pieces(id, 0..2)).await.unwrap();
    assert_eq!(received.pieces[1].1, offered.piece(1).unwrap());
    assert_eq!(
        read(&mut client, &pieces(id, 3..4)).await.unwrap().pieces[0].1,
        offered.piece(3).unwrap()
    );
    assert_eq!(
        reason(read(&mut client, &pieces(id, 1..4)).await),
        ErrorReason::PieceNotHeld
    );
    let wanted = Wanted::Chosen {
        at_most: 99,
        have: std::iter::once(0..1).collect(),
    };
    assert_eq!(
        read(&mut client, &request(id, wanted))
            .await
            .unwrap()
            .pieces
            .len(),
        2
    );

    offering.end().await;
    assert_eq!(
        client.stat_content(stat).await.unwrap().into_inner().stats,
        []
    );
    assert_eq!(
        reason(read(&mut client, &pieces(id, 0..1)).await),
        ErrorReason::ContentNotFound
    );
    running.stop().await;
}

#[tokio::test]
async fn a_watcher_hears_of_pieces_as_they_come_and_of_an_offer_given_up() {
    let running = Running::start();
    let tree = TestTree::with_slices(3);
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let id = stage(&running, &tree, "tmp-1");
    let offering = offer(&running, first(&running, &offered, id, &[(0, 2)]))
        .await
        .unwrap();

    let mut client = running.peers().await;
    let watch = WatchPiecesRequest {
        content_id: id.to_string(),
    };
    let mut watching = client.watch_pieces(watch).await.unwrap().into_inner();
    let held = next(&mut watching).await.unwrap().unwrap();
    assert_eq!(
        (held.state(), held.ranges),
        (PieceState::Proven, vec![PieceRange { first: 0, count: 2 }])
    );
    assert!(next(&mut watching).await.unwrap().unwrap().snapshot_done);

    let more = OfferPartialRequest {
        ranges: vec![PieceRange { first: 3, count: 1 }],
        state: PieceState::Linked.into(),
        ..OfferPartialRequest::default()
    };
    offering.messages.send(more).await.unwrap();
    let change = next(&mut watching).await.unwrap().unwrap();
    assert_eq!(
        (change.state(), change.ranges[0].first),
        (PieceState::Linked, 3)
    );
    assert!(read(&mut client, &pieces(id, 3..4)).await.is_ok());

    offering.end().await;
    assert_eq!(
        reason(next(&mut watching).await),
        ErrorReason::ContentNotFound
    );
    running.stop().await;
}

#[tokio::test]
async fn a_pause_ends_the_watches_of_peers_and_leaves_those_of_this_machine() {
    let running = Running::start();
    let tree = TestTree::with_slices(3);
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let id = stage(&running, &tree, "tmp-1");
    let offering = offer(&running, first(&running, &offered, id, &[(0, 2)]))
        .await
        .unwrap();
    let watch = WatchPiecesRequest {
        content_id: id.to_string(),
    };
    let mut watches = Vec::new();
    for mut client in [running.peers().await, running.local_peers()] {
        let mut watching = client
            .watch_pieces(watch.clone())
            .await
            .unwrap()
            .into_inner();
        for _ in 0..2 {
            next(&mut watching).await.unwrap().unwrap();
        }
        watches.push(watching);
    }
    let duration = Some(to_duration(Duration::from_mins(5)));
    running
        .local()
        .pause_sharing(PauseSharingRequest { duration })
        .await
        .unwrap();

    let refused = next(&mut watches[0]).await.unwrap_err();
    assert!(retry_after(&refused) > Some(Duration::from_mins(4)));
    assert_eq!(reason::<()>(Err(refused)), ErrorReason::NotAllowed);
    let more = OfferPartialRequest {
        ranges: vec![PieceRange { first: 3, count: 1 }],
        state: PieceState::Linked.into(),
        ..OfferPartialRequest::default()
    };
    offering.messages.send(more).await.unwrap();
    let change = next(&mut watches[1]).await.unwrap().unwrap();
    assert_eq!(change.ranges[0].first, 3);
    running.stop().await;
}

#[tokio::test]
async fn a_watcher_hears_the_end_when_everything_is_there() {
    let running = Running::start();
    let tree = TestTree::with_slices(3);
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let id = stage(&running, &tree, "tmp-1");
    let offering = offer(&running, first(&running, &offered, id, &[(0, 1)]))
        .await
        .unwrap();
    let watch = WatchPiecesRequest {
        content_id: id.to_string(),
    };
    let mut watching = running
        .peers()
        .await
        .watch_pieces(watch)
        .await
        .unwrap()
        .into_inner();
    for _ in 0..2 {
        next(&mut watching).await.unwrap().unwrap();
    }
    let store = running.root("shared");
    let path = store.join(id.to_string());
    fs::rename(store.join("tmp-1"), &path).unwrap();
    commit(&running, describe(&tree, &id, &path)).await.unwrap();
    drop(offering);
    let last = next(&mut watching).await.unwrap().unwrap();
    assert_eq!(
        last.ranges,
        [PieceRange {
            first: 0,
            count: offered.piece_count()
        }]
    );
    assert_eq!(next(&mut watching).await.unwrap(), None);
    running.stop().await;
}

#[tokio::test]
async fn midstates_of_what_is_staged_are_given_as_far_as_they_are_known() {
    let running = Running::start();
    let (message, id, list) = staged_large_file(&running);
    let (start, rest) = list.as_bytes().split_at(64);
    let message = OfferPartialRequest {
        midstates: Some(given(0, start)),
        ..message
    };
    let offering = offer(&running, message).await.unwrap();

    let mut client = running.peers().await;
    let wanted = ReadMidstatesRequest {
        content_id: id.to_string(),
        files: vec![0],
        ..ReadMidstatesRequest::default()
    };
    let mut stream = client.read_midstates(wanted).await.unwrap().into_inner();
    let known = next(&mut stream).await.unwrap().unwrap();
    assert_eq!(
        (known.total_grains, known.midstates.as_ref()),
        (list.grains(), start)
    );
    assert!(known.list_digest.is_empty());
    assert!(
        read(&mut client, &pieces(id, 0..1)).await.unwrap().pieces[0]
            .0
            .list_digest
            .is_empty()
    );

    let watch = WatchPiecesRequest {
        content_id: id.to_string(),
    };
    let mut watching = client.watch_pieces(watch).await.unwrap().into_inner();
    assert_eq!(
        next(&mut watching).await.unwrap().unwrap().known_midstates,
        2
    );
    next(&mut watching).await.unwrap();
    let more = OfferPartialRequest {
        midstates: Some(given(2, rest)),
        ranges: vec![PieceRange { first: 1, count: 1 }],
        state: PieceState::Linked.into(),
        ..OfferPartialRequest::default()
    };
    offering.messages.send(more).await.unwrap();
    let known = next(&mut watching).await.unwrap().unwrap().known_midstates;
    assert_eq!(known + 1, list.grains());
    let received = read(&mut client, &pieces(id, 0..2)).await.unwrap();
    let digest = list.list_digest().to_vec();
    assert!(
        received
            .pieces
            .iter()
            .all(|(header, _)| header.list_digest == digest)
    );
    running.stop().await;
}

#[tokio::test]
async fn a_piece_that_went_bad_is_offered_no_more_until_it_is_there_anew() {
    let running = Running::start();
    let (message, id, list) = staged_large_file(&running);
    let message = OfferPartialRequest {
        midstates: Some(given(0, list.as_bytes())),
        ..message
    };
    let both = vec![PieceRange { first: 0, count: 2 }];
    let again = OfferPartialRequest {
        ranges: both.clone(),
        state: PieceState::Linked.into(),
        ..OfferPartialRequest::default()
    };
    let offering = offer(
        &running,
        OfferPartialRequest {
            ranges: both,
            ..message
        },
    )
    .await
    .unwrap();
    let data = running.root("shared").join("tmp-1/data");
    flip_byte(&data, 3);
    let mut client = running.peers().await;
    let mut rechecked = pieces(id, 0..1);
    rechecked.recheck = true;
    let mut failed = async || reason(read(&mut client, &rechecked).await);
    assert_eq!(failed().await, ErrorReason::StoreCorrupt);
    assert_eq!(failed().await, ErrorReason::PieceNotHeld);
    let mut client = running.peers().await;
    let other = read(&mut client, &pieces(id, 1..2)).await.unwrap();
    assert_eq!(other.pieces.len(), 1, "the others are as they were");

    flip_byte(&data, 3);
    let watch = WatchPiecesRequest {
        content_id: id.to_string(),
    };
    let mut watching = client.watch_pieces(watch).await.unwrap().into_inner();
    while !next(&mut watching).await.unwrap().unwrap().snapshot_done {}
    offering.messages.send(again).await.unwrap();
    next(&mut watching).await.unwrap();
    assert_eq!(read(&mut client, &rechecked).await.unwrap().pieces.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn midstates_that_do_not_fit_the_file_are_refused() {
    let running = Running::start();
    let (message, _, list) = staged_large_file(&running);
    let too_many = [list.as_bytes(), &[0; 32]].concat();
    for midstates in [
        given(1, list.as_bytes()),
        given(0, &too_many),
        given(0, &[0; 31]),
    ] {
        let message = OfferPartialRequest {
            midstates: Some(midstates),
            ..message.clone()
        };
        assert_eq!(
            reason(offer(&running, message).await),
            ErrorReason::MalformedRequest
        );
    }
    let elsewhere = FileMidstates {
        file: 1,
        first_grain: 0,
        midstates: vec![0; 32].into(),
    };
    let message = OfferPartialRequest {
        midstates: Some(elsewhere),
        ..message
    };
    assert_eq!(
        reason(offer(&running, message).await),
        ErrorReason::MalformedRequest
    );
    running.stop().await;
}

#[tokio::test]
async fn stated_pieces_carry_the_word_of_their_origin() {
    let running = Running::start();
    let tree = TestTree::small();
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let id = stage(&running, &tree, "tmp-1");
    let mut message = first(&running, &offered, id, &[(1, 1), (0, 1)]);
    message.state = PieceState::Stated.into();
    message.origin_peer_id = "00112233445566778899aabbccddeeff".to_owned();
    assert_eq!(
        reason(offer(&running, message.clone()).await),
        ErrorReason::MalformedRequest
    );
    message.stated_digests = vec![vec![1; 32].into(), vec![2; 32].into()];
    let _offering = offer(&running, message.clone()).await.unwrap();

    let mut client = running.peers().await;
    let wanted = request(id, Wanted::Spans(vec![Span::Pieces(0..2)]));
    let received = read(&mut client, &wanted).await.unwrap();
    let digests: Vec<u8> = received
        .pieces
        .iter()
        .map(|(header, _)| header.stated_digest[0])
        .collect();
    assert_eq!(digests, [2, 1]);
    let watch = WatchPiecesRequest {
        content_id: id.to_string(),
    };
    let mut watching = client.watch_pieces(watch).await.unwrap().into_inner();
    let stated = next(&mut watching).await.unwrap().unwrap();
    assert_eq!(stated.state(), PieceState::Stated);
    assert_eq!(stated.origin_peer_id, message.origin_peer_id);
    assert_eq!(stated.stated_digests, [vec![2; 32], vec![1; 32]]);
    running.stop().await;
}

#[tokio::test]
async fn nothing_but_a_staging_directory_of_a_known_store_can_be_offered() {
    let running = Running::start();
    let tree = TestTree::small();
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let id = stage(&running, &tree, "tmp-1");
    let good = first(&running, &offered, id, &[(0, 1)]);
    let other = TestTree::deep(1).tree_id(Algorithm::Sha256New);
    let shared = running.root("shared");
    fs::rename(shared.join("tmp-1"), shared.join("staged")).unwrap();
    std::os::unix::fs::symlink("staged", shared.join("tmp-1")).unwrap();

    let refused = async |change: &dyn Fn(&mut OfferPartialRequest)| {
        let mut message = good.clone();
        change(&mut message);
        offer(&running, message).await.map(drop).unwrap_err()
    };
    for name in [
        "",
        ".",
        "..",
        "tmp-",
        "tmp-1",
        "tmp-/../staged",
        "tmp-1/bin",
        "staged",
        "tmp-none",
    ] {
        refused(&|message| message.staging_name = name.to_owned()).await;
    }
    fs::remove_file(shared.join("tmp-1")).unwrap();
    fs::rename(shared.join("staged"), shared.join("tmp-1")).unwrap();
    let root = running.scratch.path().to_str().unwrap().to_owned();
    for root in [
        root,
        "/".to_owned(),
        String::new(),
        format!("{}/../shared", shared.display()),
    ] {
        refused(&|message| message.store_root = root.clone()).await;
    }
    refused(&|message| message.content_id = other.to_string()).await;
    refused(&|message| message.content_id = "x".to_owned()).await;
    refused(&|message| message.content_size_bytes += 1).await;
    refused(&|message| message.state = 0).await;
    refused(&|message| message.ranges[0].count = 9).await;
    refused(&|message| message.ranges[0].count = 0).await;
    assert!(offer(&running, good).await.is_ok());
    running.stop().await;
}

/// Stages a file of several slices; gives an offer of its first, and its midstates.
fn staged_large_file(running: &Running) -> (OfferPartialRequest, TreeId, Midstates) {
    let tree = TestTree::one_file(4, 600_000);
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let id = stage(running, &tree, "tmp-1");
    let mut hasher = GrainHasher::new();
    hasher.update(&fs::read(running.root("shared").join("tmp-1/data")).unwrap());
    (
        first(running, &offered, id, &[(0, 1)]),
        id,
        hasher.finish().1,
    )
}

fn given(first_grain: u32, midstates: &[u8]) -> FileMidstates {
    FileMidstates {
        file: 0,
        first_grain,
        midstates: midstates.to_vec().into(),
    }
}

/// Writes a tree where a fetcher stages it.
fn stage(running: &Running, tree: &TestTree, name: &str) -> TreeId {
    let id = tree.tree_id(Algorithm::Sha256New);
    let path = zeroshare_testkit::put_in_store(
        tree,
        &running.root("shared-staging"),
        Algorithm::Sha256New,
    );
    fs::rename(path, running.root("shared").join(name)).unwrap();
    id
}

fn first(
    running: &Running,
    offered: &Offered,
    id: TreeId,
    ranges: &[(u32, u32)],
) -> OfferPartialRequest {
    OfferPartialRequest {
        content_id: id.to_string(),
        store_root: running.root("shared").to_str().unwrap().to_owned(),
        staging_name: "tmp-1".to_owned(),
        content_size_bytes: offered.content_size(),
        ranges: ranges
            .iter()
            .map(|(first, count)| PieceRange {
                first: *first,
                count: *count,
            })
            .collect(),
        state: PieceState::Proven.into(),
        ..OfferPartialRequest::default()
    }
}

async fn offer(running: &Running, first: OfferPartialRequest) -> Result<Offering, tonic::Status> {
    let (messages, receiver) = mpsc::channel(4);
    messages.send(first).await.unwrap();
    let stream = running
        .local()
        .offer_partial(ReceiverStream::new(receiver))
        .await?;
    let mut answers = stream.into_inner();
    assert!(next(&mut answers).await?.is_some(), "it was accepted");
    Ok(Offering { messages, answers })
}

fn pieces(id: TreeId, range: std::ops::Range<u32>) -> ReadPieces {
    request(id, Wanted::Spans(vec![Span::Pieces(range)]))
}

impl Offering {
    /// Gives the offer up, and waits until the store took notice.
    async fn end(mut self) {
        drop(self.messages);
        assert!(next(&mut self.answers).await.unwrap().is_some(), "it ended");
        assert_eq!(next(&mut self.answers).await.unwrap(), None);
    }
}

impl std::fmt::Debug for Offering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Offering")
    }
}
