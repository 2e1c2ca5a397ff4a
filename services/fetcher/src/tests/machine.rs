//! A machine with a fetcher, a store directory, and a discovery that knows what it is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_stream::StreamExt as _;
use zeroshare_api::clients;
use zeroshare_api::connect::{TracedChannel, local_channel};
use zeroshare_api::errors::ErrorReason;
use zeroshare_api::rpc::fetcher::v1::fetcher_service_client::FetcherServiceClient;
use zeroshare_chassis::listen::{LocalAddress, LocalListener};
use zeroshare_chassis::settings::{CommonConfig, CommonSettings};
use zeroshare_chassis::{Env, Lifetime};
use zeroshare_content::{ContentId, TreeId};
use zeroshare_shelf::{RootKind, StoreRoot, verify_tree};
use zeroshare_testkit::{FakeDiscovery, Peer, Scratch, announced};
use zeroshare_transfer::PaceRule;
use zeroshare_wire::pb::fetcher::v1::{Fetch, FetchState, StartFetchRequest, WatchFetchRequest};

use crate::{FetcherConfig, FetcherListeners, FetcherSettings, run};

/// Longer than any test needs, shorter than anybody's patience.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// A machine that fetches.
pub(super) struct Machine {
    pub(super) scratch: Scratch,
    pub(super) discovery: FakeDiscovery,
    pub(super) client: FetcherServiceClient<TracedChannel>,
    lifetime: Lifetime,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    /// A machine with other settings.
    pub(super) fn with(change: impl FnOnce(&mut FetcherConfig)) -> Self {
        let scratch = Scratch::new();
        let discovery = FakeDiscovery::serve(&scratch.join("discovery.sock"));
        let mut config = config(&scratch);
        change(&mut config);
        let address = LocalAddress::Unix {
            path: scratch.join("fetcher.sock"),
            mode: 0o600,
        };
        let listeners = FetcherListeners {
            local: vec![LocalListener::bind(&address).unwrap()],
        };
        let lifetime = Lifetime::new();
        drop(lifetime.spawn("fetcher", run(config, listeners, lifetime.clone())));
        let client = clients::fetcher(local_channel(&scratch.endpoint("fetcher")));
        Self {
            scratch,
            discovery,
            client,
            lifetime,
        }
    }

    /// The store that trees are added to.
    pub(super) fn store(&self) -> PathBuf {
        self.scratch.join("store")
    }

    pub(super) fn announce(&self, id: &TreeId, peers: &[&Peer]) {
        for peer in peers {
            self.discovery
                .announce(announced(&ContentId::Tree(*id), peer.address()));
        }
    }

    /// Fetches from these peers only.
    pub(super) async fn fetch_from(&self, id: &TreeId, peers: &[&Peer]) -> Fetch {
        self.fetch(StartFetchRequest {
            from: peers
                .iter()
                .map(|peer| peer.address().to_string())
                .collect(),
            ..wish(id)
        })
        .await
    }

    /// Fetches from whom discovery knows.
    pub(super) async fn fetch_found(&self, id: &TreeId) -> Fetch {
        self.fetch(wish(id)).await
    }

    pub(super) async fn start(&self, request: StartFetchRequest) -> Fetch {
        let started = self.client.clone().start_fetch(request).await.unwrap();
        started.into_inner().fetch.unwrap()
    }

    pub(super) async fn fetch(&self, request: StartFetchRequest) -> Fetch {
        let started = self.start(request).await;
        self.end_of(&started).await
    }

    /// Waits until a fetch is over.
    pub(super) async fn end_of(&self, fetch: &Fetch) -> Fetch {
        let request = WatchFetchRequest {
            content_id: fetch.content_id.clone(),
            into_path: fetch.into_path.clone(),
        };
        let watched = self
            .client
            .clone()
            .watch_fetch(request)
            .await
            .unwrap()
            .into_inner();
        let all = tokio::time::timeout(LIMIT, watched.collect::<Vec<_>>())
            .await
            .unwrap();
        all.last().unwrap().clone().unwrap().fetch.unwrap()
    }

    /// Whether the store shows the tree, which then must verify.
    pub(super) fn holds(&self, id: &TreeId) -> bool {
        let found = id
            .directory_names()
            .iter()
            .any(|name| self.store().join(name).exists());
        if found {
            verify_tree(&self.store(), id, &mut |_| ()).unwrap();
        }
        found
    }

    /// Names in the store that are neither staging nor quarantine.
    pub(super) fn shown(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.store()) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| !name.starts_with("tmp-") && !name.starts_with('.'))
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.lifetime.stop();
    }
}

/// What asks for a tree and nothing else.
pub(super) fn wish(id: &TreeId) -> StartFetchRequest {
    StartFetchRequest {
        content_ids: vec![id.to_string()],
        ..StartFetchRequest::default()
    }
}

pub(super) fn assert_succeeded(machine: &Machine, id: &TreeId, fetch: &Fetch) {
    assert_eq!(
        fetch.state(),
        FetchState::Succeeded,
        "{}",
        fetch.failure_message
    );
    assert!(Path::new(&fetch.path).starts_with(machine.store()));
    assert!(machine.holds(id));
}

pub(super) fn assert_failed(machine: &Machine, fetch: &Fetch, reasons: &[ErrorReason]) {
    assert_eq!(fetch.state(), FetchState::Failed);
    assert!(reasons.contains(&fetch.failure_reason()), "{fetch:?}");
    assert!(!fetch.failure_message.is_empty());
    assert_eq!(machine.shown(), Vec::<String>::new());
}

/// What everything here runs with: the deadlines of people who cannot wait.
pub(super) fn config(scratch: &Scratch) -> FetcherConfig {
    let common = CommonSettings {
        runtime_dir: Some(scratch.path().to_owned()),
        ..CommonSettings::default()
    };
    let common = CommonConfig::resolve(common, CommonSettings::default(), &Env::default()).unwrap();
    let none = FetcherSettings::default;
    let mut config = FetcherConfig::resolve(none(), none(), &common).unwrap();
    config.roots = vec![StoreRoot {
        path: scratch.join("store"),
        kind: RootKind::User,
    }];
    config.is_machine = false;
    config.no_sync = true;
    config.locate_timeout = Duration::from_millis(300);
    let patience = &mut config.patience;
    patience.pace = PaceRule {
        silence: Duration::from_millis(300),
        window: Duration::from_millis(600),
        window_bytes: 4096,
    };
    patience.connect.connect_time = Duration::from_millis(500);
    patience.local_call = Duration::from_millis(500);
    patience.relocate = Duration::from_millis(50);
    patience.tick = Duration::from_millis(10);
    patience.locked_poll = Duration::from_millis(10);
    patience.starved = Duration::from_millis(100);
    config.transfer.rest = Duration::from_millis(10);
    config.transfer.longest_rest = Duration::from_millis(50);
    config
}
