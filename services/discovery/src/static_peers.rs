//! The addresses of peers that are named.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tokio::{
    net::lookup_host,
    time::{sleep, timeout},
};
use tracing::{debug, info};
use zeroshare_chassis::settings::StaticPeer;

/// Names are resolved again after this: addresses change.
const RESOLVE_INTERVAL: Duration = Duration::from_mins(1);

/// … and after this while one of them has none.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// A resolver that nobody answers takes longer than anybody waits.
const RESOLVE_TIME: Duration = Duration::from_secs(5);

/// Addresses of one name.
const MOST_ADDRESSES: usize = 16;

/// Tells the addresses of the peers, and again whenever they changed. Ends with its receiver.
pub(crate) async fn watch<F: Future<Output = bool>>(
    peers: Vec<StaticPeer>,
    mut tell: impl FnMut(Vec<SocketAddr>) -> F,
) {
    let mut known = BTreeSet::new();
    loop {
        let mut found = BTreeSet::new();
        let mut complete = true;
        for peer in &peers {
            let addresses = resolve(peer).await;
            complete &= !addresses.is_empty();
            found.extend(addresses);
        }
        // A resolver that is away for a moment takes no peer away.
        if found != known && !found.is_empty() {
            let list: Vec<String> = found.iter().map(ToString::to_string).collect();
            info!(addresses = list.join(", "), "static peers");
            if !tell(found.iter().copied().collect()).await {
                return;
            }
            known = found;
        }
        sleep(if complete {
            RESOLVE_INTERVAL
        } else {
            RETRY_INTERVAL
        })
        .await;
    }
}

async fn resolve(peer: &StaticPeer) -> Vec<SocketAddr> {
    match timeout(RESOLVE_TIME, lookup_host((peer.host(), peer.port()))).await {
        Ok(Ok(addresses)) => addresses.take(MOST_ADDRESSES).collect(),
        Ok(Err(error)) => {
            debug!(%peer, %error, "static peer has no address");
            Vec::new()
        }
        Err(_) => {
            debug!(%peer, "static peer has no address in time");
            Vec::new()
        }
    }
}
