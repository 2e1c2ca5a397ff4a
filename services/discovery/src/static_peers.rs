//! The addresses of peers that are named.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tokio::{
    net::lookup_host,
    task::JoinSet,
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

/// Addresses of one name: those of a headless service, of which one is enough to find the others.
const MOST_ADDRESSES: usize = 64;

/// Tells the addresses of the peers, and again whenever they changed. Ends with its receiver.
pub(crate) async fn watch<F: Future<Output = bool>>(
    peers: Vec<StaticPeer>,
    tell: impl FnMut(Vec<SocketAddr>) -> F,
) {
    watch_with(peers, resolve, tell).await;
}

async fn watch_with<R, F>(
    peers: Vec<StaticPeer>,
    resolve: impl Fn(StaticPeer) -> R,
    mut tell: impl FnMut(Vec<SocketAddr>) -> F,
) where
    R: Future<Output = Vec<SocketAddr>> + Send + 'static,
    F: Future<Output = bool>,
{
    let mut known = Known::of(peers.len());
    loop {
        // They end with this task; one name whose resolver is silent keeps no other waiting.
        let mut resolving = JoinSet::new();
        for (at, peer) in peers.iter().enumerate() {
            let resolved = resolve(peer.clone());
            resolving.spawn(async move { (at, resolved.await) });
        }
        let mut complete = true;
        while let Some(resolved) = resolving.join_next().await {
            let Ok((at, addresses)) = resolved else {
                complete = false;
                continue;
            };
            complete &= !addresses.is_empty();
            let Some(all) = known.learn(at, addresses) else {
                continue;
            };
            let list: Vec<String> = all.iter().map(ToString::to_string).collect();
            info!(addresses = list.join(", "), "static peers");
            if !tell(all).await {
                return;
            }
        }
        sleep(if complete {
            RESOLVE_INTERVAL
        } else {
            RETRY_INTERVAL
        })
        .await;
    }
}

/// The last addresses that each name had.
#[derive(Debug)]
struct Known {
    by_name: Vec<Vec<SocketAddr>>,
    told: BTreeSet<SocketAddr>,
}

impl Known {
    fn of(names: usize) -> Self {
        Self {
            by_name: vec![Vec::new(); names],
            told: BTreeSet::new(),
        }
    }

    /// Takes in what one name has now. The result is what all of them have, if that changed.
    fn learn(&mut self, at: usize, addresses: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
        // A resolver that is away for a moment takes no peer away.
        if addresses.is_empty() {
            return None;
        }
        *self.by_name.get_mut(at)? = addresses;
        let all: BTreeSet<SocketAddr> = self.by_name.iter().flatten().copied().collect();
        if all == self.told {
            return None;
        }
        self.told = all;
        Some(self.in_turns())
    }

    /// All addresses, the first of each name before the second of any: no name with many keeps the others out.
    fn in_turns(&self) -> Vec<SocketAddr> {
        let longest = self.by_name.iter().map(Vec::len).max().unwrap_or(0);
        let turns = (0..longest).flat_map(|turn| {
            let of_turn = self.by_name.iter();
            of_turn.filter_map(move |addresses| addresses.get(turn).copied())
        });
        let mut seen = BTreeSet::new();
        turns.filter(|address| seen.insert(*address)).collect()
    }
}

async fn resolve(peer: StaticPeer) -> Vec<SocketAddr> {
    match timeout(RESOLVE_TIME, lookup_host((peer.host(), peer.port()))).await {
        Ok(Ok(addresses)) => first_of(addresses),
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

/// As many as are used of those that a name has: the same ones in whatever order they come.
fn first_of(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: BTreeSet<SocketAddr> = addresses.collect();
    all.into_iter().take(MOST_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// Nothing here takes as long.
    const LIMIT: Duration = Duration::from_secs(20);

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_that_cannot_be_resolved_keeps_its_addresses() {
        let mut known = Known::of(2);
        let (first, second, third) = (at("10.0.0.1:1"), at("10.0.0.2:1"), at("10.0.0.3:1"));
        assert_eq!(known.learn(0, vec![first]), Some(vec![first]));
        assert_eq!(known.learn(1, vec![second]), Some(vec![first, second]));
        assert_eq!(known.learn(0, Vec::new()), None);
        assert_eq!(known.learn(1, vec![second]), None);
        assert_eq!(known.learn(1, vec![third]), Some(vec![first, third]));
    }

    #[test]
    fn of_a_name_with_many_addresses_the_same_ones_are_used_whatever_their_order() {
        let all = || (0..200).map(|last| SocketAddr::from(([10, 0, 0, last], 1)));
        let first = first_of(all());
        assert_eq!(first.len(), MOST_ADDRESSES);
        assert_eq!(first_of(all().rev()), first);
    }

    #[test]
    fn a_name_with_many_addresses_keeps_no_other_out() {
        let mut known = Known::of(2);
        let many: Vec<SocketAddr> = (0..64).map(|last| ([10, 0, 0, last], 1).into()).collect();
        known.learn(0, many.clone());
        let one = at("10.9.0.1:1");
        let all = known.learn(1, vec![one]).unwrap();
        assert_eq!(all[..3], [many[0], one, many[1]]);
        assert_eq!(all.len(), 65);
    }

    #[tokio::test]
    async fn a_name_whose_resolver_is_silent_keeps_no_other_waiting() {
        let peers = ["silent", "known"].map(|name| name.parse().unwrap());
        let resolve = |peer: StaticPeer| async move {
            if peer.host() == "silent" {
                std::future::pending::<()>().await;
            }
            vec![at("10.0.0.1:1")]
        };
        let (sender, mut told) = mpsc::channel(1);
        let watching = watch_with(peers.to_vec(), resolve, |addresses| {
            let sender = sender.clone();
            async move { sender.send(addresses).await.is_ok() }
        });
        let addresses = tokio::select! {
            () = watching => None,
            addresses = timeout(LIMIT, told.recv()) => addresses.unwrap(),
        };
        assert_eq!(addresses, Some(vec![at("10.0.0.1:1")]));
    }
}
