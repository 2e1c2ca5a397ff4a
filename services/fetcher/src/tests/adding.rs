//! Trees of one's own.

use std::path::Path;

use bytes::Bytes;
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_content::{Algorithm, Entry};
use zeroshare_testkit::{TestEntry, TestTree, eventually};
use zeroshare_wire::pb::fetcher::v1::{AddContentRequest, AddContentResponse};

use super::machine::{LIMIT, Machine};

const ALGORITHM: Algorithm = Algorithm::Sha256New;

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_added_as_it_comes() {
    for algorithm in [Algorithm::Sha256New, Algorithm::Sha1New] {
        for tree in [
            TestTree::new(),
            TestTree::with_slices(31),
            TestTree::many_files(32, 500, 5000),
        ] {
            let machine = Machine::new();
            let added = add(&machine, messages(&tree, algorithm, 100_000))
                .await
                .unwrap();
            let id = tree.tree_id(algorithm);
            assert_eq!(added.content_id, id.to_string());
            assert!(Path::new(&added.path).starts_with(machine.store()));
            assert!(machine.holds(&id));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_there_needs_no_bytes() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(33);
    let first = add(&machine, messages(&tree, ALGORITHM, 1024 * 1024))
        .await
        .unwrap();
    let mut short = messages(&tree, ALGORITHM, 1024 * 1024);
    short.retain(|message| message.data.is_empty());
    assert_eq!(add(&machine, short).await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_match_is_not_added() {
    let tree = TestTree::small();
    let other = TestTree::new().tree_id(ALGORITHM).to_string();
    let whole = messages(&tree, ALGORITHM, 1024);
    let changed = |change: &dyn Fn(&mut Vec<AddContentRequest>)| {
        let mut messages = whole.clone();
        change(&mut messages);
        messages
    };
    let last = whole
        .iter()
        .position(|message| !message.data.is_empty())
        .unwrap();
    let cases = [
        (
            changed(&|all| all[0].content_id = other.clone()),
            ErrorReason::DigestMismatch,
        ),
        (
            changed(&|all| all[last].data = flipped(&all[last].data)),
            ErrorReason::DigestMismatch,
        ),
        (
            changed(&|all| all.truncate(last)),
            ErrorReason::MalformedRequest,
        ),
        (
            changed(&|all| all[last].file = 9999),
            ErrorReason::MalformedRequest,
        ),
        (
            changed(&|all| all[last].data = vec![0; 5000].into()),
            ErrorReason::MalformedRequest,
        ),
        (
            changed(&|all| all[last].data = all[last].data.slice(1..)),
            ErrorReason::MalformedRequest,
        ),
        (
            changed(&|all| all[1].manifest_data = "F x\n".into()),
            ErrorReason::DigestMismatch,
        ),
        (vec![], ErrorReason::MalformedRequest),
    ];
    for (index, (messages, reason)) in cases.into_iter().enumerate() {
        let machine = Machine::new();
        let status = add(&machine, messages).await.unwrap_err();
        assert_eq!(
            errors::reason(&status),
            Some(reason),
            "case {index}: {status}"
        );
        assert_eq!(machine.shown(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_did_not_finish_is_removed() {
    let machine = Machine::new();
    let tree = TestTree::with_slices(34);
    let whole = messages(&tree, ALGORITHM, 100_000);
    let half = whole[..whole.len() / 2].to_vec();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = machine.client.clone();
    let call = client.add_content(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let entries = async || {
        let listed = std::fs::read_dir(machine.store());
        listed.map_or(0, Iterator::count)
    };
    let half_of_it = async {
        for message in half {
            sender.send(message).await.unwrap();
        }
        eventually("it is begun", LIMIT, async || entries().await > 0).await;
    };
    // The call is dropped in the middle.
    tokio::select! {
        answer = call => panic!("it cannot be over: {answer:?}"),
        () = half_of_it => {}
    }
    eventually("it is gone", LIMIT, async || entries().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_bytes_are_refused() {
    let whole = messages(&TestTree::small(), ALGORITHM, 1024);
    for place in [1, 2, whole.len()] {
        let machine = Machine::new();
        let mut messages = whole.clone();
        messages.insert(place, AddContentRequest::default());
        let status = add(&machine, messages).await.unwrap_err();
        assert_eq!(errors::reason(&status), Some(ErrorReason::MalformedRequest));
    }
}

async fn add(
    machine: &Machine,
    messages: Vec<AddContentRequest>,
) -> Result<AddContentResponse, tonic::Status> {
    let added = machine
        .client
        .clone()
        .add_content(tokio_stream::iter(messages))
        .await;
    added.map(tonic::Response::into_inner)
}

/// What a client sends for a tree.
fn messages(tree: &TestTree, algorithm: Algorithm, part: usize) -> Vec<AddContentRequest> {
    let manifest = tree.manifest(algorithm);
    let mut messages = vec![AddContentRequest {
        content_id: tree.tree_id(algorithm).to_string(),
        ..AddContentRequest::default()
    }];
    messages.extend(manifest.text().chunks(part).map(|data| AddContentRequest {
        manifest_data: Bytes::copy_from_slice(data),
        ..AddContentRequest::default()
    }));
    for (line, number) in manifest.lines().iter().zip(0..) {
        let bytes = match (&line.entry, tree.at(line.path.as_bytes())) {
            (Entry::Directory, _) | (_, None | Some(TestEntry::Directory)) => continue,
            (_, Some(TestEntry::File { bytes, .. })) => bytes.clone(),
            (_, Some(TestEntry::Symlink { target })) => Bytes::from(target.clone()),
        };
        messages.extend(bytes.chunks(part).map(|data| AddContentRequest {
            file: number,
            data: Bytes::copy_from_slice(data),
            ..AddContentRequest::default()
        }));
    }
    messages
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[0] ^= 1;
    bytes.into()
}
