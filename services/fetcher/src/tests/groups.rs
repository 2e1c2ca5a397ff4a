//! Those who share a secret, and those who do not.

use zeroshare_content::{Algorithm, ContentId};
use zeroshare_identity::{GroupSecret, node_key};
use zeroshare_testkit::{Offered, Peer, TestTree, announced, eventually};
use zeroshare_wire::pb::discovery::v1::{FindProvidersResponse, ProviderFault};
use zeroshare_wire::pb::fetcher::v1::FetchState;

use super::end_to_end::Source;
use super::machine::{LIMIT, Machine, assert_succeeded};

const ALGORITHM: Algorithm = Algorithm::Sha256New;

fn secret() -> GroupSecret {
    GroupSecret::of(b"the members know it")
}

fn member() -> Machine {
    Machine::with(|config| config.group = Some(secret()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_from_the_member_that_was_found_and_reports_its_key() {
    let tree = TestTree::with_slices(51);
    let id = tree.tree_id(ALGORITHM);
    let source = Source::of(Some(secret()), &[&tree]);
    source.offers(&id).await;
    let key = node_key::on_disk(&source.scratch.join("state")).unwrap();
    let machine = member();
    machine.discovery.announce(named(
        announced(&ContentId::Tree(id), source.address),
        &key.node_id().to_string(),
    ));
    let fetch = machine.fetch_found(&id).await;
    assert_succeeded(&machine, &id, &fetch);
    eventually("its key is reported", LIMIT, async || {
        let reports = machine.discovery.reports();
        reports
            .iter()
            .any(|report| report.public_key == key.public_key().as_bytes().as_slice())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_from_a_member_that_is_named_by_its_address_alone() {
    let tree = TestTree::small();
    let id = tree.tree_id(ALGORITHM);
    let source = Source::of(Some(secret()), &[&tree]);
    source.offers(&id).await;
    let machine = member();
    let fetch = machine.fetch(source.wish(&id)).await;
    assert_succeeded(&machine, &id, &fetch);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_prove_to_be_who_was_found_is_not_read() {
    let tree = TestTree::small();
    let id = tree.tree_id(ALGORITHM);
    let source = Source::of(Some(secret()), &[&tree]);
    source.offers(&id).await;
    let machine = member();
    let somebody_else = node_key::in_memory().unwrap().node_id();
    machine.discovery.announce(named(
        announced(&ContentId::Tree(id), source.address),
        &somebody_else.to_string(),
    ));
    let fetch = machine.fetch_found(&id).await;
    assert_eq!(fetch.state(), FetchState::Failed);
    assert!(
        fetch.failure_message.contains("did not prove"),
        "{}",
        fetch.failure_message
    );
    eventually("it is reported by its address", LIMIT, async || {
        let reports = machine.discovery.reports();
        reports.iter().any(|report| {
            report.fault() == ProviderFault::Unreachable && report.public_key.is_empty()
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_of_the_group_nobody_is_read_and_nobody_reads() {
    let tree = TestTree::small();
    let id = tree.tree_id(ALGORITHM);
    // Somebody without a group, whom a member names.
    let plain = Peer::honest([Offered::tree(&tree, ALGORITHM)]);
    let fetch = member().fetch_from(&id, &[&plain]).await;
    assert_eq!(fetch.state(), FetchState::Failed);
    // A member, whom somebody without a group, or of another, names.
    let source = Source::of(Some(secret()), &[&tree]);
    source.offers(&id).await;
    let other = GroupSecret::of(b"they know another one");
    for outsider in [
        Machine::new(),
        Machine::with(|config| config.group = Some(other)),
    ] {
        let fetch = outsider.fetch(source.wish(&id)).await;
        assert_eq!(fetch.state(), FetchState::Failed);
    }
}

fn named(mut provider: FindProvidersResponse, peer_id: &str) -> FindProvidersResponse {
    if let Some(peer) = &mut provider.provider {
        peer_id.clone_into(&mut peer.peer_id);
    }
    provider
}
