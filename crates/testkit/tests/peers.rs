//! The peers of tests do what they are told to, and no more.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tokio::time::timeout;
use tonic::Code;
use zeroshare_api::{
    clients,
    connect::{PeerChannelOptions, TracedChannel, local_channel, peer_channel},
    errors::{ErrorReason, reason, retry_after},
    rpc::store::v1::store_service_client::StoreServiceClient,
};
use zeroshare_content::{Algorithm, BlobId, ContentId, Family, HashKind, Layout, Manifest, Piece};
use zeroshare_testkit::{
    EvilManifest, FakeDiscovery, Fault, HeaderLie, Method, Offered, Peer, Scratch, TestTree, Which,
    announced, attack, eventually, evil_manifests, put_in_store,
};
use zeroshare_wire::{
    convert::{ReadPieces, Span, Wanted, to_duration},
    pb::{
        discovery::v1::{FindProvidersRequest, ProviderFault, ReportProviderRequest},
        store::v1::{
            PieceHeader, ReadManifestRequest, ReadPiecesRequest, StatContentRequest,
            WatchPiecesRequest, read_pieces_response::Part,
        },
    },
};

const LIMIT: Duration = Duration::from_secs(10);

type Client = StoreServiceClient<TracedChannel>;

#[tokio::test]
async fn an_honest_peer_serves_what_hashes_to_its_id() {
    let scratch = Scratch::new();
    let tree = TestTree::with_slices(1);
    let directory = put_in_store(&tree, scratch.path(), Algorithm::Sha256New);
    assert_eq!(TestTree::read_from(&directory), tree);

    let offered = Offered::directory(&directory, Family::Sha256);
    let id = offered.id();
    assert_eq!(id, ContentId::from(tree.tree_id(Algorithm::Sha256New)));
    let peer = Peer::honest([offered.clone()]);
    let read = read(&mut client(&peer).await, &all(&offered, true))
        .await
        .unwrap();
    assert_eq!(read.manifest, tree.manifest_text(Algorithm::Sha256New));
    assert_hashes(&offered, &read.pieces);

    let record = peer.record();
    assert_eq!(record.piece_bytes(), offered.content_size());
    assert_eq!(record.manifest_bytes(), read.manifest.len() as u64);
    let times = record.times_sent(&id);
    assert_eq!(times.len(), offered.piece_count() as usize);
    assert!(times.values().all(|&times| times == 1));
    assert!(record.calls[0].finished);
}

#[tokio::test]
async fn parts_choices_and_small_trees_are_served_as_the_contract_says() {
    let offered = offered();
    let last = offered.piece_count() - 1;
    let bytes = offered.piece(last).unwrap();
    let peer = Peer::honest([offered.clone()]);
    let mut client = client(&peer).await;

    let mut request = all(&offered, false);
    request.wanted = Wanted::Spans(vec![Span::Part {
        piece: last,
        skip: 3,
        limit: 5.try_into().ok(),
    }]);
    let part = read(&mut client, &request).await.unwrap();
    assert_eq!(part.pieces[0].0.offset_bytes, 3);
    assert_eq!(part.pieces[0].1, bytes[3..8]);

    request.wanted = Wanted::Chosen {
        at_most: 2,
        have: vec![0..1, 1..2],
    };
    let chosen = read(&mut client, &request).await.unwrap();
    let numbers: Vec<_> = chosen
        .pieces
        .iter()
        .map(|(header, _)| header.piece)
        .collect();
    assert_eq!(numbers, [2, 3]);

    for (bytes, pieces) in [
        (offered.content_size(), last + 1),
        (offered.content_size() - 1, 0),
    ] {
        request.wanted = Wanted::AllIfAtMost(bytes.try_into().unwrap());
        let all = read(&mut client, &request).await.unwrap();
        assert_eq!(all.pieces.len(), pieces as usize);
    }

    request.wanted = Wanted::Spans(vec![Span::Pieces(last..last + 2)]);
    let status = read(&mut client, &request).await.unwrap_err();
    assert_eq!(reason(&status), Some(ErrorReason::MalformedRequest));
}

