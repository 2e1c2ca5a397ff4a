//! A store without its listeners, asked directly.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, broadcast};
use tonic::Request;
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::networks::ReadableNetworks;
use zeroshare_chassis::rate::Throttle;
use zeroshare_chassis::serve::{PeerAddress, PeerCredentials};
use zeroshare_content::{Algorithm, TreeId};
use zeroshare_shelf::{Copies, IndexPlace, Shelf, ShelfOptions, ShelvedRoot};
use zeroshare_testkit::{Scratch, TestTree, put_in_store};

use crate::access::Listing;
use crate::feeds::Feeds;
use crate::slots::Slots;
use crate::store::{Facts, Parts, Store};

/// A store with two roots: `shared`, and `own`, which is not offered.
pub(crate) struct Fixture {
    pub(crate) scratch: Scratch,
    pub(crate) store: Arc<Store>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let root = |name: &str, shared| ShelvedRoot {
            path: scratch.directory(name),
            shared,
        };
        let shelf = Shelf::open_index(ShelfOptions {
            roots: vec![root("shared", true), root("own", false)],
            index: IndexPlace::Memory,
            boot: "this boot".to_owned(),
            observer: Box::new(|_| ()),
        });
        let (changes, _) = broadcast::channel(16);
        let store = Store::new(Parts {
            shelf: shelf.unwrap(),
            feeds: Feeds::default(),
            networks: Arc::new(ReadableNetworks::with_listing(
                Vec::new(),
                Box::new(|| Ok(Vec::new())),
            )),
            transfers: Slots::new(8, 8),
            uploads: Throttle::default(),
            changes,
            work: Arc::new(Notify::new()),
            lifetime: Lifetime::new(),
            facts: Facts {
                lan_addresses: Vec::new(),
                readers: Vec::new(),
                restriction: String::new(),
                listing: Listing::Public,
                part_deadline: Duration::from_millis(50),
            },
        });
        Self {
            scratch,
            store: Arc::new(store),
        }
    }

    /// Puts a tree into a root and verifies it.
    pub(crate) fn put(&self, tree: &TestTree, root: &str) -> TreeId {
        let algorithm = Algorithm::Sha256New;
        put_in_store(tree, &self.scratch.directory(root), algorithm);
        let id = tree.tree_id(algorithm);
        let shelf = &self.store.shelf;
        shelf.rescan(SystemTime::now()).unwrap();
        let mut go_on = |_| ControlFlow::Continue(());
        let outcome = shelf.verify(id, Copies::All, &mut go_on).unwrap();
        assert_eq!(outcome.faults, [""; 0]);
        id
    }
}

/// A request as a peer on this very machine sends it.
pub(crate) fn from_peer<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let address = SocketAddr::from(([127, 0, 0, 1], 7));
    request.extensions_mut().insert(PeerAddress(address));
    request
}

/// A request as a user of this machine sends it.
pub(crate) fn from_user<T>(uid: u32, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(PeerCredentials {
        uid,
        gid: 7,
        pid: None,
    });
    request
}
