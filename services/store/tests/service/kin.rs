//! What older programs of the family get by HTTP/1.1.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::time::Duration;

use flate2::read::GzDecoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroshare_content::{Algorithm, TreeId};
use zeroshare_kin::Kin;
use zeroshare_store::StoreConfig;
use zeroshare_testkit::{Scratch, TestEntry, TestTree, eventually, flip_byte};
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::store::v1::{DescribeStoreRequest, PauseSharingRequest};

use crate::fixture::{LIMIT, Running};

/// More than all buffers between a store and a reader that does not read.
const LARGE: usize = 40 * 1024 * 1024;

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    code: u16,
    head: String,
    body: Vec<u8>,
    /// Whether it has the end that it must have.
    is_whole: bool,
}

fn implementation(id: &TreeId) -> String {
    format!("/implementation/{id}")
}

async fn ask(running: &Running, method: &str, path: &str) -> Answer {
    let mut io = TcpStream::connect(running.address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // What is broken off may end with an error.
    drop(timeout(LIMIT, io.read_to_end(&mut bytes)).await.unwrap());
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = bytes.split_at(end.unwrap() + 4);
    let head = String::from_utf8(head.to_vec()).unwrap().to_lowercase();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.contains("transfer-encoding: chunked");
    let (body, is_whole) = if chunked {
        unchunked(body)
    } else {
        (body.to_vec(), true)
    };
    Answer {
        code,
        head,
        body,
        is_whole,
    }
}

/// Puts chunks together (RFC 9112, section 7.1), and says whether the last one came.
fn unchunked(mut chunks: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = chunks.get(end + 2..end + 2 + size) else {
            break;
        };
        body.extend_from_slice(chunk);
        chunks = chunks.get(end + 2 + size + 2..).unwrap_or_default();
    }
    (body, false)
}

/// What an archive has below its root; directories are left out.
fn read_tar(archive: impl io::Read) -> BTreeMap<Vec<u8>, TestEntry> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        let kind = header.entry_type();
        if kind.is_dir() {
            continue;
        }
        let what = if kind.is_symlink() {
            TestEntry::Symlink {
                target: entry.link_name_bytes().unwrap().into_owned(),
            }
        } else {
            let executable = header.mode().unwrap() & 0o111 != 0;
            let mtime = header.mtime().unwrap().cast_signed();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            TestEntry::File {
                bytes: bytes.into(),
                executable,
                mtime,
            }
        };
        found.insert(entry.path_bytes().into_owned(), what);
    }
    found
}

fn expected(tree: &TestTree) -> BTreeMap<Vec<u8>, TestEntry> {
    let entries = tree.entries();
    let entries = entries.filter(|(_, entry)| !matches!(entry, TestEntry::Directory));
    let owned = entries.map(|(path, entry)| (path.to_vec(), entry.clone()));
    owned.collect()
}

async fn transfers(running: &Running) -> u32 {
    let described = running
        .local()
        .describe_store(DescribeStoreRequest {})
        .await;
    described.unwrap().into_inner().active_transfers
}

