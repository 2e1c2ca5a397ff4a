//! How long those who look something up are kept waiting.
//!
//! Waiting is bounded in all, not only for each question: whoever asks for twelve things that nobody has must not
//! notice it. The owner hands in the time; nothing here knows a clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// One question is waited for so long, where answers are quick: 0.3 s less what asking and answering take by themselves.
const ONCE: Duration = Duration::from_millis(290);

/// And never longer than this, however slow answers are.
const ONCE_AT_MOST: Duration = Duration::from_secs(1);

/// All questions of one process together are waited for so long, 0.5 s less the same …
const IN_ALL: Duration = Duration::from_millis(480);

/// … in each such time.
const WINDOW: Duration = Duration::from_secs(5);

/// All questions of one process together for what a neighbour listed, which was not there after all.
const LISTED_IN_ALL: Duration = Duration::from_secs(2);

/// What one of those counts while it is waited for: most are answered by then.
const LISTED: Duration = Duration::from_millis(200);

/// Processes that are remembered: those beyond wait for nothing.
const MAX_PROCESSES: usize = 1024;

/// Questions of one process that are remembered: more are not waited for in a window.
const MAX_TURNS: usize = 256;

/// The weight of the newest answer in what is usual.
const FRESH: f64 = 0.25;

/// Who waited lately, and how long answers take.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    processes: BTreeMap<u32, VecDeque<Waited>>,
    next: u64,
    /// How long answers took lately; `None` before the first.
    usual: Option<Duration>,
}

#[derive(Debug)]
struct Waited {
    turn: u64,
    began: Instant,
    /// What it may take, and what it took once that is known.
    time: Duration,
}

/// What is known of something before it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hope {
    /// Nothing.
    None,
    /// A neighbour listed it.
    Listed,
}

/// One question that a process waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    process: u32,
    number: u64,
    /// How long it may wait.
    pub(crate) limit: Duration,
}

impl Patience {
    /// Says how long a process may wait for its next question; `None`: not at all.
    pub(crate) fn begin(&mut self, now: Instant, process: u32, hope: Hope) -> Option<Turn> {
        self.forget(now);
        let usual = self.once();
        let (once, counted, in_all) = match hope {
            // On a slow line one question alone may take more.
            Hope::None => (usual, usual, IN_ALL.max(usual)),
            Hope::Listed => (ONCE_AT_MOST, LISTED, LISTED_IN_ALL),
        };
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&process) {
            return None;
        }
        let turns = self.processes.entry(process).or_default();
        let waited: Duration = turns.iter().map(|waited| waited.time).sum();
        let left = in_all.saturating_sub(waited);
        let limit = once.min(left);
        if limit.is_zero() || turns.len() >= MAX_TURNS {
            return None;
        }
        let number = self.next;
        self.next += 1;
        turns.push_back(Waited {
            turn: number,
            began: now,
            time: counted.min(limit),
        });
        Some(Turn {
            process,
            number,
            limit,
        })
    }

    /// Takes in that a process waits no more.
    pub(crate) fn end(&mut self, now: Instant, turn: &Turn) {
        let turns = self.processes.get_mut(&turn.process);
        let waited = turns.and_then(|turns| turns.iter_mut().find(|own| own.turn == turn.number));
        if let Some(waited) = waited {
            waited.time = now.saturating_duration_since(waited.began).min(turn.limit);
        }
    }

    /// Takes in that a process has what a neighbour listed: waiting for that counts for nothing.
    pub(crate) fn kept(&mut self, turn: &Turn) {
        if let Some(turns) = self.processes.get_mut(&turn.process) {
            turns.retain(|own| own.turn != turn.number);
        }
    }

    /// Takes in how long an answer took that somebody had.
    pub(crate) fn answered(&mut self, took: Duration) {
        let took = took.min(ONCE_AT_MOST);
        self.usual = Some(match self.usual {
            Some(usual) => usual.mul_f64(1.0 - FRESH) + took.mul_f64(FRESH),
            None => took,
        });
    }

    fn once(&self) -> Duration {
        let usual = self.usual.unwrap_or_default();
        (usual * 2).clamp(ONCE, ONCE_AT_MOST)
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |waited: &Waited| now.saturating_duration_since(waited.began) >= WINDOW;
        self.processes.retain(|_, turns| {
            while turns.front().is_some_and(is_old) {
                turns.pop_front();
            }
            !turns.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_things_that_nobody_has_cost_half_a_second_in_all() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        let mut now = start;
        for _ in 0..12 {
            if let Some(turn) = patience.begin(now, 7, Hope::None) {
                assert!(turn.limit <= ONCE);
                now += turn.limit;
                patience.end(now, &turn);
            }
        }
        assert_eq!(now - start, IN_ALL);
        assert_eq!(patience.begin(now, 7, Hope::None), None);
        assert!(
            patience.begin(now, 8, Hope::None).is_some(),
            "another one has its own"
        );
        now = start + WINDOW;
        assert!(
            patience.begin(now, 7, Hope::None).is_some(),
            "it may wait again"
        );
    }

    #[test]
    fn what_was_not_waited_is_left_for_the_next() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        for question in 0..50 {
            let now = start + Duration::from_millis(20 * question);
            let turn = patience.begin(now, 7, Hope::None).unwrap();
            assert_eq!(turn.limit, ONCE, "answers were quick");
            patience.end(now + Duration::from_millis(3), &turn);
        }
    }

    #[test]
    fn questions_at_once_count_together() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let limits: Vec<_> = (0..3)
            .map(|_| patience.begin(now, 7, Hope::None).map(|turn| turn.limit))
            .collect();
        assert_eq!(
            limits,
            [Some(ONCE), Some(IN_ALL.saturating_sub(ONCE)), None]
        );
    }

    #[test]
    fn what_neighbours_list_is_waited_for_as_long_as_they_have_it() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        for _ in 0..1000 {
            let turn = patience.begin(now, 7, Hope::Listed).unwrap();
            now += Duration::from_millis(30);
            patience.end(now, &turn);
            patience.kept(&turn);
        }
        let at_once: Vec<_> = (0..8)
            .map(|_| patience.begin(now, 8, Hope::Listed).unwrap())
            .collect();
        assert!(at_once.iter().all(|turn| turn.limit >= LISTED));
        let start = now;
        for _ in 0..1000 {
            if let Some(turn) = patience.begin(now, 9, Hope::Listed) {
                now += turn.limit;
                patience.end(now, &turn);
            }
        }
        assert_eq!(now - start, LISTED_IN_ALL, "liars cost that much");
    }

    #[test]
    fn where_answers_are_slow_one_is_waited_for_longer_but_never_beyond_a_second() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        patience.answered(Duration::from_millis(5));
        assert_eq!(patience.once(), ONCE);
        let mut slow = Patience::default();
        slow.answered(Duration::from_millis(240));
        assert_eq!(
            slow.begin(now, 1, Hope::None).unwrap().limit,
            Duration::from_millis(480)
        );
        slow.answered(Duration::from_mins(1));
        slow.answered(Duration::from_mins(1));
        assert_eq!(slow.begin(now, 2, Hope::None).unwrap().limit, ONCE_AT_MOST);
        assert_eq!(slow.begin(now, 2, Hope::None), None);
    }

    #[test]
    fn those_who_waited_are_not_remembered_without_bound() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for process in 0..2000 {
            patience.begin(now, process, Hope::None);
        }
        assert_eq!(patience.processes.len(), MAX_PROCESSES);
        patience.begin(now + WINDOW, 1, Hope::None);
        assert_eq!(patience.processes.len(), 1);
    }
}