#[tokio::test]
async fn a_partial_provider_says_what_it_holds() {
    let offered = offered().only(1..3);
    let peer = Peer::honest([offered.clone()]);
    let mut client = client(&peer).await;
    let request = StatContentRequest {
        content_ids: vec![offered.id().to_string(); 2],
    };
    let stats = client
        .stat_content(request)
        .await
        .unwrap()
        .into_inner()
        .stats;
    assert_eq!(stats.len(), 1);
    assert_eq!(
        (stats[0].held_pieces, stats[0].total_pieces),
        (2, offered.piece_count())
    );

    let request = WatchPiecesRequest {
        content_id: offered.id().to_string(),
    };
    let mut watch = client.watch_pieces(request).await.unwrap().into_inner();
    let snapshot = watch.message().await.unwrap().unwrap();
    assert_eq!((snapshot.ranges[0].first, snapshot.ranges[0].count), (1, 2));

    let status = read(&mut client, &all(&offered, false)).await.unwrap_err();
    assert_eq!(reason(&status), Some(ErrorReason::PieceNotHeld));
}

#[tokio::test]
async fn wrong_bytes_are_where_they_were_ordered() {
    let offered = offered();
    for (which, wrong) in [
        (Which::All, 0..offered.piece_count()),
        (Which::Number(1), 1..2),
        (Which::FromNth(2), 2..offered.piece_count()),
    ] {
        let peer = Peer::faulty([offered.clone()], [Fault::WrongBytes(which)]);
        let read = read(&mut client(&peer).await, &all(&offered, false))
            .await
            .unwrap();
        let differ: Vec<_> = read
            .pieces
            .iter()
            .filter(|(header, bytes)| offered.piece(header.piece).unwrap() != bytes)
            .map(|(header, _)| header.piece)
            .collect();
        assert_eq!(differ, wrong.collect::<Vec<_>>(), "{which:?}");
    }
}

#[tokio::test]
async fn what_breaks_off_breaks_off() {
    let offered = offered();
    // How a lost connection shows depends on what the network was doing.
    let lost = &[Code::Unknown, Code::Unavailable, Code::Internal][..];
    for (fault, codes) in [
        (Fault::EndInPiece(Which::Slices), &[][..]),
        (Fault::FailInPiece(Which::Slices), &[Code::Internal]),
        (Fault::CutInPiece(Which::Slices), lost),
        (Fault::HugeMessages(Which::Slices), &[Code::OutOfRange]),
    ] {
        let peer = Peer::faulty([offered.clone()], [fault.clone()]);
        let read = read(&mut client(&peer).await, &all(&offered, false)).await;
        match read {
            Ok(read) => {
                assert!(codes.is_empty(), "{fault:?}");
                let (header, bytes) = read.pieces.last().unwrap();
                assert!((bytes.len() as u64) < header.size_bytes);
            }
            Err(status) => assert!(codes.contains(&status.code()), "{fault:?}: {status}"),
        }
        assert!(!peer.record().calls[0].finished);
    }
}

