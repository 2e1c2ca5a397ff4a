//! A store that runs, and its clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};
use zeroshare_api::clients;
use zeroshare_api::connect::{PeerChannelOptions, TracedChannel, local_channel, peer_channel};
use zeroshare_api::errors::{self, ErrorReason};
use zeroshare_api::rpc::store::v1::local_store_service_client::LocalStoreServiceClient;
use zeroshare_api::rpc::store::v1::store_service_client::StoreServiceClient;
use zeroshare_chassis::listen::{LocalAddress, LocalListener};
use zeroshare_chassis::settings::{CommonConfig, CommonSettings};
use zeroshare_chassis::{Env, Lifetime};
use zeroshare_content::{Algorithm, ContentId, TreeId};
use zeroshare_shelf::ShelvedRoot;
use zeroshare_store::{RunError, StoreConfig, StoreListeners, StoreSettings, run};
use zeroshare_testkit::{Scratch, TestTree, eventually, loopback_listener, put_in_store};
use zeroshare_wire::convert::{ReadPieces, Span, Wanted};
use zeroshare_wire::pb::store::v1::read_pieces_response::Part;
use zeroshare_wire::pb::store::v1::{
    ContentHead, HeldContent, ListContentRequest, PieceHeader, ReadPiecesRequest,
    ReadPiecesResponse,
};

/// Nothing here takes as long, unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) type Peers = StoreServiceClient<TracedChannel>;
pub(crate) type Local = LocalStoreServiceClient<TracedChannel>;

/// A store with two roots: `shared`, and `own`, which is not offered.
pub(crate) struct Running {
    pub(crate) scratch: Scratch,
    pub(crate) address: SocketAddr,
    lifetime: Lifetime,
    ended: JoinHandle<Result<(), RunError>>,
}

/// What a call for pieces brought.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) head: Option<ContentHead>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) pieces: Vec<(PieceHeader, Vec<u8>)>,
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::start_in(Scratch::new(), |_| ())
    }

    pub(crate) fn start_in(scratch: Scratch, change: impl FnOnce(&mut StoreConfig)) -> Self {
        let mut config = config(&scratch);
        change(&mut config);
        let (listeners, address) = listeners(&config);
        let lifetime = Lifetime::new();
        let ended = lifetime.spawn("store", run(config, listeners, lifetime.clone()));
        Self {
            scratch,
            address,
            lifetime,
            ended,
        }
    }

    pub(crate) async fn peers(&self) -> Peers {
        let channel = peer_channel(self.address, &PeerChannelOptions::default())
            .await
            .unwrap();
        clients::store(channel)
    }

    pub(crate) fn local(&self) -> Local {
        clients::local_store(local_channel(&self.scratch.endpoint("store")))
    }

    pub(crate) fn local_peers(&self) -> Peers {
        clients::store(local_channel(&self.scratch.endpoint("store")))
    }

    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.scratch.directory(name)
    }

    /// Puts a tree into a store and waits until it was verified.
    pub(crate) async fn put(
        &self,
        tree: &TestTree,
        root: &str,
        algorithm: Algorithm,
    ) -> (TreeId, PathBuf) {
        let path = put(&self.scratch, tree, root, algorithm);
        let id = tree.tree_id(algorithm);
        self.until_verified(&id).await;
        (id, path)
    }

    pub(crate) async fn until_verified(&self, id: &TreeId) {
        self.until("it is verified", id, |held| {
            held.is_some_and(|held| held.verify_time.is_some())
        })
        .await;
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        id: &TreeId,
        holds: impl Fn(Option<&HeldContent>) -> bool,
    ) {
        eventually(what, LIMIT, async || holds(self.held(id).await.as_ref())).await;
    }

    pub(crate) async fn held(&self, id: &TreeId) -> Option<HeldContent> {
        self.list()
            .await
            .into_iter()
            .find(|held| held.content_id == id.to_string())
    }

    pub(crate) async fn list(&self) -> Vec<HeldContent> {
        let listed = self
            .local()
            .list_content(ListContentRequest::default())
            .await
            .unwrap();
        listed.into_inner().contents
    }

    pub(crate) async fn stop(self) {
        assert!(self.lifetime.end(LIMIT).await, "its tasks end");
        self.ended.await.unwrap().unwrap();
    }
}

