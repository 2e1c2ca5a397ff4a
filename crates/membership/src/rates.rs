//! How fast this node may speak.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::place::Place;

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

/// What newcomers are told of what is held here: many of them must not use up what questions need.
const GREETINGS: Rate = Rate {
    per_second: 100,
    burst: 200,
};

/// What it says because somebody spoke to it: answers and pages of peers; echo replies have as much of their own.
const REPLIES: Rate = Rate {
    per_second: 200,
    burst: 400,
};

/// The same to peers that echoed: strangers must not use that up either.
const REPLIES_TO_PEERS: Rate = Rate {
    per_second: 400,
    burst: 800,
};

/// The same in the name of one address: whoever speaks in it uses up no more of what is for all.
const REPLIES_TO_A_PLACE: Rate = Rate {
    per_second: 50,
    burst: 100,
};

/// Addresses that were replied to lately; further ones share what is for all.
const MOST_PLACES: usize = 4_096;

/// Addresses are forgotten no more often than this.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

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

    fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

/// Why something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Speech {
    Own,
    Ahead,
    Greeting,
    Echo,
    EchoToPeer,
    Reply,
    ReplyToPeer,
}

/// The buckets of every interface, and of whoever was replied to lately.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    buckets: BTreeMap<(u32, Speech), Bucket>,
    places: BTreeMap<(Place, Speech), Bucket>,
    sweep_at: Option<Instant>,
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
            Speech::Greeting => GREETINGS,
            Speech::Echo | Speech::Reply => REPLIES,
            Speech::EchoToPeer | Speech::ReplyToPeer => REPLIES_TO_PEERS,
        };
        self.buckets
            .entry((interface, speech))
            .or_insert_with(|| Bucket::new(rate))
            .take(now)
    }

    /// The same for a reply to an address.
    pub(crate) fn take_reply(
        &mut self,
        now: Instant,
        interface: u32,
        speech: Speech,
        place: Place,
    ) -> bool {
        self.take_of_place(now, (place, speech)) && self.take(now, interface, speech)
    }

    fn take_of_place(&mut self, now: Instant, key: (Place, Speech)) -> bool {
        if let Some(bucket) = self.places.get_mut(&key) {
            return bucket.take(now);
        }
        if self.places.len() >= MOST_PLACES && self.sweep_at.is_none_or(|at| at <= now) {
            self.places.retain(|_, bucket| !bucket.is_full(now));
            self.sweep_at = Some(now + SWEEP_INTERVAL);
        }
        if self.places.len() >= MOST_PLACES {
            return true;
        }
        let bucket = self.places.entry(key);
        bucket
            .or_insert_with(|| Bucket::new(REPLIES_TO_A_PLACE))
            .take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: u16) -> Place {
        let [high, low] = number.to_be_bytes();
        Place::of(([10, 0, high, low], 1).into())
    }

    #[test]
    fn one_address_takes_no_more_than_its_share_of_the_replies() {
        let now = crate::testing::start();
        let mut budgets = Budgets::default();
        let mut taken = |speech, at: u16| {
            let takes = |_: &u32| budgets.take_reply(now, 1, speech, place(at));
            (0..1_000).take_while(takes).count()
        };
        assert_eq!(taken(Speech::ReplyToPeer, 1), 100);
        assert_eq!(taken(Speech::ReplyToPeer, 2), 100);
        assert_eq!(taken(Speech::EchoToPeer, 1), 100, "echoes are apart");
        for at in 3..=8 {
            assert_eq!(taken(Speech::ReplyToPeer, at), 100);
        }
        assert_eq!(taken(Speech::ReplyToPeer, 9), 0, "there is an end to all");
    }

    #[test]
    fn however_many_are_replied_to_few_are_remembered() {
        let now = crate::testing::start();
        let mut budgets = Budgets::default();
        for number in 0..10_000 {
            budgets.take_reply(now, 1, Speech::Echo, place(number));
        }
        assert_eq!(budgets.places.len(), MOST_PLACES);
        let later = now + SWEEP_INTERVAL;
        assert!(budgets.take_reply(later, 1, Speech::Echo, place(10_000)));
        assert_eq!(budgets.places.len(), 1);
    }

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
