//! How providers did, by the word of whoever read from them.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use zeroshare_content::ContentId;
use zeroshare_wire::datagram::NodeId;

use crate::{
    event::{Report, Verdict},
    place::Place,
    settings::RememberedBan,
};

/// As many stores as a large LAN has; 200 kB.
const MOST: usize = 2_048;

/// Of these so many of one machine: whoever takes a port after the other displaces only itself.
const MOST_OF_A_MACHINE: usize = 32;

/// How long the first conviction keeps a store from being read; each further one four times as long.
const FIRST_BAN: Duration = Duration::from_mins(10);
const BAN_GROWTH: u32 = 4;

/// Nobody is banned for longer at a time.
const LONGEST_BAN: Duration = Duration::from_hours(7 * 24);

/// After so long without another conviction all of them are forgotten.
const CONVICTION_MEMORY: Duration = Duration::from_hours(28 * 24);

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

/// Reports keyed by what the transfer was with: an address and port, and the node that proved to be there, never an id that
/// somebody claimed.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    stores: BTreeMap<SocketAddr, Standing>,
    /// Bans that follow a node wherever it goes, for as long as this run knows them.
    nodes: BTreeMap<NodeId, Ban>,
    convicts: VecDeque<(Instant, SocketAddr)>,
}

/// How one store did.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) bytes_per_second: u64,
    faults: u32,
    halved_at: Instant,
    ban: Option<Ban>,
    not_held: VecDeque<(Instant, ContentId)>,
    used_at: Instant,
}

/// That a store was convicted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ban {
    /// When it is read again.
    end: Instant,
    pub(crate) convictions: u32,
    /// What it was asked for the last time.
    pub(crate) content: Option<ContentId>,
}

impl Ban {
    /// The next one of a store.
    fn after(before: Option<Self>, now: Instant, content: Option<ContentId>) -> Self {
        let remembered = |ban: &Self| now.saturating_duration_since(ban.end) < CONVICTION_MEMORY;
        match before.filter(remembered) {
            // Several fetches may find out the same at once.
            Some(running) if running.end > now => running,
            before => {
                let earlier = before.map_or(0, |ban| ban.convictions);
                let growth = BAN_GROWTH.saturating_pow(earlier);
                Self {
                    end: now + FIRST_BAN.saturating_mul(growth).min(LONGEST_BAN),
                    convictions: earlier.saturating_add(1),
                    content,
                }
            }
        }
    }

    /// For how long it runs still.
    fn remaining(&self, now: Instant) -> Option<Duration> {
        let remaining = self.end.saturating_duration_since(now);
        (!remaining.is_zero()).then_some(remaining)
    }
}

impl Standings {
    /// Takes over bans of an earlier run.
    pub(crate) fn remember(&mut self, now: Instant, bans: &[RememberedBan]) {
        for ban in bans.iter().take(MOST) {
            let end = now + ban.remaining.min(LONGEST_BAN);
            // A clock that began later than the ban ended makes it end just now.
            let end = end.checked_sub(ban.over_for).unwrap_or(now);
            self.at(now, ban.address).ban = Some(Ban {
                end,
                convictions: ban.convictions.max(1),
                content: ban.content,
            });
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
            Verdict::Convicted if convicted => {
                let ban = Ban::after(standing.ban, now, report.content);
                standing.ban = Some(ban);
                if let Some(node) = report.node {
                    self.ban_node(now, node, ban);
                }
            }
            Verdict::Unreachable | Verdict::Corrupt | Verdict::Convicted => {}
        }
        self.note_fault(now, report.address);
    }

    fn note_fault(&mut self, now: Instant, address: SocketAddr) {
        let standing = self.at(now, address);
        standing.faults = standing.faults_at(now).saturating_add(1);
        standing.halved_at = now;
    }

    /// Whoever is banned longest goes last.
    fn ban_node(&mut self, now: Instant, node: NodeId, ban: Ban) {
        self.nodes.retain(|_, one| one.remaining(now).is_some());
        if self.nodes.len() >= MOST && !self.nodes.contains_key(&node) {
            let least = self.nodes.iter().min_by_key(|(_, one)| one.end);
            if let Some(least) = least.map(|(node, _)| *node) {
                self.nodes.remove(&least);
            }
        }
        self.nodes.insert(node, ban);
    }

    /// For how long a node is not read, wherever it is.
    pub(crate) fn ban_of(&self, now: Instant, node: NodeId) -> Option<Duration> {
        self.nodes.get(&node)?.remaining(now)
    }

    /// The nodes that are not read, wherever they are.
    pub(crate) fn banned_nodes(&self, now: Instant) -> impl Iterator<Item = NodeId> {
        let banned = self.nodes.iter();
        banned
            .filter(move |(_, ban)| ban.remaining(now).is_some())
            .map(|(node, _)| *node)
    }

