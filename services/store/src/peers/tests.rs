use tokio_stream::StreamExt as _;
use tonic::Code;
use zeroshare_testkit::{TestTree, eventually};

use super::*;
use crate::fixture::{Fixture, from_peer};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

#[tokio::test]
async fn a_reader_of_a_manifest_or_of_midstates_without_room_is_cut_off_and_its_slot_is_free_again()
{
    let fixture = Fixture::new();
    let tree = TestTree::with_slices(1);
    let id = fixture.put(&tree, "shared");
    let peers = Peers::new(Arc::clone(&fixture.store), Door::Lan);
    let pages = PageBudget::new(1, 1);
    let _all = pages.try_claim(1).unwrap();

    let mut request = from_peer(ReadManifestRequest {
        tree_id: id.to_string(),
    });
    request.extensions_mut().insert(pages.clone());
    let mut answer = peers.read_manifest(request).await.unwrap().into_inner();
    let cut_off = answer.next().await.unwrap().unwrap_err();
    assert_eq!(cut_off.code(), Code::DeadlineExceeded);

    let mut request = from_peer(of_file(&id, &[large_file(&tree)]));
    request.extensions_mut().insert(pages);
    let mut answer = peers.read_midstates(request).await.unwrap().into_inner();
    let cut_off = answer.next().await.unwrap().unwrap_err();
    assert_eq!(cut_off.code(), Code::DeadlineExceeded);

    eventually("the slots are free again", LIMIT, async || {
        fixture.store.transfers.count() == 0
    })
    .await;
}

#[tokio::test]
async fn midstates_of_a_file_named_twice_are_sent_once() {
    let fixture = Fixture::new();
    let tree = TestTree::with_slices(1);
    let id = fixture.put(&tree, "shared");
    let peers = Peers::new(Arc::clone(&fixture.store), Door::Lan);
    let line = large_file(&tree);
    let request = from_peer(of_file(&id, &[line, line, line]));
    let answer = peers.read_midstates(request).await.unwrap().into_inner();
    let messages: Vec<_> = answer.collect::<Result<_, _>>().await.unwrap();
    assert_eq!(messages.len(), 1);
}

fn of_file(id: &zeroshare_content::TreeId, lines: &[u32]) -> ReadMidstatesRequest {
    ReadMidstatesRequest {
        content_id: id.to_string(),
        files: lines.to_vec(),
        ..ReadMidstatesRequest::default()
    }
}

fn large_file(tree: &TestTree) -> u32 {
    let manifest = tree.manifest(zeroshare_content::Algorithm::Sha256New);
    let is_large = |line: &zeroshare_content::Line| matches!(line.entry, zeroshare_content::Entry::File { size, .. } if size > zeroshare_content::GRAIN);
    u32::try_from(manifest.lines().iter().position(is_large).unwrap()).unwrap()
}