/// Puts a tree into a store in one step, as everybody does.
pub(crate) fn put(scratch: &Scratch, tree: &TestTree, root: &str, algorithm: Algorithm) -> PathBuf {
    let staged = scratch.directory(format!("{root}-staged"));
    let written = put_in_store(tree, &staged, algorithm);
    let path = scratch.directory(root).join(written.file_name().unwrap());
    std::fs::rename(&written, &path).unwrap();
    path
}

pub(crate) fn config(scratch: &Scratch) -> StoreConfig {
    let settings = CommonSettings {
        runtime_dir: Some(scratch.path().into()),
        state_dir: Some(scratch.directory("state")),
        cache_dir: Some(scratch.directory("cache")),
        port: Some(0),
        ..CommonSettings::default()
    };
    let common =
        CommonConfig::resolve(settings, CommonSettings::default(), &Env::default()).unwrap();
    let mut config =
        StoreConfig::resolve(StoreSettings::default(), StoreSettings::default(), &common).unwrap();
    // Those of the machine that runs the test are left alone.
    let root = |name: &str, shared| ShelvedRoot {
        path: scratch.directory(name),
        shared,
    };
    config.roots = vec![root("shared", true), root("own", false)];
    // Some tests leave readers behind that do not read.
    config.bounds.drain = Duration::from_millis(500);
    config.local = vec![LocalAddress::Unix {
        path: scratch.join("store.sock"),
        mode: 0o600,
    }];
    config
}

pub(crate) fn listeners(config: &StoreConfig) -> (StoreListeners, SocketAddr) {
    let lan = loopback_listener();
    let address = lan.local_addr().unwrap();
    let local = config
        .local
        .iter()
        .map(|address| LocalListener::bind(address).unwrap())
        .collect();
    (
        StoreListeners {
            lan: vec![lan],
            local,
            tls: config.tls().unwrap(),
        },
        address,
    )
}

pub(crate) fn request(content: impl Into<ContentId>, wanted: Wanted) -> ReadPieces {
    let content = content.into();
    ReadPieces {
        content,
        wanted,
        with_manifest: false,
        recheck: false,
        accepted: Vec::new(),
    }
}

pub(crate) fn all(pieces: u32) -> Wanted {
    Wanted::Spans(vec![Span::Pieces(0..pieces)])
}

/// Reads pieces and checks the form of what comes.
pub(crate) async fn read(client: &mut Peers, request: &ReadPieces) -> Result<Received, Status> {
    let stream = client.read_pieces(ReadPiecesRequest::from(request)).await?;
    receive(stream.into_inner()).await
}

pub(crate) async fn receive(mut stream: Streaming<ReadPiecesResponse>) -> Result<Received, Status> {
    let mut received = Received::default();
    while let Some(message) = next(&mut stream).await? {
        match message.part.unwrap() {
            Part::Head(head) => {
                assert_eq!(received.head, None, "the head comes once");
                received.head = Some(head);
            }
            Part::ManifestData(data) => received.manifest.extend_from_slice(bounded(&data)),
            Part::Header(header) => received.pieces.push((header, Vec::new())),
            Part::Data(data) => received
                .pieces
                .last_mut()
                .unwrap()
                .1
                .extend_from_slice(bounded(&data)),
        }
        assert!(received.head.is_some(), "the head comes first");
    }
    for (header, data) in &received.pieces {
        assert_eq!(
            header.size_bytes,
            data.len() as u64,
            "piece {}",
            header.piece
        );
    }
    Ok(received)
}

fn bounded(data: &Bytes) -> &Bytes {
    assert!(!data.is_empty() && data.len() <= clients::MAX_CHUNK_BYTES);
    data
}

pub(crate) fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> ErrorReason {
    let status = result.unwrap_err();
    errors::reason(&status).unwrap_or_else(|| panic!("no reason: {status}"))
}

/// The next message of a stream that must not keep us waiting; `None` at its end.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    tokio::time::timeout(LIMIT, stream.message())
        .await
        .expect("a message within the limit")
}
