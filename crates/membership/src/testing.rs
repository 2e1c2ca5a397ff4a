//! What tests begin with.

use std::time::Instant;

/// Some moment: only differences count.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to get an `Instant`"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
