//! When a connection has to go.

use std::time::{Duration, Instant};

use super::{Bounds, activity::Snapshot};

/// What an answer must move by to count as moving: a peer that only makes us acknowledge its pings takes nothing.
const MOVED_BYTES: u64 = 1024;

/// Watches one connection from outside; pure, so that its deadlines are tested without waiting for them.
#[derive(Debug)]
pub(super) struct Watchdog {
    first_request: Duration,
    stall: Duration,
    idle: Duration,
    began: Instant,
    /// Since when there has been no call.
    idle_since: Option<Instant>,
    idle_at_call: u64,
    stalling: Option<Stalling>,
    retired: bool,
}

/// An answer waits for its peer.
#[derive(Debug)]
struct Stalling {
    since: Instant,
    sent_bytes: u64,
    chunks_sent: u64,
}

/// What is to be done about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// It is no longer used: ask it to go.
    Retire,
    /// Drop it.
    Cut(Reason),
}

/// Why a connection is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It came, and asked for nothing.
    NoRequest,
    /// It takes nothing of what it asked for.
    Stalled,
    /// It was asked to go, and stayed.
    Idle,
}

impl Watchdog {
    pub(super) fn new(bounds: &Bounds, now: Instant) -> Self {
        Self {
            first_request: bounds.first_request,
            stall: bounds.stall,
            idle: bounds.idle,
            began: now,
            idle_since: Some(now),
            idle_at_call: 0,
            stalling: None,
            retired: false,
        }
    }

    /// Judges the connection by what it did since the last look.
    pub(super) fn look(&mut self, now: Instant, seen: Snapshot) -> Verdict {
        if self.is_stalled(now, seen) {
            return Verdict::Cut(Reason::Stalled);
        }
        if seen.calls_so_far == 0 {
            let late = now.saturating_duration_since(self.began) >= self.first_request;
            return if late {
                Verdict::Cut(Reason::NoRequest)
            } else {
                Verdict::Fine
            };
        }
        if seen.calls > 0 || seen.chunks > 0 || seen.calls_so_far != self.idle_at_call {
            self.idle_at_call = seen.calls_so_far;
            self.idle_since = Some(now);
            self.retired = false;
            return Verdict::Fine;
        }
        let since = *self.idle_since.get_or_insert(now);
        if now.saturating_duration_since(since) < self.idle {
            return Verdict::Fine;
        }
        if self.retired {
            return Verdict::Cut(Reason::Idle);
        }
        self.retired = true;
        Verdict::Retire
    }

    /// Says whether an answer waits for a peer that took none of it for too long.
    ///
    /// An answer that has nothing to say yet is not waiting for its peer.
    fn is_stalled(&mut self, now: Instant, seen: Snapshot) -> bool {
        if seen.chunks == 0 {
            self.stalling = None;
            return false;
        }
        // What we send in reply to frames without content is never longer than those.
        let sent_bytes = seen.written_bytes.saturating_sub(seen.read_bytes);
        let chunks_sent = seen.chunks_sent;
        if let Some(stalling) = &mut self.stalling {
            stalling.sent_bytes = stalling.sent_bytes.min(sent_bytes);
            let moved = sent_bytes - stalling.sent_bytes >= MOVED_BYTES;
            if !moved && chunks_sent == stalling.chunks_sent {
                return now.saturating_duration_since(stalling.since) >= self.stall;
            }
        }
        self.stalling = Some(Stalling {
            since: now,
            sent_bytes,
            chunks_sent,
        });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Lets a connection do the same thing every second, and says when it was cut, and why.
    fn cut_after(bounds: &Bounds, at: impl Fn(u64) -> Snapshot) -> Option<(u64, Reason)> {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(bounds, start);
        (0..1000).find_map(|second| {
            match watchdog.look(start + SECOND * second, at(second.into())) {
                Verdict::Cut(reason) => Some((second.into(), reason)),
                Verdict::Fine | Verdict::Retire => None,
            }
        })
    }

    const BUSY: Snapshot = Snapshot {
        written_bytes: 0,
        read_bytes: 0,
        calls: 1,
        calls_so_far: 1,
        chunks: 1,
        chunks_sent: 0,
    };

    #[test]
    fn a_connection_that_asks_for_nothing_is_cut() {
        let cut = cut_after(&Bounds::lan(), |second| Snapshot {
            read_bytes: second * 100,
            ..Snapshot::default()
        });
        assert_eq!(cut, Some((10, Reason::NoRequest)));
    }

    #[test]
    fn an_answer_that_nobody_takes_is_cut() {
        assert_eq!(
            cut_after(&Bounds::lan(), |_| BUSY),
            Some((10, Reason::Stalled))
        );
    }

    #[test]
    fn an_answer_that_ended_and_is_not_taken_is_cut() {
        let cut = cut_after(&Bounds::lan(), |_| Snapshot { calls: 0, ..BUSY });
        assert_eq!(cut, Some((10, Reason::Stalled)));
    }

    #[test]
    fn pings_do_not_count_as_taking() {
        let cut = cut_after(&Bounds::lan(), |second| Snapshot {
            written_bytes: second * 17_000,
            read_bytes: second * 17_000,
            ..BUSY
        });
        assert_eq!(cut, Some((10, Reason::Stalled)));
    }

    #[test]
    fn a_slow_reader_is_served() {
        let cut = cut_after(&Bounds::lan(), |second| Snapshot {
            written_bytes: second * 200,
            ..BUSY
        });
        assert_eq!(cut, None);
    }

    #[test]
    fn a_reader_of_small_chunks_is_served() {
        let cut = cut_after(&Bounds::lan(), |second| Snapshot {
            chunks_sent: second / 5,
            ..BUSY
        });
        assert_eq!(cut, None);
    }

    #[test]
    fn an_answer_with_nothing_to_say_is_left_alone() {
        assert_eq!(
            cut_after(&Bounds::lan(), |_| Snapshot { chunks: 0, ..BUSY }),
            None
        );
    }

    #[test]
    fn a_connection_without_calls_is_asked_to_go_and_then_cut() {
        let idle = Snapshot {
            calls: 0,
            chunks: 0,
            ..BUSY
        };
        let bounds = Bounds::lan();
        let start = Instant::now();
        let mut watchdog = Watchdog::new(&bounds, start);
        assert_eq!(watchdog.look(start, idle), Verdict::Fine);
        assert_eq!(watchdog.look(start + bounds.idle / 2, idle), Verdict::Fine);
        assert_eq!(watchdog.look(start + bounds.idle, idle), Verdict::Retire);
        assert_eq!(
            watchdog.look(start + bounds.idle + SECOND, idle),
            Verdict::Cut(Reason::Idle)
        );
    }

    #[test]
    fn short_calls_between_looks_keep_a_connection() {
        let cut = cut_after(&Bounds::lan(), |second| Snapshot {
            calls: 0,
            chunks: 0,
            calls_so_far: 1 + second / 30,
            ..BUSY
        });
        assert_eq!(cut, None);
    }
}
