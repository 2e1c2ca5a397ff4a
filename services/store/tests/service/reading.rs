//! Peers read.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU64;
use std::path::Path;

use zeroshare_api::errors::{ErrorReason, metadata};
use zeroshare_content::{Algorithm, BlobId, Entry, GRAIN, HashKind, Piece, TreeId};
use zeroshare_proof::{GrainHasher, GrainVerdict, Midstates, check_grain};
use zeroshare_testkit::{Offered, TestTree, flip_byte};
use zeroshare_wire::convert::{Span, Wanted};
use zeroshare_wire::pb::content::v1::PieceState;
use zeroshare_wire::pb::store::v1::{
    ReadManifestRequest, ReadMidstatesRequest, ReadMidstatesResponse, ReadPiecesRequest,
    StatContentRequest, StreamEncoding, WatchPiecesRequest,
};

use crate::fixture::{Running, all, next, read, reason, request};

#[tokio::test]
async fn a_peer_reads_a_whole_tree_in_one_call() {
    let running = Running::start();
    for algorithm in [Algorithm::Sha1New, Algorithm::Sha256, Algorithm::Sha256New] {
        let tree = TestTree::with_slices(7);
        let offered = Offered::tree(&tree, algorithm);
        let (id, _) = running.put(&tree, "shared", algorithm).await;
        let mut wanted = request(id, all(offered.piece_count()));
        wanted.with_manifest = true;
        let received = read(&mut running.peers().await, &wanted).await.unwrap();

        let head = received.head.unwrap();
        assert_eq!(head.encoding(), StreamEncoding::Raw);
        assert_eq!(head.content_size_bytes, offered.content_size());
        assert_eq!(head.manifest_size_bytes, received.manifest.len() as u64);
        assert!(received.manifest == *offered.manifest_text());
        assert_eq!(received.pieces.len(), offered.piece_count() as usize);
        for ((header, data), number) in received.pieces.iter().zip(0..) {
            assert_eq!((header.piece, header.offset_bytes), (number, 0));
            assert!(data == &offered.piece(number).unwrap(), "piece {number}");
            let is_slice = matches!(offered.layout().piece(number), Some(Piece::Slice { .. }));
            assert_eq!(
                !header.list_digest.is_empty(),
                is_slice && algorithm != Algorithm::Sha1New
            );
        }
        fs::remove_dir_all(
            running
                .root("shared")
                .join(id.directory_name(algorithm).unwrap()),
        )
        .unwrap();
        running
            .until("it is gone", &id, |held| held.is_none())
            .await;
    }
    running.stop().await;
}

