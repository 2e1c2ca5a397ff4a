//! How providers did, by the word of whoever read from them.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_content::ContentId;

use crate::{
    event::{Report, Verdict},
    settings::RememberedBan,
};

/// As many stores as a large LAN has; 200 kB.
const MOST: usize = 2_048;

/// How long a conviction keeps a store from being read.
const BAN: Duration = Duration::from_hours(24);

/// After this time half of the faults are forgotten.
const FAULT_HALF_LIFE: Duration = Duration::from_mins(10);

/// How long a store that did not hold something is not asked for it again on the strength of its filter.
const NOT_HOLDING_MEMORY: Duration = Duration::from_mins(1);

/// How many such ids are remembered of one store.
const MOST_NOT_HELD: usize = 16;

/// So many different convicts within [`SUSPICION`] are more likely this machine's own memory or network card.
const TOO_MANY_CONVICTS: usize = 3;

/// See [`TOO_MANY_CONVICTS`].
const SUSPICION: Duration = Duration::from_hours(1);

/// Reports keyed by what the transfer was with: an address and port, never an id that somebody claimed.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    stores: BTreeMap<SocketAddr, Standing>,
    convicts: VecDeque<(Instant, SocketAddr)>,
}

/// How one store did.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) bytes_per_second: u64,
    faults: u32,
    halved_at: Instant,
    ban_end: Option<Instant>,
    not_held: VecDeque<(Instant, ContentId)>,
    used_at: Instant,
}

impl Standings {
    /// Takes over bans of an earlier run.
    pub(crate) fn remember(&mut self, now: Instant, bans: &[RememberedBan]) {
        for ban in bans.iter().take(MOST) {
            let remaining = ban.remaining.min(BAN);
            self.at(now, ban.address).ban_end = Some(now + remaining);
        }
    }

    /// Takes in a report.
    pub(crate) fn report(&mut self, now: Instant, report: &Report) {
        let convicted = report.verdict == Verdict::Convicted && self.convict(now, report.address);
        let standing = self.at(now, report.address);
        match report.verdict {
            Verdict::Gave(rate) => {
                standing.bytes_per_second = match standing.bytes_per_second {
                    0 => rate,
                    // A quarter of each new measurement: one slow transfer is not the whole picture.
                    before => before / 4 * 3 + rate / 4,
                };
                return;
            }
            Verdict::NotHolding => {
                if let Some(content) = report.content {
                    if standing.not_held.len() == MOST_NOT_HELD {
                        standing.not_held.pop_front();
                    }
                    standing.not_held.push_back((now, content));
                }
            }
            Verdict::Convicted if convicted => standing.ban_end = Some(now + BAN),
            Verdict::Unreachable | Verdict::Corrupt | Verdict::Convicted => {}
        }
        standing.faults = standing.faults_at(now).saturating_add(1);
        standing.halved_at = now;
    }

    pub(crate) fn of(&self, address: SocketAddr) -> Option<&Standing> {
        self.stores.get(&address)
    }

    /// Bans that are still running.
    pub(crate) fn bans(&self, now: Instant) -> Vec<RememberedBan> {
        let running = |(address, standing): (&SocketAddr, &Standing)| {
            let remaining = standing.ban(now)?;
            Some(RememberedBan {
                address: *address,
                remaining,
            })
        };
        self.stores.iter().filter_map(running).collect()
    }

    /// Notes a convict, and says whether to believe it.
    fn convict(&mut self, now: Instant, address: SocketAddr) -> bool {
        self.convicts.retain(|(at, convict)| {
            now.saturating_duration_since(*at) < SUSPICION && *convict != address
        });
        if self.convicts.len() == TOO_MANY_CONVICTS {
            self.convicts.pop_front();
        }
        self.convicts.push_back((now, address));
        self.convicts.len() < TOO_MANY_CONVICTS
    }

    fn at(&mut self, now: Instant, address: SocketAddr) -> &mut Standing {
        if self.stores.len() >= MOST && !self.stores.contains_key(&address) {
            // Who is banned longest goes last; else whoever was not heard of for the longest time.
            let key = |(_, one): &(&SocketAddr, &Standing)| (one.ban(now), one.used_at);
            if let Some(oldest) = self.stores.iter().min_by_key(key).map(|(at, _)| *at) {
                self.stores.remove(&oldest);
            }
        }
        let standing = self.stores.entry(address).or_insert_with(|| Standing {
            bytes_per_second: 0,
            faults: 0,
            halved_at: now,
            ban_end: None,
            not_held: VecDeque::new(),
            used_at: now,
        });
        standing.used_at = now;
        standing
    }
}

impl Standing {
    /// Faults that are not forgotten yet.
    pub(crate) fn faults_at(&self, now: Instant) -> u32 {
        let halvings =
            now.saturating_duration_since(self.halved_at).as_secs() / FAULT_HALF_LIFE.as_secs();
        let halvings = u32::try_from(halvings).unwrap_or(u32::MAX);
        self.faults.checked_shr(halvings).unwrap_or(0)
    }

    /// For how long it is still banned.
    pub(crate) fn ban(&self, now: Instant) -> Option<Duration> {
        self.ban_end
            .map(|end| end.saturating_duration_since(now))
            .filter(|remaining| !remaining.is_zero())
    }

    /// Whether it was found lately not to hold something.
    pub(crate) fn lacks(&self, now: Instant, content: &ContentId) -> bool {
        self.not_held.iter().any(|(at, lacked)| {
            lacked == content && now.saturating_duration_since(*at) < NOT_HOLDING_MEMORY
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(last: u8, verdict: Verdict) -> Report {
        Report {
            address: SocketAddr::from(([10, 0, 0, last], 38339)),
            content: None,
            verdict,
        }
    }

    #[test]
    fn faults_are_forgotten_by_halves_and_bans_after_a_day() {
        let now = crate::testing::start();
        let mut standings = Standings::default();
        for _ in 0..4 {
            standings.report(now, &report(1, Verdict::Unreachable));
        }
        standings.report(now, &report(2, Verdict::Convicted));
        let one = standings
            .of(report(1, Verdict::Unreachable).address)
            .unwrap();
        assert_eq!(one.faults_at(now), 4);
        assert_eq!(one.faults_at(now + FAULT_HALF_LIFE), 2);
        assert_eq!(one.faults_at(now + FAULT_HALF_LIFE * 9), 0);
        assert!(one.ban(now).is_none());
        assert_eq!(standings.bans(now).len(), 1);
        assert!(standings.bans(now + BAN).is_empty());
    }

    #[test]
    fn after_three_convicts_in_an_hour_nobody_else_is_banned() {
        let now = crate::testing::start();
        let mut standings = Standings::default();
        for last in 1..=5 {
            standings.report(now, &report(last, Verdict::Convicted));
            standings.report(now, &report(last, Verdict::Convicted));
        }
        assert_eq!(standings.bans(now).len(), 2);
        standings.report(now + SUSPICION, &report(9, Verdict::Convicted));
        assert_eq!(standings.bans(now + SUSPICION).len(), 3);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_bans_longest() {
        let now = crate::testing::start();
        let mut standings = Standings::default();
        standings.report(now, &report(9, Verdict::Convicted));
        for number in 0..3 * u16::try_from(MOST).unwrap() {
            let address = SocketAddr::from(([10, 1, 0, 1], number));
            let verdict = Verdict::Gave(u64::from(number));
            standings.report(
                now,
                &Report {
                    address,
                    content: None,
                    verdict,
                },
            );
        }
        assert_eq!(standings.stores.len(), MOST);
        assert_eq!(standings.bans(now).len(), 1);
    }
}
