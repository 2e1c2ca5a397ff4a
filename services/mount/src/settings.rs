//! What a mount runs with.

use std::path::PathBuf;

use zeroshare_api::connect::TracedChannel;

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
