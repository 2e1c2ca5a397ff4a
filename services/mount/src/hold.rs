//! Who is waited for that gets what nobody has, and for how long in all.
//!
//! The one exception to `patience`: where one of several machines downloads a tree, the others are kept waiting for it
//! instead of downloading it too. It counts for nothing what was said by datagram alone: every claim here is one that its
//! claimant repeats over a connection. The owner hands in the time; nothing here knows a clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// While a claimant is being connected to it counts as a claim for so long.
pub(crate) const OPENING: Duration = Duration::from_millis(500);

/// Processes that are remembered: those beyond wait for nobody.
const MAX_PROCESSES: usize = 1024;

/// A process, told from others that had its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) id: u32,
    /// When it was started, as the kernel counts.
    pub(crate) start: u64,
}

/// Somebody else who looks for the same, or gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) state: ClaimState,
    /// Whether it goes before this machine, should nobody get it yet.
    pub(crate) goes_first: bool,
}

/// What it says over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimState {
    /// Nothing yet.
    Opening,
    /// It looks for it.
    Asks,
    /// Somebody there gets it.
    OnItsWay,
}

/// Whether any of these is to be waited for, so long after it was found that nobody has it.
pub(crate) fn is_waited_for(claimants: &[Claimant], after: Duration) -> bool {
    claimants.iter().any(|claimant| match claimant.state {
        ClaimState::Opening => after < OPENING,
        ClaimState::Asks => claimant.goes_first,
        ClaimState::OnItsWay => true,
    })
}

/// How long each process was held in all.
#[derive(Debug)]
pub(crate) struct Holds {
    limit: Duration,
    by_process: BTreeMap<Process, Held>,
}

#[derive(Debug)]
struct Held {
    /// Before `since`.
    used: Duration,
    since: Instant,
    /// Lookups that are held now; they wait together.
    lookups: u32,
}

impl Holds {
    /// Holds each process for no longer than this in all; zero: none.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            by_process: BTreeMap::new(),
        }
    }

    /// Says until when a process may be held; `None`: not at all. What began ends with [`Self::end`].
    pub(crate) fn begin(&mut self, now: Instant, process: Process) -> Option<Instant> {
        self.make_room(now, process);
        if self.by_process.len() >= MAX_PROCESSES && !self.by_process.contains_key(&process) {
            return None;
        }
        let held = self.by_process.entry(process).or_insert(Held {
            used: Duration::ZERO,
            since: now,
            lookups: 0,
        });
        if held.lookups == 0 {
            held.since = now;
        }
        let until = held.since + self.limit.saturating_sub(held.used);
        if until <= now {
            return None;
        }
        held.lookups += 1;
        Some(until)
    }

    /// Takes in that one of its lookups is held no more.
    pub(crate) fn end(&mut self, now: Instant, process: Process) {
        if let Some(held) = self.by_process.get_mut(&process) {
            held.lookups = held.lookups.saturating_sub(1);
            if held.lookups == 0 {
                held.used += now.saturating_duration_since(held.since);
                held.since = now;
            }
        }
    }

    /// Forgets the process that was held longest ago, of those that are not.
    fn make_room(&mut self, now: Instant, process: Process) {
        if self.by_process.len() < MAX_PROCESSES || self.by_process.contains_key(&process) {
            return;
        }
        let idle = self.by_process.iter().filter(|(_, held)| {
            held.lookups == 0 && now.saturating_duration_since(held.since) >= self.limit
        });
        let oldest = idle.min_by_key(|(_, held)| held.since);
        if let Some(oldest) = oldest.map(|(process, _)| *process) {
            self.by_process.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn process(id: u32) -> Process {
        Process { id, start: 7 }
    }

    fn says(state: ClaimState, goes_first: bool) -> Claimant {
        Claimant { state, goes_first }
    }

    #[test]
    fn who_gets_it_is_waited_for_and_of_those_who_look_for_it_who_goes_first() {
        let cases = [
            (ClaimState::OnItsWay, false, true),
            (ClaimState::OnItsWay, true, true),
            (ClaimState::Asks, true, true),
            (ClaimState::Asks, false, false),
        ];
        for (state, goes_first, is_waited) in cases {
            let claimants = [says(ClaimState::Asks, false), says(state, goes_first)];
            assert_eq!(is_waited_for(&claimants, LIMIT), is_waited, "{state:?}");
        }
        assert!(!is_waited_for(&[], Duration::ZERO));
    }

    #[test]
    fn who_does_not_even_speak_is_waited_for_half_a_second_at_most() {
        let silent = [says(ClaimState::Opening, true)];
        assert!(is_waited_for(&silent, Duration::ZERO));
        assert!(!is_waited_for(&silent, OPENING));
    }

    #[test]
    fn a_process_is_held_for_no_longer_than_the_limit_however_many_claim_whatever() {
        let (mut holds, start) = (Holds::new(LIMIT), Instant::now());
        let mut now = start;
        let mut held = Duration::ZERO;
        for _ in 0..100 {
            if let Some(until) = holds.begin(now, process(1)) {
                let end = until.min(now + 7 * SECOND);
                held += end - now;
                now = end;
                holds.end(now, process(1));
            }
            now += SECOND;
        }
        assert_eq!(held, LIMIT);
        assert_eq!(holds.begin(now, process(1)), None);
        let other = Process {
            start: 8,
            ..process(1)
        };
        assert!(holds.begin(now, other).is_some(), "another process");
    }

    #[test]
    fn lookups_of_one_process_wait_together() {
        let (mut holds, now) = (Holds::new(LIMIT), Instant::now());
        let until = holds.begin(now, process(1)).unwrap();
        assert_eq!(until, now + LIMIT);
        assert_eq!(holds.begin(now + SECOND, process(1)), Some(until));
        holds.end(now + 2 * SECOND, process(1));
        holds.end(now + 3 * SECOND, process(1));
        let later = now + 10 * SECOND;
        let left = LIMIT.saturating_sub(3 * SECOND);
        assert_eq!(holds.begin(later, process(1)), Some(later + left));
    }

    #[test]
    fn nobody_is_held_where_it_is_switched_off() {
        let mut holds = Holds::new(Duration::ZERO);
        assert_eq!(holds.begin(Instant::now(), process(1)), None);
    }

    #[test]
    fn processes_are_not_remembered_without_bound() {
        let (mut holds, now) = (Holds::new(LIMIT), Instant::now());
        for id in 0..2000 {
            if holds.begin(now, process(id)).is_some() && id > 0 {
                holds.end(now, process(id));
            }
        }
        assert_eq!(holds.by_process.len(), MAX_PROCESSES);
        assert_eq!(holds.begin(now, process(5000)), None);
        assert!(holds.begin(now + LIMIT, process(5000)).is_some());
        assert!(
            holds.by_process.contains_key(&process(0)),
            "it is held still"
        );
        assert_eq!(holds.by_process.len(), MAX_PROCESSES);
    }
}
