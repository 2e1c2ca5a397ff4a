//! Who asks: a thread of some process, as the kernel names it.

use std::fs;
use std::time::Duration;

/// How often it is looked whether a thread that waits was killed.
const LOOK: Duration = Duration::from_millis(100);

/// SIGKILL in a mask of signals, where the kernel puts whatever ends a process.
const KILL: u64 = 1 << 8;

/// The process of a thread; the thread itself where that is not known.
pub(crate) fn process_of(thread: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{thread}/status"));
    let process = status.ok().and_then(|status| {
        let text = field(&status, "Tgid:")?;
        text.parse().ok()
    });
    process.unwrap_or(thread)
}

/// Resolves once the thread was killed: it cannot end before it has its answer.
///
/// The library that speaks FUSE does not tell of interruptions. Signals that a program handles do not count: it does not
/// expect to be interrupted by them while it opens or reads a file. May be dropped midway.
pub(crate) async fn killed(thread: u32) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let status = fs::read_to_string(format!("/proc/{thread}/status"));
        if status.is_ok_and(|status| is_killed(&status)) {
            return;
        }
    }
}

fn is_killed(status: &str) -> bool {
    let pending = field(status, "SigPnd:").and_then(|text| u64::from_str_radix(text, 16).ok());
    pending.is_some_and(|pending| pending & KILL != 0)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_belongs_to_its_process() {
        let own = std::process::id();
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        assert_eq!(process_of(u32::try_from(thread).unwrap()), own);
        assert_eq!(process_of(u32::MAX), u32::MAX);
    }

    #[test]
    fn only_what_ends_a_thread_counts() {
        assert!(is_killed(
            "Tgid:\t7\nSigPnd:\t0000000000000100\nShdPnd:\t0\n"
        ));
        assert!(!is_killed(
            "SigPnd:\t0000000000010000\nShdPnd:\t0000000000000002\n"
        ));
        assert!(!is_killed(""));
    }
}
