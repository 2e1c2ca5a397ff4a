//! What is told to everybody who may read.

use zeroshare_api::errors::ErrorReason;
use zeroshare_content::Algorithm;
use zeroshare_store::Listing;
use zeroshare_testkit::{Scratch, TestTree};
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::store::v1::{ListPublicRequest, ListPublicResponse, PauseSharingRequest};

use crate::fixture::{LIMIT, Running, reason};

#[tokio::test]
async fn peers_are_told_of_shared_trees_and_of_no_others() {
    let running = Running::start();
    let (id, _) = running
        .put(&TestTree::with_slices(3), "shared", Algorithm::Sha256New)
        .await;
    running
        .put(&TestTree::small(), "own", Algorithm::Sha256New)
        .await;
    let oldest = TestTree::deep(1);
    running.put(&oldest, "shared", Algorithm::Sha1).await;
    let expected = ListPublicResponse {
        tree_ids: vec![id.to_string()],
        truncated: false,
    };
    for mut client in [running.peers().await, running.local_peers()] {
        let listed = client.list_public(ListPublicRequest {}).await.unwrap();
        assert_eq!(listed.into_inner(), expected);
    }
    let pause = PauseSharingRequest {
        duration: Some(to_duration(LIMIT)),
    };
    running.local().pause_sharing(pause).await.unwrap();
    let paused = running
        .peers()
        .await
        .list_public(ListPublicRequest {})
        .await;
    assert_eq!(reason(paused), ErrorReason::NotAllowed);
    running.stop().await;
}

#[tokio::test]
async fn who_wants_ids_to_be_known_tells_none() {
    let running = Running::start_in(Scratch::new(), |config| {
        config.listing = Listing::Refused;
    });
    running
        .put(&TestTree::small(), "shared", Algorithm::Sha256New)
        .await;
    let refused = running
        .peers()
        .await
        .list_public(ListPublicRequest {})
        .await;
    assert_eq!(reason(refused), ErrorReason::NotAllowed);
    running.stop().await;
}
