//! Who holds something is found, by every road, after restarts too.

use std::{fs, time::Duration};

use tokio::time::timeout;
use tonic::Code;
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_discovery::DiscoveryConfig;
use zeroshare_membership::Road;
use zeroshare_testkit::eventually;
use zeroshare_wire::{
    convert::{socket_address, to_duration},
    pb::discovery::v1::{
        FindProvidersRequest, FindProvidersResponse, ForgivePeerRequest, HoldingClaim,
        ListBansRequest, ProviderFault, RefreshRequest, ReportProviderRequest, WatchPeersRequest,
        WatchRefreshRequest, watch_peers_response::Event,
    },
};

use crate::{
    node::{LIMIT, Node, content, group_port},
    store::FakeStore,
};

const MULTICAST: [Road; 1] = [Road::Multicast4];
const STORE_PORT: u16 = 4711;

fn assert_is_at_store(found: &FindProvidersResponse) {
    let peer = found.provider.as_ref().expect("a provider");
    let address = socket_address("address", &peer.store_addresses[0]).expect("an address");
    assert!(address.ip().is_loopback(), "{address}");
    assert_eq!(address.port(), STORE_PORT);
    assert_eq!(found.part, 255);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_is_found_by_multicast() {
    let port = group_port();
    let holder = Node::start(port, &MULTICAST).await;
    let store = FakeStore::start(&holder.store_address(), STORE_PORT, &[content("it")]);
    let asker = Node::start(port, &MULTICAST).await;
    let found = asker.find_at_last(&content("it")).await;
    assert_is_at_store(&found);
    assert_eq!(found.content_id, content("it").to_string());
    let peer_id = found.provider.unwrap().peer_id;
    assert_eq!(peer_id, holder.describe().await.node_id);
    store.stop().await;
    holder.stop().await;
    asker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_peer_is_found_without_any_other_road() {
    let holder = Node::start(group_port(), &[]).await;
    let _store = FakeStore::start(&holder.store_address(), STORE_PORT, &[content("it")]);
    let unicast = holder.describe().await.unicast_port;
    let peer: StaticPeer = format!("127.0.0.1:{unicast}").parse().unwrap();
    let asker = Node::start_with(group_port(), &[], |mut config| {
        config.static_peers = vec![peer];
        config
    })
    .await;
    let found = asker.find_at_last(&content("it")).await;
    assert_is_at_store(&found);
    assert_eq!(found.provider.unwrap().roads, ["unicast"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_only_asks_finds_and_leaves_no_trace() {
    let port = group_port();
    let holder = Node::start(port, &MULTICAST).await;
    let _store = FakeStore::start(&holder.store_address(), STORE_PORT, &[content("it")]);
    let asker = Node::start_with(port, &MULTICAST, DiscoveryConfig::asks_only).await;
    assert_is_at_store(&asker.find_at_last(&content("it")).await);
    assert_eq!(holder.describe().await.live_peers, 0);
    let (scratch, config) = asker.stop().await;
    assert!(!config.state_dir.exists());
    drop(scratch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_comes_back_with_other_content_is_followed() {
    let port = group_port();
    let holder = Node::start(port, &MULTICAST).await;
    let asker = Node::start(port, &MULTICAST).await;
    let store = FakeStore::start(&holder.store_address(), STORE_PORT, &[content("first")]);
    assert_is_at_store(&asker.find_at_last(&content("first")).await);
    store.add(&content("second"));
    assert_is_at_store(&asker.find_at_last(&content("second")).await);
    store.stop().await;
    let _store = FakeStore::start(&holder.store_address(), STORE_PORT, &[content("third")]);
    assert_is_at_store(&asker.find_at_last(&content("third")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_its_id_over_a_restart_and_is_found_again() {
    let port = group_port();
    let holder = Node::start(port, &MULTICAST).await;
    let asker = Node::start(port, &MULTICAST).await;
    let node_id = holder.describe().await.node_id;
    let holder = holder.restart().await;
    assert_eq!(holder.describe().await.node_id, node_id);
    let _store = FakeStore::start(&holder.store_address(), STORE_PORT, &[content("it")]);
    let found = asker.find_at_last(&content("it")).await;
    assert_eq!(found.provider.unwrap().peer_id, node_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_remembers_is_told_what_to_forget_and_holds_up_no_end() {
    let node = Node::start(group_port(), &MULTICAST).await;
    let mut client = node.client();
    let watching = client.watch_refresh(WatchRefreshRequest {}).await;
    let mut told = watching.unwrap().into_inner();
    let mut next = async || {
        let told = timeout(LIMIT, told.message()).await.expect("in time");
        told.ok().flatten().map(|told| told.content_ids)
    };
    let refresh = |ids: &[&str]| RefreshRequest {
        content_ids: ids.iter().map(ToString::to_string).collect(),
    };
    let it = content("it").to_string();
    client.refresh(refresh(&[&it])).await.unwrap();
    assert_eq!(next().await, Some(vec![it]));
    client.refresh(refresh(&[])).await.unwrap();
    assert_eq!(next().await, Some(Vec::new()));
    let refused = client.refresh(refresh(&["x"])).await.unwrap_err();
    assert_eq!(
        errors::reason(&refused),
        Some(ErrorReason::MalformedRequest)
    );
    node.stop().await;
    assert_eq!(next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_seen_coming_and_going() {
    let port = group_port();
    let watcher = Node::start(port, &MULTICAST).await;
    let mut changes = watcher
        .client()
        .watch_peers(WatchPeersRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut next = async || {
        let change = timeout(LIMIT, changes.message())
            .await
            .expect("something happens");
        change.unwrap().unwrap().event.unwrap()
    };
    assert!(matches!(next().await, Event::SnapshotDone(_)));
    let peer = Node::start(port, &MULTICAST).await;
    let node_id = peer.describe().await.node_id;
    assert!(matches!(next().await, Event::Up(up) if up.peer_id == node_id));
    peer.stop().await;
    loop {
        match next().await {
            Event::Down(down) => {
                assert_eq!(down.peer_id, node_id);
                return;
            }
            // Its addresses changed meanwhile.
            Event::Up(up) => assert_eq!(up.peer_id, node_id),
            Event::SnapshotDone(_) => panic!("a second snapshot"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_an_answer_in_time_and_malformed_questions_are_refused() {
    let node = Node::start(group_port(), &MULTICAST).await;
    let wait = Duration::from_millis(300);
    assert_eq!(node.find(&content("it"), wait).await, None);
    assert_eq!(node.find(&content("it"), Duration::ZERO).await, None);
    for (ids, seconds) in [
        (Vec::new(), 1),
        (vec!["sha256new_x".to_owned()], 1),
        (vec![content("it").to_string(); 9], 1),
        (vec![content("it").to_string()], 7_200),
    ] {
        let request = FindProvidersRequest {
            content_ids: ids,
            wait: Some(to_duration(Duration::from_secs(seconds))),
            enough: 0,
            with_askers: false,
        };
        let status = node.client().find_providers(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(errors::reason(&status), Some(ErrorReason::MalformedRequest));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_convicted_provider_is_not_offered_again_even_after_a_restart() {
    let port = group_port();
    let holder = Node::start(port, &MULTICAST).await;
    let _store = FakeStore::start(&holder.store_address(), STORE_PORT, &[content("it")]);
    let asker = Node::start(port, &MULTICAST).await;
    let found = asker.find_at_last(&content("it")).await;
    let peer = found.provider.unwrap();
    let report = ReportProviderRequest {
        peer_id: peer.peer_id.clone(),
        address: Some(peer.store_addresses[0].clone()),
        fault: ProviderFault::Convicted.into(),
        ..ReportProviderRequest::default()
    };
    asker.client().report_provider(report).await.unwrap();
    let wait = Duration::from_millis(500);
    assert_eq!(asker.find(&content("it"), wait).await, None);
    let asker = asker.restart().await;
    assert_eq!(asker.find(&content("it"), wait).await, None);

    let bans = asker.client().list_bans(ListBansRequest {}).await.unwrap();
    let bans = bans.into_inner().bans;
    assert_eq!(bans.len(), 1);
    assert_eq!(bans[0].address.as_ref(), Some(&peer.store_addresses[0]));
    let all = ForgivePeerRequest::default();
    let forgiven = asker.client().forgive_peer(all).await.unwrap();
    assert_eq!(forgiven.into_inner().forgiven_peers, 1);
    asker.find_at_last(&content("it")).await;
    let asker = asker.restart().await;
    asker.find_at_last(&content("it")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_answer_at_once_what_is_known() {
    let port = group_port();
    let holder = Node::start(port, &MULTICAST).await;
    let _store = FakeStore::start(&holder.store_address(), STORE_PORT, &[content("it")]);
    let asker = Node::start(port, &MULTICAST).await;
    eventually("a filter that names it", LIMIT, async || {
        let found = asker.find(&content("it"), Duration::ZERO).await;
        found.is_some_and(|found| found.claim() == HoldingClaim::Probable)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_scratch, config) = Node::start(group_port(), &[]).await.stop().await;
    let key = fs::metadata(config.state_dir.join("node-key")).unwrap();
    assert_eq!((key.len(), key.permissions().mode() & 0o777), (32, 0o600));
}
