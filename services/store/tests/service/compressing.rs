//! On slow lines pieces travel as one zstd stream.

use bytes::Bytes;
use zeroshare_content::{Algorithm, TreeId};
use zeroshare_testkit::{Offered, Scratch, TestTree};
use zeroshare_wire::convert::Encoding;
use zeroshare_wire::pb::store::v1::read_pieces_response::Part;
use zeroshare_wire::pb::store::v1::{PieceHeader, ReadPiecesRequest, StreamEncoding};
use zstd::stream::raw::{Decoder, Operation as _};

use crate::fixture::{Peers, Running, all, next, request};

const LARGE: usize = 1024 * 1024;

#[tokio::test]
async fn a_slow_line_gets_pieces_compressed_if_its_reader_takes_that() {
    let running = slow();
    let tree = TestTree::new()
        .file("text", "all work and no play\n".repeat(LARGE / 21))
        .file("small", "small")
        .symlink("link", "small");
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let mut peers = running.peers().await;
    let zstd = [Encoding::Zstd, Encoding::Raw];

    let unknown = read(&mut peers, id, &offered, &zstd).await;
    assert_eq!(
        unknown.encoding,
        StreamEncoding::Raw,
        "nobody knows the line yet"
    );
    let slow = read(&mut peers, id, &offered, &zstd).await;
    assert_eq!(slow.encoding, StreamEncoding::Zstd);
    assert!(slow.moved_bytes < LARGE / 50, "{} bytes", slow.moved_bytes);
    let refuses = read(&mut peers, id, &offered, &[Encoding::Raw]).await;
    assert_eq!(refuses.encoding, StreamEncoding::Raw);
    let local = read(&mut running.local_peers(), id, &offered, &zstd).await;
    assert_eq!(local.encoding, StreamEncoding::Raw);
    running.stop().await;
}

#[tokio::test]
async fn a_call_that_began_before_its_line_was_known_turns_to_compressing() {
    let running = slow();
    let line = |number: usize| format!("all work and no play {number}\n");
    let tree = TestTree::new().file("text", (0..4 * LARGE / 26).map(line).collect::<String>());
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let mut peers = running.peers().await;

    let read = read(&mut peers, id, &offered, &[Encoding::Zstd]).await;

    assert_eq!(read.encoding, StreamEncoding::Raw, "at first");
    assert_eq!(read.turns, [StreamEncoding::Zstd]);
    assert!(read.moved_bytes < 3 * LARGE, "{} bytes", read.moved_bytes);
    running.stop().await;
}

#[tokio::test]
async fn what_does_not_shrink_is_compressed_once() {
    let running = slow();
    let tree = TestTree::one_file(3, LARGE);
    let offered = Offered::tree(&tree, Algorithm::Sha256New);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let mut peers = running.peers().await;
    let mut encodings = Vec::new();
    for _ in 0..3 {
        let read = read(&mut peers, id, &offered, &[Encoding::Zstd]).await;
        encodings.push(read.encoding);
    }
    let expected = [
        StreamEncoding::Raw,
        StreamEncoding::Zstd,
        StreamEncoding::Raw,
    ];
    assert_eq!(encodings, expected);
    running.stop().await;
}

/// A store whose readers all seem to have slow lines.
fn slow() -> Running {
    Running::start_in(Scratch::new(), |config| {
        config.upload_limit_bytes = Some(2 * LARGE as u64);
    })
}

struct Read {
    /// As the head says.
    encoding: StreamEncoding,
    /// As headers say.
    turns: Vec<StreamEncoding>,
    moved_bytes: usize,
}

/// Reads everything, and compares each piece as soon as its last byte should be there.
async fn read(peers: &mut Peers, id: TreeId, offered: &Offered, accepted: &[Encoding]) -> Read {
    let mut wanted = request(id, all(offered.piece_count()));
    wanted.accepted = accepted.to_vec();
    let answer = peers.read_pieces(ReadPiecesRequest::from(&wanted)).await;
    let mut stream = answer.unwrap().into_inner();
    let mut read = Read {
        encoding: StreamEncoding::Unspecified,
        turns: Vec::new(),
        moved_bytes: 0,
    };
    let mut decoder = Decoder::new().unwrap();
    let mut piece: Option<(PieceHeader, Vec<u8>)> = None;
    let check = |piece: Option<(PieceHeader, Vec<u8>)>| {
        if let Some((header, bytes)) = piece {
            assert!(
                bytes == offered.piece(header.piece).unwrap(),
                "{}",
                header.piece
            );
        }
    };
    while let Some(message) = next(&mut stream).await.unwrap() {
        match message.part.unwrap() {
            Part::Head(head) => read.encoding = head.encoding(),
            Part::ManifestData(_) => {}
            Part::Header(header) => {
                if header.encoding() != StreamEncoding::Unspecified {
                    read.turns.push(header.encoding());
                    decoder = Decoder::new().unwrap();
                }
                check(piece.replace((header, Vec::new())));
            }
            Part::Data(data) => {
                read.moved_bytes += data.len();
                let (_, bytes) = piece.as_mut().unwrap();
                match read.turns.last().copied().unwrap_or(read.encoding) {
                    StreamEncoding::Zstd => decode(&mut decoder, &data, bytes),
                    StreamEncoding::Raw | StreamEncoding::Unspecified => bytes.extend(&data),
                }
            }
        }
    }
    check(piece);
    read
}

fn decode(decoder: &mut Decoder<'_>, data: &Bytes, to: &mut Vec<u8>) {
    let mut rest = &data[..];
    let mut room = vec![0; LARGE];
    loop {
        let done = decoder.run_on_buffers(rest, &mut room).unwrap();
        rest = &rest[done.bytes_read..];
        to.extend_from_slice(&room[..done.bytes_written]);
        if rest.is_empty() && done.bytes_written < room.len() {
            return;
        }
    }
}
