//! One discovery service of a test.

use std::{collections::BTreeSet, net::UdpSocket, time::Duration};

use tokio::task::JoinHandle;
use zeroshare_api::{
    clients,
    connect::{LocalEndpoint, TracedChannel, local_channel},
    rpc::discovery::v1::discovery_service_client::DiscoveryServiceClient,
};
use zeroshare_chassis::{Lifetime, listen::LocalAddress, settings::LeftAlone};
use zeroshare_content::{BlobId, ContentId, HashKind};
use zeroshare_discovery::{DiscoveryConfig, DiscoveryListeners, Mode, RunError, run};
use zeroshare_membership::Road;
use zeroshare_testkit::{Scratch, eventually_some};
use zeroshare_wire::{
    convert::to_duration,
    pb::discovery::v1::{
        DescribeNetworkRequest, DescribeNetworkResponse, FindProvidersRequest,
        FindProvidersResponse,
    },
};

/// Nothing here takes as long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A running discovery service, with its own directories.
pub(crate) struct Node {
    scratch: Scratch,
    config: DiscoveryConfig,
    lifetime: Lifetime,
    running: JoinHandle<Result<(), RunError>>,
}

/// A port that nobody else uses for groups.
pub(crate) fn group_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("its address").port()
}

/// Something to look for.
pub(crate) fn content(name: &str) -> ContentId {
    ContentId::Blob(BlobId::of(HashKind::Sha256, name.as_bytes()))
}

/// What a node on loopback runs with: every road that is asked for, and no static peers.
pub(crate) fn config(scratch: &Scratch, group_port: u16, roads: &[Road]) -> DiscoveryConfig {
    DiscoveryConfig {
        mode: Mode::Full,
        local: vec![unix(scratch, "discovery")],
        store: scratch.endpoint("store"),
        group: None,
        state_dir: scratch.join("state"),
        left_alone: LeftAlone {
            named: vec!["lo".parse().expect("an interface")],
            ..LeftAlone::default()
        },
        roads: roads.iter().copied().collect::<BTreeSet<_>>(),
        allowed: Vec::new(),
        static_peers: Vec::new(),
        group_port,
        unicast_port: 0,
        unicast_port_may_change: true,
        answers_0share: true,
        // Its port is fixed.
        answers_dotnet: false,
    }
}

fn unix(scratch: &Scratch, name: &str) -> LocalAddress {
    LocalAddress::Unix {
        path: scratch.join(format!("{name}.sock")),
        mode: 0o600,
    }
}

impl Node {
    /// Starts a node that hears groups on a port.
    pub(crate) async fn start(group_port: u16, roads: &[Road]) -> Self {
        Self::start_with(group_port, roads, |config| config).await
    }

    /// The same with something changed.
    pub(crate) async fn start_with(
        group_port: u16,
        roads: &[Road],
        change: impl FnOnce(DiscoveryConfig) -> DiscoveryConfig,
    ) -> Self {
        let scratch = Scratch::new();
        let config = change(config(&scratch, group_port, roads));
        Self::run(scratch, config).await
    }

    async fn run(scratch: Scratch, config: DiscoveryConfig) -> Self {
        let listeners = DiscoveryListeners::bind(&config).expect("free sockets");
        let lifetime = Lifetime::new();
        let running = lifetime.spawn("node", run(config.clone(), listeners, lifetime.clone()));
        let node = Self {
            scratch,
            config,
            lifetime,
            running,
        };
        eventually_some("an interface in use", LIMIT, async || {
            let network = node.describe().await;
            (!network.interfaces.is_empty()).then_some(())
        })
        .await;
        node
    }

    /// Stops it, and starts it again in the same directories.
    pub(crate) async fn restart(self) -> Self {
        let (scratch, config) = self.stop().await;
        Self::run(scratch, config).await
    }

    /// Stops it in an orderly way.
    pub(crate) async fn stop(self) -> (Scratch, DiscoveryConfig) {
        self.lifetime.stop();
        self.running
            .await
            .expect("no panic")
            .expect("an orderly end");
        assert!(
            self.lifetime.end(LIMIT).await,
            "no task outlives its lifetime"
        );
        (self.scratch, self.config)
    }

    /// Where its store is expected.
    pub(crate) fn store_address(&self) -> LocalAddress {
        unix(&self.scratch, "store")
    }

    pub(crate) fn client(&self) -> DiscoveryServiceClient<TracedChannel> {
        let endpoint: LocalEndpoint = self.scratch.endpoint("discovery");
        clients::discovery(local_channel(&endpoint))
    }

    pub(crate) async fn describe(&self) -> DescribeNetworkResponse {
        let response = self
            .client()
            .describe_network(DescribeNetworkRequest {})
            .await;
        response.expect("discovery answers").into_inner()
    }

    /// Asks once, and gives the first provider.
    pub(crate) async fn find(
        &self,
        content: &ContentId,
        wait: Duration,
    ) -> Option<FindProvidersResponse> {
        let request = FindProvidersRequest {
            content_ids: vec![content.to_string()],
            wait: Some(to_duration(wait)),
            enough: 0,
            with_askers: false,
        };
        let response = self.client().find_providers(request).await;
        let mut stream = response.expect("discovery answers").into_inner();
        stream.message().await.expect("a stream that ends well")
    }

    /// Asks until somebody has it: a store may just have started.
    pub(crate) async fn find_at_last(&self, content: &ContentId) -> FindProvidersResponse {
        eventually_some("a provider", LIMIT, async || {
            self.find(content, Duration::from_millis(500)).await
        })
        .await
    }
}
