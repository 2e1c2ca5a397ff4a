//! What peers share, for those who list it.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_content::{Algorithm, TreeId};
use zeroshare_testkit::{Fault, Method, Offered, Peer, TestTree};
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::fetcher::v1::{ListNeighboursRequest, ListNeighboursResponse};

use super::machine::{LIMIT, Machine};

const ALGORITHM: Algorithm = Algorithm::Sha256New;

#[tokio::test(flavor = "multi_thread")]
async fn all_who_are_there_are_asked_and_nobody_is_waited_for_longer_than_time_is_given() {
    let machine = Machine::new();
    let trees = [1, 2, 3].map(tree);
    let [one, two, silent] = &trees;
    let first = Peer::honest([Offered::tree(one, ALGORITHM), Offered::tree(two, ALGORITHM)]);
    let second = Peer::honest([Offered::tree(two, ALGORITHM)]);
    let stalls = Peer::faulty(
        [Offered::tree(silent, ALGORITHM)],
        [Fault::StallBeforeAnswer],
    );
    let gone = Peer::honest([Offered::tree(silent, ALGORITHM)]);
    gone.kill();
    for peer in [&first, &second, &stalls, &gone] {
        machine.announce(&id(one), &[peer]);
    }
    let told = list(&machine, Duration::from_secs(2), &[]).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(of(&told, &first), sorted([one, two]));
    assert_eq!(of(&told, &second), sorted([two]));
    assert!(told.iter().all(|answer| answer.peer_id.len() == 32));
    assert_eq!(stalls.record().count(Method::ListPublic), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_neighbours_the_answer_is_empty_and_comes_at_once() {
    let machine = Machine::new();
    let told = list(&machine, Duration::from_secs(10), &[]).await;
    assert_eq!(told, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_hosts_that_are_named_are_asked() {
    let machine = Machine::new();
    let (one, two) = (tree(1), tree(2));
    let named = Peer::honest([Offered::tree(&one, ALGORITHM)]);
    let other = Peer::honest([Offered::tree(&two, ALGORITHM)]);
    machine.announce(&id(&two), &[&other]);
    let told = list(&machine, Duration::from_secs(10), &[&named]).await;
    assert_eq!(told.len(), 1);
    assert_eq!(of(&told, &named), sorted([&one]));
    assert_eq!(other.record().count(Method::ListPublic), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_lists_for_longer_than_is_sensible() {
    let machine = Machine::new();
    let request = ListNeighboursRequest {
        timeout: Some(to_duration(Duration::from_hours(1))),
        from: Vec::new(),
    };
    let refused = machine.client.clone().list_neighbours(request).await;
    let reason = errors::reason(&refused.unwrap_err());
    assert_eq!(reason, Some(ErrorReason::MalformedRequest));
}

async fn list(machine: &Machine, timeout: Duration, from: &[&Peer]) -> Vec<ListNeighboursResponse> {
    let request = ListNeighboursRequest {
        timeout: Some(to_duration(timeout)),
        from: from.iter().map(|peer| peer.address().to_string()).collect(),
    };
    let asked = machine.client.clone().list_neighbours(request).await;
    let answers = asked.unwrap().into_inner().collect::<Vec<_>>();
    let answers = tokio::time::timeout(LIMIT, answers).await.unwrap();
    answers.into_iter().map(Result::unwrap).collect()
}

fn of(told: &[ListNeighboursResponse], peer: &Peer) -> Vec<String> {
    let address = peer.address().to_string();
    let answer = told.iter().find(|answer| answer.address == address);
    answer.unwrap().tree_ids.clone()
}

fn sorted<const N: usize>(trees: [&TestTree; N]) -> Vec<String> {
    let mut ids: Vec<TreeId> = trees.map(id).into();
    ids.sort_unstable();
    ids.iter().map(ToString::to_string).collect()
}

fn tree(number: u8) -> TestTree {
    TestTree::new().file("number", vec![number])
}

fn id(tree: &TestTree) -> TreeId {
    tree.tree_id(ALGORITHM)
}
