//! A world to simulate transfers in.

mod blaming;
mod cold;
mod followed;
mod late_lists;
mod liars;
mod model;
mod planning;
mod swarm;
mod wanted;
mod world;

use std::time::Instant;

/// A moment to count from.
#[expect(
    clippy::disallowed_methods,
    reason = "`Instant` has no other beginning"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