#[tokio::test]
async fn parts_of_pieces_come_in_the_order_asked_for() {
    let running = Running::start();
    let tree = TestTree::with_slices(1);
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let slice = offered.piece_count() - 2;
    let part = |piece, skip, limit| Span::Part {
        piece,
        skip,
        limit: NonZeroU64::new(limit),
    };
    let spans = vec![
        part(slice, 100, 7),
        Span::Pieces(0..2),
        part(1, 3, 0),
        part(slice, 1, GRAIN * 99),
    ];
    for recheck in [false, true] {
        let mut wanted = request(id, Wanted::Spans(spans.clone()));
        wanted.recheck = recheck;
        let received = read(&mut running.peers().await, &wanted).await.unwrap();
        let whole = |number| offered.piece(number).unwrap();
        let expected = [
            (slice, 100, whole(slice).slice(100..107)),
            (0, 0, whole(0)),
            (1, 0, whole(1)),
            (1, 3, whole(1).slice(3..)),
            (slice, 1, whole(slice).slice(1..)),
        ];
        assert_eq!(received.pieces.len(), expected.len());
        for ((header, data), (piece, offset, bytes)) in received.pieces.iter().zip(expected) {
            assert_eq!((header.piece, header.offset_bytes), (piece, offset));
            assert!(*data == bytes, "piece {piece} from {offset}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn the_store_chooses_pieces_that_it_sent_least() {
    let running = Running::start();
    let tree = TestTree::with_slices(2);
    let count = Offered::tree(&tree, Algorithm::Sha256New).piece_count();
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let mut sent = BTreeSet::new();
    let mut client = running.peers().await;
    let mut left = count - 1;
    while left > 0 {
        let at_most = left.min(4);
        let wanted = Wanted::Chosen {
            at_most,
            have: std::iter::once(0..1).collect(),
        };
        let received = read(&mut client, &request(id, wanted)).await.unwrap();
        assert_eq!(received.pieces.len(), at_most as usize);
        for (header, _) in received.pieces {
            assert!(
                header.piece != 0 && sent.insert(header.piece),
                "piece {} twice",
                header.piece
            );
        }
        left -= at_most;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_small_tree_needs_one_question_and_a_large_one_is_not_sent_unasked() {
    let running = Running::start();
    let tree = TestTree::small();
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let mut client = running.peers().await;
    for (bytes, pieces) in [
        (offered.content_size(), offered.piece_count()),
        (offered.content_size() - 1, 0),
    ] {
        let mut wanted = request(id, Wanted::AllIfAtMost(NonZeroU64::new(bytes).unwrap()));
        wanted.with_manifest = true;
        let received = read(&mut client, &wanted).await.unwrap();
        assert!(received.manifest == *offered.manifest_text());
        assert_eq!(received.pieces.len(), pieces as usize);
    }
    running.stop().await;
}

#[tokio::test]
async fn manifests_are_read_and_contents_are_described() {
    let running = Running::start();
    let tree = TestTree::many_files(3, 6000, 40);
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let (hidden, _) = running
        .put(&TestTree::small(), "own", Algorithm::Sha256New)
        .await;
    let mut client = running.peers().await;

    let request = ReadManifestRequest {
        tree_id: id.to_string(),
    };
    let mut stream = client.read_manifest(request).await.unwrap().into_inner();
    let (mut manifest, mut parts) = (Vec::new(), 0);
    while let Some(part) = next(&mut stream).await.unwrap() {
        manifest.extend_from_slice(&part.data);
        parts += 1;
    }
    assert!(
        manifest == *offered.manifest_text() && parts > 1,
        "{parts} parts"
    );

    let blob = BlobId::of(HashKind::Sha256, b"Say hello.\n");
    let content_ids = vec![
        hidden.to_string(),
        blob.to_string(),
        id.to_string(),
        id.to_string(),
    ];
    let stats = client
        .stat_content(StatContentRequest { content_ids })
        .await
        .unwrap()
        .into_inner()
        .stats;
    assert_eq!(stats.len(), 1);
    assert_eq!(stats[0].content_id, id.to_string());
    assert_eq!(stats[0].manifest_size_bytes, manifest.len() as u64);
    assert_eq!(stats[0].content_size_bytes, offered.content_size());
    assert_eq!(
        (stats[0].held_pieces, stats[0].total_pieces),
        (offered.piece_count(), offered.piece_count())
    );
    assert!(stats[0].list_digest.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn an_empty_tree_has_a_manifest_and_no_pieces() {
    let running = Running::start();
    let (id, _) = running
        .put(&TestTree::new(), "shared", Algorithm::Sha256New)
        .await;
    let mut client = running.peers().await;
    let wanted = request(id, Wanted::AllIfAtMost(NonZeroU64::MIN));
    let received = read(&mut client, &wanted).await.unwrap();
    assert_eq!(received.head.unwrap().content_size_bytes, 0);
    let request = ReadManifestRequest {
        tree_id: id.to_string(),
    };
    let mut stream = client.read_manifest(request).await.unwrap().into_inner();
    assert!(next(&mut stream).await.unwrap().unwrap().data.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn midstates_prove_each_grain_of_each_large_file() {
    let running = Running::start();
    let tree = TestTree::with_slices(4);
    let (id, path) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let large = large_files(&tree, &path);
    assert!(large.len() >= 3);
    let lists = midstates(&mut running.peers().await, of_files(id, &large))
        .await
        .unwrap();
    assert_eq!(lists.len(), large.len());
    for ((line, digest, bytes), given) in large.iter().zip(&lists) {
        let size = bytes.len() as u64;
        let list = Midstates::from_bytes(size, given.midstates.to_vec()).unwrap();
        assert_eq!(
            (given.file, given.first_grain, given.total_grains),
            (*line, 0, list.grains())
        );
        assert_eq!(given.list_digest, list.list_digest().to_vec());
        for (grain, index) in bytes.chunks(usize::try_from(GRAIN).unwrap()).zip(0..) {
            assert_eq!(
                check_grain(&list, size, digest, index, grain),
                GrainVerdict::Linked
            );
        }
        let mut hasher = GrainHasher::new();
        hasher.update(bytes);
        assert_eq!(hasher.finish().1, list);
    }
    running.stop().await;
}

#[tokio::test]
async fn lists_of_midstates_are_named_and_only_our_own_are_given() {
    let running = Running::start();
    let tree = TestTree::with_slices(4);
    let (id, path) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let large = large_files(&tree, &path);
    let mut client = running.peers().await;
    let lists = midstates(&mut client, of_files(id, &large)).await.unwrap();
    let names = ReadMidstatesRequest {
        digests_only: true,
        ..of_files(id, &large)
    };
    let names = midstates(&mut client, names).await.unwrap();
    assert_eq!(names.len(), lists.len());
    for ((file, given), named) in large.iter().zip(&lists).zip(&names) {
        assert_eq!(
            (&named.list_digest, named.midstates.len()),
            (&given.list_digest, 0)
        );
        let mut wanted = of_files(id, std::slice::from_ref(file));
        wanted.list_digest = given.list_digest.clone();
        let again = midstates(&mut client, wanted.clone()).await.unwrap();
        assert_eq!(again, std::slice::from_ref(given));
        wanted.list_digest = vec![7; 32].into();
        assert_eq!(
            reason(midstates(&mut client, wanted).await),
            ErrorReason::MidstatesNotKnown
        );
    }
    let directory = ReadMidstatesRequest {
        files: vec![0, 9999],
        ..of_files(id, &[])
    };
    assert_eq!(
        reason(midstates(&mut client, directory).await),
        ErrorReason::MidstatesNotKnown
    );
    running.stop().await;
}

#[tokio::test]
async fn all_pieces_of_a_whole_tree_are_reported_at_once() {
    let running = Running::start();
    let (id, _) = running
        .put(&TestTree::small(), "shared", Algorithm::Sha256New)
        .await;
    let mut client = running.peers().await;
    let watch = WatchPiecesRequest {
        content_id: id.to_string(),
    };
    let mut stream = client.watch_pieces(watch).await.unwrap().into_inner();
    let message = next(&mut stream).await.unwrap().unwrap();
    assert_eq!(
        (message.state(), message.snapshot_done),
        (PieceState::Proven, true)
    );
    assert_eq!((message.ranges[0].first, message.ranges[0].count), (0, 2));
    assert_eq!(next(&mut stream).await.unwrap(), None);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_offered_cannot_be_read() {
    let running = Running::start();
    let (own, _) = running
        .put(&TestTree::small(), "own", Algorithm::Sha256New)
        .await;
    let (oldest, _) = running
        .put(&TestTree::deep(2), "shared", Algorithm::Sha1)
        .await;
    let absent = TestTree::deep(4).tree_id(Algorithm::Sha256New);
    let blob = BlobId::of(HashKind::Sha256, b"deep\n");
    let mut client = running.peers().await;
    for id in [
        own.to_string(),
        oldest.to_string(),
        absent.to_string(),
        blob.to_string(),
    ] {
        let pieces = ReadPiecesRequest {
            content_id: id.clone(),
            ..ReadPiecesRequest::default()
        };
        let status = client.read_pieces(pieces).await.unwrap_err();
        assert_eq!(metadata(&status)["contentId"], id);
        assert_eq!(reason(Err::<(), _>(status)), ErrorReason::ContentNotFound);
        let watch = WatchPiecesRequest { content_id: id };
        assert_eq!(
            reason(client.watch_pieces(watch).await),
            ErrorReason::ContentNotFound
        );
    }
    let manifest = ReadManifestRequest {
        tree_id: own.to_string(),
    };
    assert_eq!(
        reason(client.read_manifest(manifest.clone()).await),
        ErrorReason::ContentNotFound
    );
    assert!(running.local_peers().read_manifest(manifest).await.is_ok());
    running.stop().await;
}

#[tokio::test]
async fn what_is_malformed_is_refused() {
    let running = Running::start();
    let (shared, _) = running
        .put(&TestTree::deep(3), "shared", Algorithm::Sha256New)
        .await;
    let mut client = running.peers().await;
    for id in [
        "",
        "sha256new_../../../etc",
        "../x",
        "sha256new_A\n",
        "sha256=00",
        "blob:md5:00",
        "\u{0}",
    ] {
        let pieces = ReadPiecesRequest {
            content_id: id.to_owned(),
            ..ReadPiecesRequest::default()
        };
        assert_eq!(
            reason(client.read_pieces(pieces).await),
            ErrorReason::MalformedRequest,
            "{id:?}"
        );
        let manifest = ReadManifestRequest {
            tree_id: id.to_owned(),
        };
        assert_eq!(
            reason(client.read_manifest(manifest).await),
            ErrorReason::MalformedRequest
        );
    }
    let too_many = StatContentRequest {
        content_ids: vec![shared.to_string(); 257],
    };
    assert_eq!(
        reason(client.stat_content(too_many).await),
        ErrorReason::MalformedRequest
    );
    let past_the_end = request(shared, Wanted::Spans(vec![Span::Pieces(0..9)]));
    assert_eq!(
        reason(read(&mut client, &past_the_end).await),
        ErrorReason::MalformedRequest
    );
    let no_file = ReadMidstatesRequest {
        content_id: shared.to_string(),
        ..ReadMidstatesRequest::default()
    };
    assert_eq!(
        reason(midstates(&mut client, no_file).await),
        ErrorReason::MalformedRequest
    );
    running.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_not_served_and_the_tree_is_quarantined() {
    let running = Running::start();
    let tree = TestTree::with_slices(5);
    let pieces = Offered::tree(&tree, Algorithm::Sha256New).piece_count();
    let (id, path) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let mut client = running.peers().await;
    flip_byte(&path.join("lib/even"), 0);
    let result = read(&mut client, &request(id, all(pieces))).await;
    assert_eq!(reason(result), ErrorReason::PieceNotHeld);

    running
        .until("it is quarantined", &id, |held| {
            held.is_some_and(|held| !held.offered)
        })
        .await;
    let result = read(&mut client, &request(id, all(pieces))).await;
    assert_eq!(reason(result), ErrorReason::ContentNotFound);
    running.stop().await;
}

/// Line, hash and contents of files that have midstates.
fn large_files(tree: &TestTree, path: &Path) -> Vec<LargeFile> {
    let manifest = tree.manifest(Algorithm::Sha256New);
    let lines = manifest.lines().iter().zip(0..);
    let large = lines.filter_map(|(line, number)| match line.entry {
        Entry::File {
            blob: BlobId::Sha256(digest),
            size,
            ..
        } if size > GRAIN => Some((
            number,
            digest,
            fs::read(path.join(line.path.as_path())).unwrap(),
        )),
        Entry::File { .. } | Entry::Directory | Entry::Symlink { .. } => None,
    });
    large.collect()
}

type LargeFile = (u32, [u8; 32], Vec<u8>);

fn of_files(id: TreeId, files: &[LargeFile]) -> ReadMidstatesRequest {
    ReadMidstatesRequest {
        content_id: id.to_string(),
        files: files.iter().map(|(line, ..)| *line).collect(),
        ..ReadMidstatesRequest::default()
    }
}

async fn midstates(
    client: &mut crate::fixture::Peers,
    request: ReadMidstatesRequest,
) -> Result<Vec<ReadMidstatesResponse>, tonic::Status> {
    let mut stream = client.read_midstates(request).await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = next(&mut stream).await? {
        messages.push(message);
    }
    Ok(messages)
}
