//! Callers of the local API that follow the peers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::mpsc;
use zeroshare_membership::PeerView;
use zeroshare_wire::datagram::NodeId;

/// Changes that one watcher may be behind.
const MOST_BEHIND: usize = 1_024;

/// Watchers at a time; each costs a copy of every change.
const MOST_WATCHERS: usize = 64;

/// What happened to a peer.
#[derive(Debug, Clone)]
pub(crate) enum PeerChange {
    /// It is live, or has other addresses.
    Up(Box<PeerView>),
    /// It is gone.
    Down(NodeId),
}

/// The peers live at the start, then every change.
#[derive(Debug)]
pub(crate) struct PeerWatch {
    pub(crate) snapshot: Vec<PeerView>,
    pub(crate) changes: mpsc::Receiver<PeerChange>,
    /// Whether the end came because the watcher was too far behind.
    pub(crate) lagged: Arc<AtomicBool>,
}

/// Everybody who follows the peers.
#[derive(Debug, Default)]
pub(super) struct Watchers(Vec<(mpsc::Sender<PeerChange>, Arc<AtomicBool>)>);

impl Watchers {
    pub(super) fn add(&mut self, snapshot: Vec<PeerView>) -> PeerWatch {
        self.0.retain(|(sender, _)| !sender.is_closed());
        if self.0.len() >= MOST_WATCHERS {
            let (_, lagged) = self.0.remove(0);
            lagged.store(true, Ordering::Release);
        }
        let (sender, changes) = mpsc::channel(MOST_BEHIND);
        let lagged = Arc::new(AtomicBool::new(false));
        self.0.push((sender, lagged.clone()));
        PeerWatch {
            snapshot,
            changes,
            lagged,
        }
    }

    pub(super) fn tell(&mut self, change: &PeerChange) {
        self.0.retain(|(sender, lagged)| {
            let told = sender.try_send(change.clone());
            if let Err(mpsc::error::TrySendError::Full(_)) = told {
                lagged.store(true, Ordering::Release);
            }
            told.is_ok()
        });
    }
}
