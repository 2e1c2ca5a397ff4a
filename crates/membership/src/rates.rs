//! How fast this node may speak.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What a node says of its own accord on one interface: beacons, queries, echoes.
const OWN: Rate = Rate {
    per_second: 200,
    burst: 400,
};

/// Echoes asked of whoever is heard for the first time: strangers must not use up what is for peers.
const AHEAD: Rate = Rate {
    per_second: 50,
    burst: 200,
};

/// What it says because somebody spoke to it: answers, echo replies, pages of peers.
const REPLIES: Rate = Rate {
    per_second: 200,
    burst: 400,
};

/// The same to peers that echoed: strangers must not use that up either.
const REPLIES_TO_PEERS: Rate = Rate {
    per_second: 400,
    burst: 800,
};

/// How fast, and how much at once after a silence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

/// A token bucket, kept as the moment at which it would be full again.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    full_at: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            full_at: None,
        }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let each = Duration::from_secs(1) / self.rate.per_second;
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        if full_at.duration_since(now) > each * (self.rate.burst - 1) {
            return false;
        }
        self.full_at = Some(full_at + each);
        true
    }
}

/// Why something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Speech {
    Own,
    Ahead,
    Reply,
    ReplyToPeer,
}

/// The buckets of every interface.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    buckets: BTreeMap<(u32, Speech), Bucket>,
}

impl Budgets {
    /// Forgets interfaces that are not there any more, so that their number stays bounded.
    pub(crate) fn retain(&mut self, present: impl Fn(u32) -> bool) {
        self.buckets
            .retain(|(index, _), _| *index == 0 || present(*index));
    }

    /// Whether something may be said now on an interface; 0 stands for routed networks.
    pub(crate) fn take(&mut self, now: Instant, interface: u32, speech: Speech) -> bool {
        let rate = match speech {
            Speech::Own => OWN,
            Speech::Ahead => AHEAD,
            Speech::Reply => REPLIES,
            Speech::ReplyToPeer => REPLIES_TO_PEERS,
        };
        self.buckets
            .entry((interface, speech))
            .or_insert_with(|| Bucket::new(rate))
            .take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = Bucket::new(Rate {
            per_second: 10,
            burst: 5,
        });
        let start = crate::testing::start();
        let taken =
            |bucket: &mut Bucket, at: Instant| (0..100).take_while(|_| bucket.take(at)).count();
        assert_eq!(taken(&mut bucket, start), 5);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(200)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_mins(1)), 5);
    }
}
