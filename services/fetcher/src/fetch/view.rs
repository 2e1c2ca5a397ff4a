//! What others see of a fetch.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use zeroshare_content::ContentId;
use zeroshare_wire::pb::fetcher::v1::{FetchProgress, FetchState, PeerFault, PeerShare};

use super::failure::FetchFailure;

/// A fetch as it is now.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) id: ContentId,
    pub(crate) stage: Stage,
    pub(crate) progress: Progress,
    /// Whether this machine's stores were looked through in vain.
    pub(crate) looked_locally: bool,
    pub(crate) accused: Accused,
}

/// How far a fetch is.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    Locating,
    Transferring,
    Committing,
    Succeeded(PathBuf),
    Failed(FetchFailure),
}

impl Stage {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Succeeded(_) | Self::Failed(_))
    }

    pub(crate) fn state(&self) -> FetchState {
        match self {
            Self::Locating => FetchState::Locating,
            Self::Transferring => FetchState::Transferring,
            Self::Committing => FetchState::Committing,
            Self::Succeeded(_) => FetchState::Succeeded,
            Self::Failed(FetchFailure::Cancelled) => FetchState::Cancelled,
            Self::Failed(_) => FetchState::Failed,
        }
    }
}

/// How much of a fetch is done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) reused_bytes: u64,
    pub(crate) done_files: u64,
    pub(crate) total_files: u64,
    pub(crate) peers: Vec<Share>,
}

/// What came from one peer.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) peer_id: String,
    pub(crate) address: String,
    pub(crate) received_bytes: u64,
    pub(crate) bytes_per_second: u64,
}

/// Who sent what was wrong, and how wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accused(BTreeMap<(String, String), PeerFault>);

impl Accused {
    /// More are not remembered: one fetch does not ask so many liars.
    const MOST: usize = 256;

    /// Takes in what was noted elsewhere.
    pub(crate) fn add_all(&mut self, others: Self) {
        for ((peer_id, address), fault) in others.0 {
            self.add(&peer_id, &address, fault);
        }
    }

    /// Notes what somebody did, unless it did worse.
    pub(crate) fn add(&mut self, peer_id: &str, address: &str, fault: PeerFault) {
        let name = (peer_id.to_owned(), address.to_owned());
        if self.0.len() >= Self::MOST && !self.0.contains_key(&name) {
            return;
        }
        let known = self.0.entry(name).or_insert(fault);
        *known = fault.max(*known);
    }
}

impl View {
    /// How far it is, and who did what, as it is told to callers.
    pub(crate) fn to_progress(&self) -> FetchProgress {
        let mut told = FetchProgress::from(&self.progress);
        for ((peer_id, address), fault) in &self.accused.0 {
            let is_it =
                |share: &&mut PeerShare| (&share.peer_id, &share.address) == (peer_id, address);
            match told.peers.iter_mut().find(is_it) {
                Some(share) => share.set_fault(*fault),
                None => told.peers.push(PeerShare {
                    peer_id: peer_id.clone(),
                    address: address.clone(),
                    fault: (*fault).into(),
                    ..PeerShare::default()
                }),
            }
        }
        told
    }
}

impl From<&Progress> for FetchProgress {
    fn from(progress: &Progress) -> Self {
        let share = |share: &Share| PeerShare {
            peer_id: share.peer_id.clone(),
            received_bytes: share.received_bytes,
            bytes_per_second: share.bytes_per_second,
            address: share.address.clone(),
            ..PeerShare::default()
        };
        Self {
            done_bytes: progress.done_bytes.min(progress.total_bytes),
            total_bytes: progress.total_bytes,
            reused_bytes: progress.reused_bytes,
            done_files: progress.done_files.min(progress.total_files),
            total_files: progress.total_files,
            peers: progress.peers.iter().map(share).collect(),
        }
    }
}

/// Counts what one peer gives; shared by the readers of its calls.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    received_bytes: AtomicU64,
}

impl Meter {
    pub(crate) fn add(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }
}

/// A peer's rate, smoothed over a few ticks.
#[derive(Debug)]
pub(crate) struct Rate {
    meter: Arc<Meter>,
    last: (Instant, u64),
    bytes_per_second: f64,
}

impl Rate {
    pub(crate) fn new(meter: Arc<Meter>, now: Instant) -> Self {
        Self {
            meter,
            last: (now, 0),
            bytes_per_second: 0.0,
        }
    }

    /// Takes a sample, and gives all bytes and the rate.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people, never negative"
    )]
    pub(crate) fn sample(&mut self, now: Instant) -> (u64, u64) {
        /// The weight of the newest sample.
        const FRESH: f64 = 0.3;
        let received = self.meter.received_bytes();
        let seconds = now.saturating_duration_since(self.last.0).as_secs_f64();
        if seconds > 0.0 {
            let fresh = received.saturating_sub(self.last.1) as f64 / seconds;
            let is_first = self.last.1 == 0;
            self.bytes_per_second = if is_first {
                fresh
            } else {
                FRESH.mul_add(fresh, (1.0 - FRESH) * self.bytes_per_second)
            };
            self.last = (now, received);
        }
        (received, self.bytes_per_second as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sent_wrong_bytes_is_named_with_its_gravest_fault_whatever_else_it_gave() {
        let mut view = View {
            id: ContentId::Blob(zeroshare_content::BlobId::of(
                zeroshare_content::HashKind::Sha256,
                b"",
            )),
            stage: Stage::Transferring,
            progress: Progress {
                peers: vec![Share {
                    peer_id: "a".to_owned(),
                    address: "10.0.0.1:1".to_owned(),
                    received_bytes: 7,
                    bytes_per_second: 0,
                }],
                ..Progress::default()
            },
            looked_locally: true,
            accused: Accused::default(),
        };
        let first = ("a", "10.0.0.1:1");
        view.accused.add(first.0, first.1, PeerFault::Convicted);
        view.accused.add(first.0, first.1, PeerFault::WrongBytes);
        view.accused.add("b", "10.0.0.2:1", PeerFault::Violation);
        let told = view.to_progress().peers;
        let faults: Vec<(&str, u64, PeerFault)> = told
            .iter()
            .map(|share| (share.peer_id.as_str(), share.received_bytes, share.fault()))
            .collect();
        assert_eq!(
            faults,
            [
                ("a", 7, PeerFault::Convicted),
                ("b", 0, PeerFault::Violation)
            ]
        );
    }
}
