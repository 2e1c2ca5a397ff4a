//! Sharing nothing for a while.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{self, Instant};
use zeroshare_shelf::Audience;

use crate::store::Store;

/// The longest pause: who wants more does not want a node, and nobody remembers why nothing is shared.
pub(crate) const MAX_PAUSE: Duration = Duration::from_hours(24 * 31);

/// Contents told of at once.
const PAGE: usize = 1000;

/// Whether peers are served now.
#[derive(Debug)]
pub(crate) struct Pause {
    until: watch::Sender<Option<Until>>,
}

#[derive(Debug, Clone, Copy)]
struct Until {
    instant: Instant,
    time: SystemTime,
}

impl Default for Pause {
    fn default() -> Self {
        let (until, _) = watch::channel(None);
        Self { until }
    }
}

impl Pause {
    /// Pauses for so long from now on, in place of what was said before; zero resumes.
    pub(crate) fn set(&self, duration: Duration) {
        let until = Until {
            instant: Instant::now() + duration.min(MAX_PAUSE),
            time: SystemTime::now() + duration.min(MAX_PAUSE),
        };
        let until = (!duration.is_zero()).then_some(until);
        self.until.send_replace(until);
    }

    /// Whether peers are served nothing.
    pub(crate) fn is_on(&self) -> bool {
        self.left().is_some()
    }

    /// How long it still lasts; `None` while peers are served.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until = (*self.until.borrow())?;
        let left = until.instant.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Waits until peers are served nothing, and gives how long that lasts. May be dropped midway.
    pub(crate) async fn begun(&self) -> Duration {
        let mut changes = self.until.subscribe();
        loop {
            if let Some(left) = self.left() {
                return left;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// When it ends by itself; `None` while peers are served.
    pub(crate) fn resume_time(&self) -> Option<SystemTime> {
        let until = *self.until.borrow();
        until
            .filter(|until| until.instant > Instant::now())
            .map(|until| until.time)
    }
}

/// Tells watchers of everything anew whenever a pause begins or ends, until the store stops.
pub(crate) async fn follow(store: Arc<Store>) {
    let mut changes = store.pause.until.subscribe();
    loop {
        let until = *changes.borrow_and_update();
        let over = async {
            match until {
                Some(until) => time::sleep_until(until.instant).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {
                store.pause.until.send_if_modified(|now| {
                    let is_over = now.is_some_and(|now| now.instant <= Instant::now());
                    if is_over {
                        *now = None;
                    }
                    is_over
                });
                tracing::info!("sharing goes on");
            }
            changed = changes.changed() => if changed.is_err() { return },
            () = store.lifetime.stopping() => return,
        }
        tell_everything(&store);
    }
}

/// What is offered is different now, for each content.
fn tell_everything(store: &Store) {
    let mut after = None;
    loop {
        let page = store.shelf.holdings(after.as_ref(), PAGE, Audience::Local);
        for holding in &page {
            store.offers.changed(&holding.id);
        }
        if page.len() < PAGE {
            break;
        }
        after = page.last().map(|holding| holding.id);
    }
    let others = store.offers.ids(Audience::Local);
    for id in others.into_iter().chain(store.feeds.marks()) {
        store.offers.changed(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_by_itself_or_when_it_is_told_to() {
        let pause = Pause::default();
        assert!(!pause.is_on());
        pause.set(Duration::from_mins(1));
        assert!(pause.is_on() && pause.resume_time().is_some());
        time::advance(Duration::from_secs(59)).await;
        assert_eq!(pause.left(), Some(Duration::from_secs(1)));
        time::advance(Duration::from_secs(1)).await;
        assert!(!pause.is_on() && pause.resume_time().is_none());
        pause.set(Duration::MAX);
        assert_eq!(pause.left(), Some(MAX_PAUSE));
        pause.set(Duration::ZERO);
        assert!(!pause.is_on());
    }
}