#[tokio::test]
async fn lies_about_pieces_are_told() {
    let offered = offered();
    let lie = |lie| Fault::WrongHeader(Which::Number(0), lie);
    let honest = offered.piece(0).unwrap().len() as u64;
    for (fault, expected) in [
        (lie(HeaderLie::NextPiece), (1, 0, honest)),
        (lie(HeaderLie::NoPiece), (u32::MAX, 0, honest)),
        (lie(HeaderLie::Offset), (0, 1, honest)),
        (lie(HeaderLie::Shorter), (0, 0, honest - 1)),
        (lie(HeaderLie::Huge), (0, 0, u64::MAX)),
    ] {
        let peer = Peer::faulty([offered.clone()], [fault]);
        let read = read(&mut client(&peer).await, &all(&offered, false))
            .await
            .unwrap();
        let (header, bytes) = &read.pieces[0];
        assert_eq!(
            (header.piece, header.offset_bytes, header.size_bytes),
            expected
        );
        assert_eq!(bytes.len() as u64, honest);
    }
    let more = [Fault::OneByteMore(Which::All), Fault::Twice(Which::All)];
    let peer = Peer::faulty([offered.clone()], more);
    let read = read(&mut client(&peer).await, &all(&offered, false))
        .await
        .unwrap();
    assert_eq!(read.pieces.len(), 2 * offered.piece_count() as usize);
    assert_eq!(read.pieces[1].1.len() as u64, honest + 1);
}

#[tokio::test]
async fn a_stall_lasts_until_the_caller_leaves() {
    let offered = offered();
    for fault in [Fault::StallBeforeHead, Fault::StallInPiece(Which::All)] {
        let peer = Peer::faulty([offered.clone()], [fault]);
        let mut client = client(&peer).await;
        let request = all(&offered, false);
        let stalled = timeout(Duration::from_millis(50), read(&mut client, &request));
        assert!(stalled.await.is_err());
    }
}

#[tokio::test]
async fn claims_without_holding_are_found_out_by_asking() {
    let offered = offered();
    let request = StatContentRequest {
        content_ids: vec![offered.id().to_string()],
    };
    for (fault, expected) in [
        (Fault::LacksContent, ErrorReason::ContentNotFound),
        (Fault::LacksPieces(Which::All), ErrorReason::PieceNotHeld),
    ] {
        let peer = Peer::faulty([offered.clone()], [fault]);
        let mut client = client(&peer).await;
        let stats = client
            .stat_content(request.clone())
            .await
            .unwrap()
            .into_inner()
            .stats;
        assert_eq!(stats[0].held_pieces, stats[0].total_pieces);
        let status = read(&mut client, &all(&offered, false)).await.unwrap_err();
        assert_eq!(reason(&status), Some(expected));
    }
}

#[tokio::test]
async fn a_busy_peer_says_when_to_come_back() {
    let offered = offered();
    let after = Duration::from_millis(70);
    let peer = Peer::faulty([offered.clone()], [Fault::Busy(after)]);
    let mut client = client(&peer).await;
    let status = read(&mut client, &all(&offered, false)).await.unwrap_err();
    assert_eq!(reason(&status), Some(ErrorReason::TooManyTransfers));
    assert_eq!(retry_after(&status), Some(after));
    peer.set_faults([]);
    assert!(read(&mut client, &all(&offered, false)).await.is_ok());
}

#[tokio::test]
async fn an_endless_manifest_goes_on_as_long_as_it_is_read() {
    let offered = offered();
    let announced = true;
    let peer = Peer::faulty([offered.clone()], [Fault::EndlessManifest { announced }]);
    let mut client = client(&peer).await;
    let request = ReadManifestRequest {
        tree_id: offered.id().to_string(),
    };
    let mut manifest = client.read_manifest(request).await.unwrap().into_inner();
    for _ in 0..65 {
        let chunk = manifest.message().await.unwrap().unwrap();
        assert_eq!(chunk.data.len(), 1 << 20);
    }
    drop(manifest);
    assert!(!peer.record().calls[0].finished);
}

#[tokio::test]
async fn manifests_can_be_exchanged_and_spoilt() {
    let offered = offered();
    let evil = evil_manifests()[0].text.clone();
    let cases = [
        (Fault::WrongManifest, None),
        (Fault::ManifestInstead(evil.clone().into()), Some(evil)),
    ];
    for (fault, expected) in cases {
        let peer = Peer::faulty([offered.clone()], [fault]);
        let read = read(&mut client(&peer).await, &all(&offered, true))
            .await
            .unwrap();
        assert_ne!(read.manifest, **offered.manifest_text());
        assert!(expected.is_none_or(|expected| read.manifest == expected));
    }
}