    /// Reads some nodes again.
    pub(crate) fn forgive_nodes(&mut self, is_forgiven: impl Fn(NodeId) -> bool) {
        self.nodes.retain(|node, _| !is_forgiven(*node));
    }

    pub(crate) fn of(&self, address: SocketAddr) -> Option<&Standing> {
        self.stores.get(&address)
    }

    /// Bans that are still running.
    pub(crate) fn running_bans(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (SocketAddr, &Ban, Duration)> {
        self.stores.iter().filter_map(move |(address, standing)| {
            let ban = standing.ban.as_ref()?;
            Some((*address, ban, ban.remaining(now)?))
        })
    }

    /// Bans to be remembered: those that are over make the next one longer.
    pub(crate) fn bans(&self, now: Instant) -> Vec<RememberedBan> {
        let remembered = |(address, standing): (&SocketAddr, &Standing)| {
            let ban = standing.ban?;
            let over_for = now.saturating_duration_since(ban.end);
            (over_for < CONVICTION_MEMORY).then(|| RememberedBan {
                address: *address,
                remaining: ban.remaining(now).unwrap_or_default(),
                over_for,
                convictions: ban.convictions,
                content: ban.content,
            })
        };
        self.stores.iter().filter_map(remembered).collect()
    }

    /// Forgets the convictions and faults of some stores, and says whose running bans that lifts.
    pub(crate) fn forgive(
        &mut self,
        now: Instant,
        is_forgiven: impl Fn(SocketAddr) -> bool,
    ) -> Vec<SocketAddr> {
        let mut lifted = Vec::new();
        for (address, standing) in &mut self.stores {
            if !is_forgiven(*address) {
                continue;
            }
            if standing.ban(now).is_some() {
                lifted.push(*address);
            }
            standing.ban = None;
            standing.faults = 0;
            standing.not_held.clear();
        }
        self.convicts.retain(|(_, convict)| !is_forgiven(*convict));
        lifted
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
        if !self.stores.contains_key(&address) {
            self.make_room(now, address);
        }
        let standing = self.stores.entry(address).or_insert_with(|| Standing {
            bytes_per_second: 0,
            faults: 0,
            halved_at: now,
            ban: None,
            not_held: VecDeque::new(),
            used_at: now,
        });
        standing.used_at = now;
        standing
    }

    /// Whoever is banned longest goes last; else whoever was not heard of for the longest time.
    fn make_room(&mut self, now: Instant, address: SocketAddr) {
        let place = Place::of(address);
        let of_machine = place.port(0)..=place.port(u16::MAX);
        let key = |(_, one): &(&SocketAddr, &Standing)| {
            let convictions = one.ban.map_or(0, |ban| ban.convictions);
            (one.ban(now), convictions, one.used_at)
        };
        let least = if self.stores.range(of_machine.clone()).count() >= MOST_OF_A_MACHINE {
            self.stores.range(of_machine).min_by_key(key)
        } else if self.stores.len() >= MOST {
            self.stores.iter().min_by_key(key)
        } else {
            return;
        };
        if let Some(least) = least.map(|(at, _)| *at) {
            self.stores.remove(&least);
        }
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
        self.ban.as_ref()?.remaining(now)
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
            node: None,
            content: None,
            verdict,
        }
    }

    fn running(standings: &Standings, now: Instant) -> usize {
        standings.running_bans(now).count()
    }

    #[test]
    fn faults_are_forgotten_by_halves() {
        let now = crate::testing::start();
        let mut standings = Standings::default();
        for _ in 0..4 {
            standings.report(now, &report(1, Verdict::Unreachable));
        }
        let one = standings
            .of(report(1, Verdict::Unreachable).address)
            .unwrap();
        assert_eq!(one.faults_at(now), 4);
        assert_eq!(one.faults_at(now + FAULT_HALF_LIFE), 2);
        assert_eq!(one.faults_at(now + FAULT_HALF_LIFE * 9), 0);
        assert!(one.ban(now).is_none());
    }

    #[test]
    fn each_ban_takes_four_times_as_long_as_the_last_up_to_a_week() {
        let mut now = crate::testing::start();
        let mut standings = Standings::default();
        let convicted = report(1, Verdict::Convicted);
        for minutes in [10, 40, 160, 640, 2_560, 7 * 24 * 60, 7 * 24 * 60] {
            standings.report(now, &convicted);
            standings.report(now, &convicted);
            let ban = standings.of(convicted.address).unwrap().ban(now).unwrap();
            assert_eq!(ban, Duration::from_mins(minutes), "found out twice is once");
            now += ban;
            assert_eq!(running(&standings, now), 0);
            assert_eq!(standings.bans(now).len(), 1, "it is remembered");
        }
        now += CONVICTION_MEMORY;
        assert!(standings.bans(now).is_empty());
        standings.report(now, &convicted);
        let ban = standings.of(convicted.address).unwrap().ban(now);
        assert_eq!(ban, Some(FIRST_BAN));
    }

