//! What a mount runs with.

use std::path::PathBuf;
use std::time::Duration;

use zeroshare_api::connect::TracedChannel;

/// How long a process is kept waiting for other machines that download what it looks up, unless said otherwise.
pub const DEFAULT_HOLD: Duration = Duration::from_mins(1);

/// Nobody may be kept waiting for longer, whatever is said: an hour.
pub const MAX_HOLD: Duration = Duration::from_hours(1);

/// What a mount runs with.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// Where the file system appears; made if it is not there.
    pub dir: PathBuf,
    /// Whether other users see it. Without root, `/etc/fuse.conf` must allow that.
    pub allow_other: bool,
    /// Ask these hosts only, and nobody by datagram; empty: the LAN.
    pub from: Vec<String>,
    /// Whether the root lists what neighbours share publicly, beside what is here.
    pub list_neighbours: bool,
    /// How long one process is kept waiting in all for other machines that download what it looks up; zero: not at all.
    pub hold: Duration,
    /// 0install's caches of feeds, from which `by-name` is made; the first counts first.
    pub feed_caches: Vec<PathBuf>,
}

/// The services that a mount asks.
#[derive(Debug, Clone)]
pub struct Backing {
    /// Finds manifests, and brings files.
    pub fetcher: TracedChannel,
    /// Says what is here already.
    pub store: TracedChannel,
    /// Says when to forget that nobody had something.
    pub discovery: TracedChannel,
}