#[test]
fn every_evil_manifest_is_refused_though_its_digest_is_right() {
    for EvilManifest { name, text } in evil_manifests() {
        let offered = Offered::manifest(Family::Sha256, text.clone());
        let ContentId::Tree(tree) = offered.id() else {
            panic!("a manifest names a tree");
        };
        let accepted = Manifest::verified(&tree, text)
            .is_ok_and(|manifest| Layout::of_manifest(&manifest).is_ok());
        assert!(!accepted, "accepted: {name}");
    }
}

#[tokio::test]
async fn a_killed_peer_is_gone_and_one_that_was_cut_comes_back() {
    let offered = offered();
    let peer = Peer::honest([offered.clone()]);
    let mut client = client(&peer).await;
    assert!(read(&mut client, &all(&offered, false)).await.is_ok());
    peer.cut();
    eventually("the channel connects anew", LIMIT, async || {
        read(&mut client, &all(&offered, false)).await.is_ok()
    })
    .await;
    peer.kill();
    let gone = || async {
        peer_channel(peer.address(), &PeerChannelOptions::default())
            .await
            .is_err()
    };
    eventually("nobody listens any more", LIMIT, async || gone().await).await;
    assert!(read(&mut client, &all(&offered, false)).await.is_err());
}

#[tokio::test]
async fn a_leaving_peer_ends_what_it_began() {
    let offered = offered();
    let peer = Peer::faulty([offered.clone()], [Fault::LeaveBefore(Which::Number(1))]);
    let read = read(&mut client(&peer).await, &all(&offered, false))
        .await
        .unwrap();
    assert_hashes(&offered, &read.pieces);
}

#[tokio::test]
async fn readers_that_never_read_hold_the_sender_back() {
    let offered = Offered::tree(&TestTree::one_file(3, 64 << 20), Algorithm::Sha256New);
    let peer = Peer::honest([offered.clone()]);
    let pieces = offered.piece_count();
    let open = || attack::DeafReaders::open(peer.address(), offered.id(), pieces, 2);
    let (readers, refused) = open().await;
    assert!(refused.is_none());
    assert_eq!((readers.count(), readers.cut_off()), (2, 0));
    assert!(!peer.record().calls.iter().any(|call| call.finished));
    for read in readers.listen_again().await {
        assert_eq!(read.unwrap(), offered.content_size());
    }

    let (readers, _) = open().await;
    peer.kill();
    eventually("the readers are cut off", LIMIT, async || {
        readers.cut_off() == 2
    })
    .await;
    assert!(readers.listen_again().await.iter().all(Result::is_err));
}

#[tokio::test]
async fn a_flood_holds_no_more_than_it_is_told_to() {
    let peer = Peer::honest([]);
    let flood = attack::Flood::open(peer.address(), 40, 10).await;
    assert_eq!(flood.refused(), 0);
    assert!(flood.still_open() <= 10);
}

