//! The numbers by which a cold start decides.

use std::time::Duration;

/// How this machine can read from upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Any range of it.
    Ranges,
    /// From the first byte to the last only: one member does so, the others wait.
    Whole,
    /// Not at all.
    None,
}

/// The numbers by which a cold start decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdSettings {
    /// Whether peers can read from this machine: if not, it reads from upstream only while no member does.
    pub is_served: bool,
    /// Upstream is left alone for so long, so that members find each other.
    pub settle: Duration,
    /// … and until nobody joined for so long …
    pub quiet: Duration,
    /// … but no longer than this.
    pub longest_settle: Duration,
    /// Between a claim and its request: who claimed the same is heard first.
    pub claim_lead: Duration,
    /// … where a server without ranges would be read twice for nothing.
    pub whole_lead: Duration,
    /// A claim is believed for so long, and longer for what it is large.
    pub claim_patience: Duration,
    /// What the slowest member that is waited for reads from upstream, in bytes a second.
    pub slowest_rate: u64,
    /// Requests to upstream at once.
    pub requests: usize,
    /// Bytes of the first request, and of each while others share the work.
    pub first_request_bytes: u64,
    /// Bytes of a request in the end, when alone.
    pub request_bytes: u64,
    /// Bytes of others' claims that are believed at a time, for each.
    pub claim_bytes: u64,
    /// Calls to one member at once.
    pub calls_per_member: usize,
    /// Calls to all members at once.
    pub calls: usize,
    /// Pieces in one call.
    pub call_pieces: usize,
    /// Bytes after which a call takes no more pieces.
    pub call_bytes: u64,
    /// Failures in a row after which a member, or upstream, is given up.
    pub failures: u32,
    /// Rest after the first failure; doubled by each further one.
    pub rest: Duration,
    /// The longest rest.
    pub longest_rest: Duration,
    /// Without upstream, the fetch ends when nothing came for so long.
    pub starved: Duration,
}

impl Default for ColdSettings {
    fn default() -> Self {
        Self {
            is_served: true,
            settle: Duration::from_millis(300),
            quiet: Duration::from_millis(100),
            longest_settle: Duration::from_millis(800),
            claim_lead: Duration::from_millis(60),
            whole_lead: Duration::from_millis(500),
            claim_patience: Duration::from_secs(3),
            slowest_rate: 256 * 1024,
            requests: 3,
            first_request_bytes: 256 * 1024,
            request_bytes: 8 * 1024 * 1024,
            claim_bytes: 64 * 1024 * 1024,
            calls_per_member: 2,
            calls: 32,
            call_pieces: 16,
            call_bytes: 4 * 1024 * 1024,
            failures: 5,
            rest: Duration::from_millis(200),
            longest_rest: Duration::from_secs(5),
            starved: Duration::from_secs(20),
        }
    }
}