    #[test]
    fn bans_and_how_many_there_were_survive_a_restart() {
        let now = crate::testing::start() + Duration::from_hours(1);
        let mut before = Standings::default();
        before.report(now, &report(1, Verdict::Convicted));
        let later = now + FIRST_BAN + Duration::from_mins(1);
        before.report(later, &report(2, Verdict::Convicted));
        let mut after = Standings::default();
        after.remember(later, &before.bans(later));
        assert_eq!(after.bans(later), before.bans(later));
        assert_eq!(running(&after, later), 1);
        after.report(later, &report(1, Verdict::Convicted));
        let ban = after
            .of(report(1, Verdict::Convicted).address)
            .unwrap()
            .ban(later);
        assert_eq!(ban, Some(FIRST_BAN * BAN_GROWTH));
    }

    #[test]
    fn whoever_is_forgiven_begins_anew_and_others_stay_banned() {
        let now = crate::testing::start();
        let mut standings = Standings::default();
        let (one, other) = (report(1, Verdict::Convicted), report(2, Verdict::Convicted));
        standings.report(now, &one);
        standings.report(now, &other);
        let lifted = standings.forgive(now, |address| address == one.address);
        assert_eq!(lifted, [one.address]);
        assert_eq!(running(&standings, now), 1);
        assert_eq!(standings.of(one.address).unwrap().faults_at(now), 0);
        standings.report(now, &one);
        let ban = standings.of(one.address).unwrap().ban(now);
        assert_eq!(ban, Some(FIRST_BAN), "as if there had been none");
    }

    #[test]
    fn after_three_convicts_in_an_hour_nobody_else_is_banned() {
        let now = crate::testing::start();
        let mut standings = Standings::default();
        for last in 1..=5 {
            standings.report(now, &report(last, Verdict::Convicted));
            standings.report(now, &report(last, Verdict::Convicted));
        }
        assert_eq!(running(&standings, now), 2);
        let later = now + SUSPICION;
        standings.report(later, &report(9, Verdict::Convicted));
        assert_eq!(running(&standings, later), 1, "the first two are over");
    }

    #[test]
    fn a_node_that_proved_to_lie_is_banned_wherever_it_goes() {
        let now = crate::testing::start();
        let mut standings = Standings::default();
        let node = |number: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            NodeId::from_bytes(id)
        };
        standings.report(now, &report(1, Verdict::Convicted));
        assert_eq!(standings.banned_nodes(now).count(), 0, "nothing was proven");
        let liar = Report {
            node: Some(node(7)),
            ..report(2, Verdict::Convicted)
        };
        standings.report(now, &liar);
        assert_eq!(standings.ban_of(now, node(7)), Some(FIRST_BAN));
        assert_eq!(standings.ban_of(now, node(8)), None);
        assert_eq!(standings.of(liar.address).unwrap().faults_at(now), 1);
        assert_eq!(standings.ban_of(now + FIRST_BAN, node(7)), None);
        standings.forgive_nodes(|one| one == node(7));
        assert_eq!(standings.ban_of(now, node(7)), None);
        // However many, in the end: two an hour are believed.
        for number in 0..3 * u32::try_from(MOST).unwrap() {
            let ban = Ban::after(None, now, None);
            standings.ban_node(now, node(number), ban);
        }
        assert_eq!(standings.nodes.len(), MOST);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_bans_longest() {
        let now = crate::testing::start();
        let mut standings = Standings::default();
        standings.report(now, &report(9, Verdict::Convicted));
        for number in 0..3 * u32::try_from(MOST).unwrap() {
            let ip = std::net::Ipv4Addr::from_bits(0x0a01_0000 + number);
            let verdict = Verdict::Gave(u64::from(number));
            let address = SocketAddr::from((ip, 38339));
            let report = Report {
                address,
                ..report(1, verdict)
            };
            standings.report(now, &report);
        }
        assert_eq!(standings.stores.len(), MOST);
        assert_eq!(running(&standings, now), 1);
    }

    #[test]
    fn one_machine_with_many_ports_displaces_only_itself() {
        let now = crate::testing::start();
        let mut standings = Standings::default();
        let honest = report(1, Verdict::Gave(7));
        standings.report(now, &honest);
        for port in 1..10_000 {
            let address = SocketAddr::from(([10, 0, 0, 2], port));
            let report = Report {
                address,
                ..report(1, Verdict::Unreachable)
            };
            standings.report(now + Duration::from_secs(1), &report);
        }
        assert_eq!(standings.stores.len(), 1 + MOST_OF_A_MACHINE);
        assert_eq!(standings.of(honest.address).unwrap().bytes_per_second, 7);
    }
}