#[tokio::test]
async fn both_ways_to_ask_give_the_tree() {
    let running = Running::start();
    let tree = TestTree::with_slices(1).symlink("to a copy", "Say hello.\n");
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let answer = ask(&running, "GET", &implementation(&id)).await;
    assert_eq!((answer.code, answer.is_whole), (200, true));
    let media_type = "content-type: application/x-compressed-tar\r\n";
    assert!(answer.head.contains(media_type), "{}", answer.head);
    assert!(read_tar(GzDecoder::new(&answer.body[..])) == expected(&tree));

    let names = id.directory_names().join(",");
    let unknown = "sha1new=0123456789abcdef0123456789abcdef01234567";
    for (extension, media_type) in [
        ("tar.gz", "application/x-compressed-tar"),
        ("tar", "application/x-tar"),
        ("zip", "application/zip"),
    ] {
        let path = format!("/{unknown},{names}.{extension}");
        let head = ask(&running, "HEAD", &path).await;
        assert_eq!((head.code, head.body.len()), (200, 0));
        let answer = ask(&running, "GET", &path).await;
        assert_eq!((answer.code, answer.is_whole), (200, true));
        assert!(answer.head.contains(media_type), "{}", answer.head);
        assert!(!answer.body.is_empty());
        if extension == "tar" {
            assert!(read_tar(&answer.body[..]) == expected(&tree));
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_tree_of_many_files_is_read_in_the_order_of_its_manifest() {
    let running = Running::start();
    let tree = TestTree::many_files(3, 5_000, 900);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha1New).await;
    let answer = ask(&running, "GET", &implementation(&id)).await;
    assert!(read_tar(GzDecoder::new(&answer.body[..])) == expected(&tree));
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_offered_is_not_there() {
    let running = Running::start();
    let own = TestTree::one_file(1, 10);
    let (own, _) = running.put(&own, "own", Algorithm::Sha256New).await;
    let tree = TestTree::small().file("a\\b", "for tar only");
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let nobodys = TestTree::one_file(2, 10).tree_id(Algorithm::Sha256New);
    for (code, method, path) in [
        (404, "GET", implementation(&own)),
        (404, "GET", implementation(&nobodys)),
        (404, "HEAD", format!("/{nobodys}.tar.gz")),
        (404, "HEAD", format!("/{id}.tar.bz2")),
        (404, "GET", format!("/{id}.zip")),
        (404, "GET", "/".to_owned()),
        (400, "GET", "/implementation/../etc/passwd".to_owned()),
        (400, "GET", "/nothing.zip".to_owned()),
        (405, "POST", implementation(&id)),
        (405, "DELETE", format!("/{id}.tar.gz")),
        (200, "HEAD", format!("/{id}.tar.gz")),
    ] {
        let answer = ask(&running, method, &path).await;
        assert_eq!(answer.code, code, "{method} {path}");
    }
    assert_eq!(running.list().await.len(), 2, "gRPC goes on");
    running.stop().await;
}

#[tokio::test]
async fn each_can_be_switched_off() {
    async fn check(change: impl FnOnce(&mut StoreConfig), zero_share: u16, dotnet: u16) {
        let running = Running::start_in(Scratch::new(), change);
        let tree = TestTree::small();
        let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
        let answer = ask(&running, "HEAD", &implementation(&id)).await;
        assert_eq!(answer.code, zero_share);
        let answer = ask(&running, "HEAD", &format!("/{id}.zip")).await;
        assert_eq!(answer.code, dotnet);
        running.stop().await;
    }
    // Both are on at first.
    check(|_| (), 200, 200).await;
    let without = |kin| move |config: &mut StoreConfig| config.kin.retain(|one| *one != kin);
    check(without(Kin::ZeroShare), 404, 200).await;
    check(without(Kin::DotNet), 200, 404).await;
    check(|config| config.kin = BTreeSet::new(), 404, 404).await;
}

#[tokio::test]
async fn while_sharing_is_paused_there_are_no_archives() {
    let running = Running::start();
    let (id, _) = running
        .put(&TestTree::small(), "shared", Algorithm::Sha256New)
        .await;
    let duration = Some(to_duration(Duration::from_mins(5)));
    let pausing = running
        .local()
        .pause_sharing(PauseSharingRequest { duration })
        .await;
    pausing.unwrap();
    let answer = ask(&running, "GET", &implementation(&id)).await;
    assert_eq!(answer.code, 403);
    running.stop().await;
}

#[tokio::test]
async fn whoever_does_not_read_on_is_cut_off_and_others_are_told_to_come_back() {
    let running = Running::start_in(Scratch::new(), |config| {
        config.max_transfers = 1;
        config.bounds.stall = Duration::from_millis(300);
        config.part_deadline = Duration::from_millis(300);
    });
    let tree = TestTree::one_file(1, LARGE);
    let (id, _) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    let mut deaf = TcpStream::connect(running.address).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nhost: t\r\n\r\n", implementation(&id));
    deaf.write_all(request.as_bytes()).await.unwrap();
    deaf.readable().await.unwrap();
    let answer = ask(&running, "GET", &implementation(&id)).await;
    assert_eq!(answer.code, 503);
    eventually("the slot is free again", LIMIT, async || {
        transfers(&running).await == 0
    })
    .await;
    let mut taken = Vec::new();
    drop(timeout(LIMIT, deaf.read_to_end(&mut taken)).await.unwrap());
    assert!(taken.len() < LARGE && !taken.ends_with(b"\r\n0\r\n\r\n"));
    let answer = ask(&running, "GET", &implementation(&id)).await;
    assert_eq!((answer.code, answer.is_whole), (200, true));
    running.stop().await;
}

#[tokio::test]
async fn an_archive_of_a_tree_that_changed_is_broken_off() {
    let running = Running::start();
    let tree = TestTree::with_slices(7);
    let (id, path) = running.put(&tree, "shared", Algorithm::Sha256New).await;
    flip_byte(&path.join("share/grüße.txt"), 0);
    let answer = ask(&running, "GET", &format!("/{id}.tar")).await;
    // Found out before the first byte, or behind it.
    assert!(answer.code != 200 || !answer.is_whole, "{}", answer.head);
    running.stop().await;
}