#[tokio::test]
async fn the_fake_discovery_streams_early_and_late_providers_and_keeps_reports() {
    let scratch = Scratch::new();
    let discovery = FakeDiscovery::serve(&scratch.join("discovery.sock"));
    let wanted: ContentId = BlobId::of(HashKind::Sha256, b"wanted").into();
    let other: ContentId = BlobId::of(HashKind::Sha256, b"other").into();
    let address = |port| ([127, 0, 0, 1], port).into();
    discovery.announce(announced(&other, address(1)));
    discovery.announce(announced(&wanted, address(2)));

    let mut client = clients::discovery(local_channel(discovery.endpoint()));
    let find = |wait| FindProvidersRequest {
        content_ids: vec![wanted.to_string()],
        wait: Some(to_duration(wait)),
        enough: 0,
        with_askers: false,
    };
    let mut known = client
        .find_providers(find(Duration::ZERO))
        .await
        .unwrap()
        .into_inner();
    let found = known.message().await.unwrap().unwrap();
    assert_eq!(found.provider.unwrap().store_addresses[0].port, 2);
    assert!(known.message().await.unwrap().is_none());

    let mut late = client
        .find_providers(find(LIMIT))
        .await
        .unwrap()
        .into_inner();
    late.message().await.unwrap().unwrap();
    discovery.announce(announced(&wanted, address(3)));
    let found = late.message().await.unwrap().unwrap();
    assert_eq!(found.provider.unwrap().store_addresses[0].port, 3);

    let report = ReportProviderRequest {
        fault: ProviderFault::Convicted.into(),
        ..Default::default()
    };
    client.report_provider(report.clone()).await.unwrap();
    assert_eq!(discovery.reports(), [report]);
    assert_eq!(discovery.finds().len(), 2);
}

#[tokio::test]
async fn garbage_does_not_end_a_peer() {
    let offered = offered();
    let peer = Peer::honest([offered.clone()]);
    attack::garbage_connections(peer.address(), 1, 10).await;
    attack::garbage_calls(peer.address(), 2, 40).await;
    assert!(
        read(&mut client(&peer).await, &all(&offered, false))
            .await
            .is_ok()
    );
    assert!(peer.record().count(Method::ReadPieces) >= 1);
}

#[derive(Debug)]
struct Answer {
    manifest: Vec<u8>,
    pieces: Vec<(PieceHeader, Vec<u8>)>,
}

fn offered() -> Offered {
    Offered::tree(&TestTree::with_slices(7), Algorithm::Sha256New)
}

fn all(offered: &Offered, with_manifest: bool) -> ReadPieces {
    ReadPieces {
        content: offered.id(),
        wanted: Wanted::Spans(vec![Span::Pieces(0..offered.piece_count())]),
        with_manifest,
        recheck: false,
        accepted: vec![],
    }
}

async fn client(peer: &Peer) -> Client {
    let channel = peer_channel(peer.address(), &PeerChannelOptions::default()).await;
    clients::store(channel.unwrap())
}

async fn read(client: &mut Client, request: &ReadPieces) -> Result<Answer, tonic::Status> {
    let request = ReadPiecesRequest::from(request);
    let mut parts = client.read_pieces(request).await?.into_inner();
    let mut answer = Answer {
        manifest: vec![],
        pieces: vec![],
    };
    while let Some(response) = parts.message().await? {
        match response.part {
            Some(Part::Head(_)) | None => {}
            Some(Part::ManifestData(bytes)) => answer.manifest.extend(bytes),
            Some(Part::Header(header)) => answer.pieces.push((header, vec![])),
            Some(Part::Data(bytes)) => match answer.pieces.last_mut() {
                Some((_, data)) => data.extend(bytes),
                None => return Err(tonic::Status::internal("data before a header")),
            },
        }
    }
    Ok(answer)
}

/// Hashes what came, item by item.
fn assert_hashes(offered: &Offered, pieces: &[(PieceHeader, Vec<u8>)]) {
    let layout = offered.layout();
    let mut files = vec![vec![]; layout.items().len()];
    for (header, data) in pieces {
        assert_eq!(data.len() as u64, header.size_bytes);
        match layout.piece(header.piece).unwrap() {
            Piece::Run { items } => {
                let mut rest = &data[..];
                for item in items {
                    let size = usize::try_from(layout.items()[item as usize].size).unwrap();
                    files[item as usize].extend_from_slice(&rest[..size]);
                    rest = &rest[size..];
                }
            }
            Piece::Slice { item, .. } => files[item as usize].extend_from_slice(data),
        }
    }
    for (item, bytes) in layout.items().iter().zip(files) {
        assert_eq!(BlobId::of(item.blob.kind(), &bytes), item.blob);
    }
}
