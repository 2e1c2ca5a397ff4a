//! With a real store on either side.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use zeroshare_api::connect::{PeerChannelOptions, peer_channel};
use zeroshare_chassis::listen::{LocalAddress, LocalListener};
use zeroshare_chassis::settings::{CommonConfig, CommonSettings};
use zeroshare_chassis::{Env, Lifetime};
use zeroshare_content::{Algorithm, TreeId};
use zeroshare_identity::GroupSecret;
use zeroshare_shelf::{IndexPlace, ShelvedRoot};
use zeroshare_store::{StoreConfig, StoreListeners, StoreSettings};
use zeroshare_testkit::{
    Offered, Peer, Scratch, TestTree, eventually, loopback_listener, put_in_store,
};
use zeroshare_wire::pb::fetcher::v1::{FetchState, StartFetchRequest};
use zeroshare_wire::pb::store::v1::{ListContentRequest, StatContentRequest};

use super::machine::{LIMIT, Machine, assert_succeeded, wish};

const ALGORITHM: Algorithm = Algorithm::Sha256New;

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_moves_from_one_store_to_another_and_is_known_there() {
    let tree = TestTree::with_slices(41);
    let id = tree.tree_id(ALGORITHM);
    let source = Source::new(&[&tree]);
    source.offers(&id).await;
    let machine = Machine::new();
    let own = Store::start(&machine.scratch, &machine.store(), false);
    let fetch = machine.fetch(source.wish(&id)).await;
    assert_succeeded(&machine, &id, &fetch);
    // Handed over, so that it counts without being hashed.
    own.offers(&id).await;
    let again = machine.start(wish(&id)).await;
    assert_eq!(again.state(), FetchState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_fetched_of_a_new_version() {
    let old = TestTree::many_files(42, 300, 20_000);
    let new = old.clone().file("part 0/new", vec![7_u8; 5000]);
    let (old_id, new_id) = (old.tree_id(ALGORITHM), new.tree_id(ALGORITHM));
    let source = Source::new(&[&new]);
    source.offers(&new_id).await;
    let machine = Machine::new();
    std::fs::create_dir_all(machine.store()).unwrap();
    put_in_store(&old, &machine.store(), ALGORITHM);
    let own = Store::start(&machine.scratch, &machine.store(), false);
    own.offers(&old_id).await;
    let fetch = machine.fetch(source.wish(&new_id)).await;
    assert_succeeded(&machine, &new_id, &fetch);
    let progress = fetch.progress.unwrap();
    let received: u64 = progress.peers.iter().map(|peer| peer.received_bytes).sum();
    assert!(
        progress.reused_bytes > 2_000_000,
        "{} bytes were reused",
        progress.reused_bytes
    );
    // The new file, and a few links and neighbours too near to be left out.
    assert!(received < 50_000, "{received} bytes were received");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_file_whose_beginning_is_here_only_the_rest_is_fetched() {
    const GRAIN: usize = 128 * 1024;
    let bytes = |len: usize, end: u8| -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len)
            .map(|at| u8::try_from(at / 977 * 31 % 251).unwrap())
            .collect();
        bytes[len - 1] ^= end;
        bytes
    };
    let old = TestTree::new().file("log", bytes(20 * GRAIN, 1));
    let new = TestTree::new().file("log", bytes(23 * GRAIN + 5, 2));
    let other = TestTree::new().file("log", vec![9; 23 * GRAIN]);
    let (old_id, new_id) = (old.tree_id(ALGORITHM), new.tree_id(ALGORITHM));
    let source = Source::new(&[&new]);
    source.offers(&new_id).await;
    let machine = Machine::new();
    std::fs::create_dir_all(machine.store()).unwrap();
    put_in_store(&other, &machine.store(), ALGORITHM);
    put_in_store(&old, &machine.store(), ALGORITHM);
    let own = Store::start(&machine.scratch, &machine.store(), false);
    own.offers(&old_id).await;
    own.offers(&other.tree_id(ALGORITHM)).await;
    let fetch = machine.fetch(source.wish(&new_id)).await;
    assert_succeeded(&machine, &new_id, &fetch);
    let progress = fetch.progress.unwrap();
    let received: u64 = progress.peers.iter().map(|peer| peer.received_bytes).sum();
    // The last grain of the old file is another one.
    assert_eq!(progress.reused_bytes, 19 * GRAIN as u64);
    assert_eq!(received, 4 * GRAIN as u64 + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_fetched_is_offered_meanwhile() {
    let tree = TestTree::many_files(43, 600, 20_000);
    let id = tree.tree_id(ALGORITHM);
    let offered = Offered::tree(&tree, ALGORITHM);
    let pieces = offered.piece_count();
    let head = Peer::honest([offered.only(0..pieces / 2)]);
    let machine = Machine::with(|config| config.patience.starved = LIMIT);
    let own = Store::start(&machine.scratch, &machine.store(), true);
    machine.announce(&id, &[&head]);
    let started = machine.start(wish(&id)).await;
    let options = PeerChannelOptions::default();
    let channel = peer_channel(own.lan.unwrap(), &options).await.unwrap();
    let reader = zeroshare_api::clients::store(channel);
    let request = StatContentRequest {
        content_ids: vec![id.to_string()],
    };
    eventually("half of it is offered", LIMIT, async || {
        let stats = reader
            .clone()
            .stat_content(request.clone())
            .await
            .unwrap()
            .into_inner()
            .stats;
        stats
            .first()
            .is_some_and(|stat| stat.held_pieces == pieces / 2)
    })
    .await;
    // Another machine makes do with that half and the other one.
    let tail = Peer::honest([Offered::tree(&tree, ALGORITHM).only(pieces / 2..pieces)]);
    let second = Machine::new();
    let from = vec![own.lan.unwrap().to_string(), tail.address().to_string()];
    let fetch = second.fetch(StartFetchRequest { from, ..wish(&id) }).await;
    assert_succeeded(&second, &id, &fetch);

    machine.announce(&id, &[&tail]);
    let fetch = machine.end_of(&started).await;
    assert_succeeded(&machine, &id, &fetch);
}

/// A machine that offers trees on loopback.
pub(super) struct Source {
    pub(super) scratch: Scratch,
    pub(super) store: Store,
    pub(super) address: SocketAddr,
}

impl Source {
    pub(super) fn new(trees: &[&TestTree]) -> Self {
        Self::of(None, trees)
    }

    /// One that belongs to a group, if any.
    pub(super) fn of(group: Option<GroupSecret>, trees: &[&TestTree]) -> Self {
        let scratch = Scratch::new();
        let directory = scratch.directory("store");
        for tree in trees {
            put_in_store(tree, &directory, ALGORITHM);
        }
        let mut store = Store::start_in(group, &scratch, &directory, true);
        let address = store.lan.take().unwrap();
        Self {
            scratch,
            store,
            address,
        }
    }

    pub(super) async fn offers(&self, id: &TreeId) {
        self.store.offers(id).await;
    }

    pub(super) fn wish(&self, id: &TreeId) -> StartFetchRequest {
        StartFetchRequest {
            from: vec![self.address.to_string()],
            ..wish(id)
        }
    }
}

pub(super) struct Store {
    pub(super) endpoint: zeroshare_api::connect::LocalEndpoint,
    pub(super) lan: Option<SocketAddr>,
    lifetime: Lifetime,
}

impl Store {
    pub(super) fn start(scratch: &Scratch, directory: &Path, is_offered: bool) -> Self {
        Self::start_in(None, scratch, directory, is_offered)
    }

    fn start_in(
        group: Option<GroupSecret>,
        scratch: &Scratch,
        directory: &Path,
        is_offered: bool,
    ) -> Self {
        let common = CommonSettings {
            runtime_dir: Some(scratch.path().to_owned()),
            state_dir: Some(scratch.join("state")),
            cache_dir: Some(scratch.join("cache")),
            ..CommonSettings::default()
        };
        let none = CommonSettings::default();
        let common = CommonConfig::resolve(common, none, &Env::default()).unwrap();
        let settings = StoreSettings {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            ..StoreSettings::default()
        };
        let mut config = StoreConfig::resolve(settings, StoreSettings::default(), &common).unwrap();
        config.roots = vec![ShelvedRoot {
            path: directory.to_owned(),
            shared: true,
        }];
        config.index = IndexPlace::Memory;
        config.group = group;
        let address = LocalAddress::Unix {
            path: scratch.join("store.sock"),
            mode: 0o600,
        };
        let local = vec![LocalListener::bind(&address).unwrap()];
        let lan: Vec<_> = is_offered.then(loopback_listener).into_iter().collect();
        let bound = lan.first().map(|listener| {
            SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()))
        });
        let lifetime = Lifetime::new();
        let listeners = StoreListeners {
            lan,
            local,
            tls: config.tls().unwrap(),
        };
        drop(lifetime.spawn(
            "store",
            zeroshare_store::run(config, listeners, lifetime.clone()),
        ));
        Self {
            endpoint: scratch.endpoint("store"),
            lan: bound,
            lifetime,
        }
    }

    /// Waits until the store counts a tree as verified.
    async fn offers(&self, id: &TreeId) {
        let channel = zeroshare_api::connect::local_channel(&self.endpoint);
        let store = zeroshare_api::clients::local_store(channel);
        let wanted = id.to_string();
        eventually("the store offers the tree", LIMIT, async || {
            let page = store
                .clone()
                .list_content(ListContentRequest::default())
                .await;
            let Ok(page) = page else { return false };
            let mut held = page.into_inner().contents.into_iter();
            held.any(|held| held.content_id == wanted && held.verify_time.is_some())
        })
        .await;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.lifetime.stop();
    }
}
