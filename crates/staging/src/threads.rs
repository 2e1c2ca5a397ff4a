//! Work that all cores share.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::lock::locked;

/// More threads than this do not make one disk faster.
const MAX_THREADS: usize = 8;

/// Entries that are worth a thread: a system call or two each, so that one thread needs a millisecond for them.
const ENTRIES_FOR_A_THREAD: usize = 512;

/// Does parts of some work, counted from 0, on as many threads as `entries` in all are worth.
///
/// Parts are begun in their order; the results have none. After an error no further part is begun.
pub(crate) fn on_threads<T: Send, E: Send>(
    parts: usize,
    entries: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores
        .min(MAX_THREADS)
        .min(parts)
        .min(entries / ENTRIES_FOR_A_THREAD);
    let next = AtomicUsize::new(0);
    let outcome: Mutex<Result<Vec<T>, E>> = Mutex::new(Ok(Vec::new()));
    let do_some = || {
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return;
            }
            let done = work(part);
            let mut outcome = locked(&outcome);
            match (outcome.as_mut(), done) {
                (Ok(all), Ok(result)) => all.push(result),
                (Ok(_), Err(error)) => *outcome = Err(error),
                (Err(_), _) => return,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(do_some);
        }
        do_some();
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once() {
        for (parts, entries) in [(0, 0), (1, 1), (3, 1), (100, 100_000)] {
            let mut done = on_threads(parts, entries, Ok::<_, ()>).unwrap();
            done.sort_unstable();
            assert_eq!(done, (0..parts).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_ends_the_work() {
        let work = |part| if part == 7 { Err(part) } else { Ok(()) };
        assert_eq!(on_threads(100, 100_000, work), Err(7));
    }
}
