//! Static peers may read; by name, since addresses change.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time;
use zeroshare_chassis::settings::StaticPeer;

use crate::store::Store;

/// How often names are looked up.
const INTERVAL: Duration = Duration::from_mins(5);

/// How long one name may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Keeps letting static peers in by the addresses that they have now.
pub(crate) async fn resolve_friends(store: Arc<Store>, peers: Vec<StaticPeer>) {
    loop {
        let mut addresses = Vec::new();
        for peer in &peers {
            match time::timeout(DEADLINE, lookup_host((peer.host(), peer.port()))).await {
                Ok(Ok(found)) => addresses.extend(found.map(|address| address.ip())),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "static peer is not found"),
                Err(_) => tracing::debug!(%peer, "looking up a static peer takes too long"),
            }
        }
        store.networks.set_friends(addresses);
        tokio::select! {
            () = time::sleep(INTERVAL) => {}
            () = store.lifetime.stopping() => return,
        }
    }
}
