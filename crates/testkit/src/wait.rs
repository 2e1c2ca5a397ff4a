//! Waiting for conditions.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often a condition is looked at: no test waits longer than it needs to.
const LOOK: Duration = Duration::from_millis(3);

/// Waits until a condition holds; the test fails when it does not within `limit`.
///
/// `what` says in words what was waited for.
pub async fn eventually(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    eventually_some(what, limit, async || condition().await.then_some(())).await;
}

/// Waits until there is a value; as [`eventually`].
pub async fn eventually_some<T>(
    what: &str,
    limit: Duration,
    mut value: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(value) = value().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
    }
}
